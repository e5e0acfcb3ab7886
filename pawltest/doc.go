// Package pawltest has functions for tests of code that uses package pawl. The tests run on a real PostgreSQL.
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
// [New] returns a client on a database of the test's own. The other functions also work with a client of yours on your
// own database. [Work] needs no database.
//
// Nothing runs in the background, and nothing sleeps: [RunOne] and [Drain] run handlers in the test's goroutine and
// return when the results are stored, and [Advance] lets time pass. A handler may end the test with t.Fatal.
//
// # The server
//
// New starts a private server, once in a test binary, from the PostgreSQL programs that it finds: in the folder that
// PAWL_PG_BIN names, in PATH and in the usual places. The server listens on a Unix socket only. It stops with the
// process, even if that is killed. If PAWL_TEST_DATABASE_URL is set, New uses that server; its role must be allowed to
// create databases.
package pawltest
