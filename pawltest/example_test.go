package pawltest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

var t *testing.T

type Welcome struct{ UserID int64 }

func (Welcome) Kind() string { return "welcome" }

// signup is what is tested: it has a new user welcomed an hour later.
func signup(ctx context.Context, client *pawl.Client, user int64) error {
	_, err := client.Insert(ctx, pawl.JobSpec{Args: Welcome{UserID: user}, Queue: "emails", Delay: time.Hour})
	return err
}

// handlers is the mux of the program.
func handlers(send func(user int64) error) *pawl.Mux {
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Welcome]) error { return send(job.Args.UserID) })
	return mux
}

// The test of the package's documentation.
func TestSignup(t *testing.T) {
	t.Parallel()
	client := pawltest.New(t)
	if err := signup(t.Context(), client, 42); err != nil {
		t.Fatal(err)
	}

	job := pawltest.RequireInserted[Welcome](t, client, pawl.Filter{Queue: "emails"})
	if job.Args.UserID != 42 {
		t.Errorf("user %d is welcomed", job.Args.UserID)
	}
	mux := handlers(func(int64) error { return nil })
	if n := pawltest.Drain(t, client, mux, "emails"); n != 0 {
		t.Errorf("%d jobs ran at once", n)
	}
	pawltest.Advance(t, client, time.Hour)
	if done := pawltest.RunOne(t, client, mux); done.State != pawlstate.Completed {
		t.Errorf("the job is %s: %v", done.State, done.Errors)
	}
}

// A handler alone, without a database.
func ExampleWork() {
	mux := handlers(func(user int64) error { return errors.New("no such mailbox") })
	if err := pawltest.Work(t, mux, Welcome{UserID: 42}); err == nil {
		t.Error("the failure was passed over")
	}
}

// What was inserted in a transaction, before it is committed.
func ExampleRequireInserted() {
	client := pawltest.New(t)
	tx, err := pawltest.Pool(t, client).BeginTx(t.Context(), pgx.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if err := signup(t.Context(), client.With(tx), 42); err != nil {
		t.Fatal(err)
	}
	job := pawltest.RequireInserted[Welcome](t, client.With(tx), pawl.Filter{Queue: "emails"})
	if job.Args.UserID != 42 {
		t.Errorf("user %d is welcomed", job.Args.UserID)
	}
}

// Retries without waiting: the mail server is away twice.
func ExampleAdvance() {
	client, away := pawltest.New(t), 2
	mux := handlers(func(int64) error {
		if away--; away >= 0 {
			return errors.New("the mail server is away")
		}
		return nil
	})
	if _, err := client.Insert(t.Context(), Welcome{UserID: 42}); err != nil {
		t.Fatal(err)
	}
	attempts := 0
	for range 3 {
		attempts += pawltest.Drain(t, client, mux, "default")
		pawltest.Advance(t, client, time.Hour)
	}
	if attempts != 3 {
		t.Errorf("%d attempts", attempts)
	}
}

func ExamplePermit() {
	permit := pawltest.Permit(pawl.Snooze(time.Minute), nil)
	for range 3 {
		release, err := permit(context.Background(), &pawl.JobInfo{})
		fmt.Println(err)
		if err == nil {
			release()
		}
	}
	// Output:
	// pawl: snooze: 1m0s
	// <nil>
	// <nil>
}
