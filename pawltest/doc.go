// Package pawltest helps to test code that uses pawl, on a real PostgreSQL.
//
// A complete test:
//
//	func TestSignup(t *testing.T) {
//		t.Parallel()
//		client := pawltest.New(t)
//		signup(t.Context(), client, 42) // Inserts a Welcome, to be sent in an hour.
//
//		job := pawltest.RequireInserted[Welcome](t, client, pawl.Filter{Queue: "emails"})
//		if job.Args.UserID != 42 {
//			t.Errorf("user %d is welcomed", job.Args.UserID)
//		}
//		pawltest.Advance(t, client, time.Hour)
//		if done := pawltest.RunOne(t, client, mux); done.State != pawlstate.Completed {
//			t.Errorf("the job is %s: %v", done.State, done.Errors)
//		}
//	}
//
// [New] gives a database of the test's own. All else works as well on a client of yours, on your own database.
// [Work] needs none.
//
// Nothing runs beside the test, nothing waits and nothing sleeps: [RunOne] and [Drain] run handlers in the test's
// goroutine and return when what they answered is in the database, and [Advance] lets time pass. A handler may end
// the test with t.Fatal.
//
// # The server
//
// New starts a private server, once in a test binary and as soon as a test asks for it, from the PostgreSQL
// programs it finds (PAWL_PG_BIN names their folder, else PATH and the usual places). It listens on a Unix socket
// alone and ends with the process, even if that is killed. With PAWL_TEST_DATABASE_URL that server is used; its
// role must be allowed to create databases.
package pawltest
