package pawl_test

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

var (
	ctx    = context.Background()
	pool   *pgxpool.Pool
	client *pawl.Client
)

type Welcome struct{ UserID int64 }

func (Welcome) Kind() string { return "welcome" }

type Invoice struct {
	Number string
	Cents  int64
}

func (Invoice) Kind() string { return "invoice" }

// Defaults go with the kind wherever it is inserted.
func (Invoice) Defaults() pawl.JobSpec {
	return pawl.JobSpec{Queue: "billing", MaxAttempts: 10, Backoff: pawl.Backoff{Base: 5 * time.Second, Max: time.Hour}}
}

// A first job: a kind, a handler, an insert, a runner.
func Example() {
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Welcome]) error {
		log.Println("welcome, user", job.Args.UserID)
		return nil
	})
	if _, err := client.Insert(ctx, Welcome{UserID: 42}); err != nil {
		log.Fatal(err)
	}
	if err := client.Run(ctx, mux, pawl.RunnerConfig{}); err != nil {
		log.Fatal(err)
	}
}

// An insert in the transaction of the change that calls for it: both are committed, or neither.
func ExampleClient_With_insert() {
	tx, err := pool.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "insert into account (id) values (42)"); err != nil {
		log.Fatal(err)
	}
	if _, err := client.With(tx).Insert(ctx, Welcome{UserID: 42}); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
}

// The same through database/sql, with any driver for PostgreSQL.
func ExampleClient_WithSQL() {
	var db *sql.DB
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := client.WithSQL(tx).Insert(ctx, Welcome{UserID: 42}); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
}

// Effects exactly once: the invoice and the completion of its job are one transaction. When the job has been given to
// somebody else meanwhile, Complete is ErrLeaseLost and the invoice is rolled back.
func ExampleClient_With_complete() {
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Invoice]) error {
		tx, err := pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		if _, err := tx.Exec(ctx, "insert into invoice (number, cents) values ($1, $2)", job.Args.Number,
			job.Args.Cents); err != nil {
			return err
		}
		if err := client.With(tx).Complete(ctx, job); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
}

// Later: after a delay, or at a time.
func ExampleClient_Insert_scheduled() {
	jobs := []pawl.JobSpec{
		{Args: Welcome{UserID: 42}, Delay: 24 * time.Hour},
		{Args: Welcome{UserID: 43}, RunAt: time.Date(2030, 1, 1, 9, 0, 0, 0, time.UTC), Queue: "emails", Channel: "acme"},
	}
	if _, err := client.InsertMany(ctx, jobs); err != nil {
		log.Fatal(err)
	}
}

// Retries: an error is tried again with growing waits. An outcome says something else.
func ExampleHandle_retries() {
	errRateLimited, errNoSuchUser := errors.New("429"), errors.New("404")
	send := func(int64) error { return nil }
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Welcome]) error {
		err := send(job.Args.UserID)
		switch {
		case errors.Is(err, errRateLimited):
			return pawl.RetryAfter(time.Minute, err) // A failed attempt, with its own wait.
		case errors.Is(err, errNoSuchUser):
			return pawl.Dead(err) // No attempt will help; kept to be looked at, and retried with Client.Retry.
		case time.Now().Hour() < 8:
			return pawl.Snooze(time.Hour) // Not now; no attempt used.
		}
		return err
	}, pawl.KindOptions{
		Timeout: 30 * time.Second,
		Backoff: pawl.Backoff{Base: 2 * time.Second, Growth: 3, Max: 10 * time.Minute},
	})
}

// By hand: claim, work, finish. Jobs not finished in time are given to somebody else.
func ExampleClient_Claim() {
	for {
		jobs, err := client.Claim(ctx, "billing", 10, time.Minute)
		if err != nil {
			log.Fatal(err)
		}
		if len(jobs) == 0 {
			if err := client.Wait(ctx, "billing"); err != nil {
				return
			}
			continue
		}
		for _, job := range jobs {
			log.Println(job.ID, job.Kind, string(job.Args))
		}
		if err := client.Complete(ctx, jobs); errors.Is(err, pawl.ErrLeaseLost) {
			log.Println("too slow, somebody else has some of them:", err)
		} else if err != nil {
			log.Fatal(err)
		}
	}
}
