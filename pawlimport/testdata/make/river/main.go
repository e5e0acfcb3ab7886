// Command river makes a database that River has worked in: its migrations, and jobs in every state, brought there by River's own
// API. Its argument is the database's URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

// Later is when what is to be scheduled is due, whenever the tests run.
var later = time.Date(2100, 1, 2, 3, 4, 5, 678_901_000, time.UTC)

type email struct {
	To   string         `json:"to"`
	Body map[string]any `json:"body,omitempty"`
	Big  uint64         `json:"big,omitempty"`
}

func (email) Kind() string { return "email" }

type report struct {
	N int `json:"n" river:"unique"`
}

func (report) Kind() string { return "report" }

// work does what its args say.
type work struct {
	What string `json:"what"`
}

func (work) Kind() string { return "work" }

type worker struct {
	river.WorkerDefaults[work]
	hanging chan struct{}
}

func (w *worker) NextRetry(*river.Job[work]) time.Time   { return later }
func (w *worker) Timeout(*river.Job[work]) time.Duration { return -1 }
func (w *worker) Work(ctx context.Context, job *river.Job[work]) error {
	switch job.Args.What {
	case "fail":
		return fmt.Errorf("attempt %d went wrong: «naïve» \"quoted\"", job.Attempt)
	case "panic":
		panic("no way out")
	case "snooze":
		return river.JobSnooze(time.Until(later))
	case "cancel":
		return river.JobCancel(errors.New("not wanted any more"))
	case "hang":
		close(w.hanging)
		select {}
	}
	return nil
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
	os.Exit(0) // With a job still running, as after a crash.
}

func run(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	w := &worker{hanging: make(chan struct{})}
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	client, err := river.NewClient(driver, &river.Config{
		ID:     "made",
		Queues: map[string]river.QueueConfig{"work": {MaxWorkers: 10}}, Workers: workers, SkipUnknownJobCheck: true,
		Logger: slog.New(slog.DiscardHandler), FetchPollInterval: 50 * time.Millisecond, FetchCooldown: 10 * time.Millisecond,
	})
	if err != nil {
		return err
	}

	insert := func(args river.JobArgs, opts river.InsertOpts) {
		if err != nil {
			return
		}
		_, err = client.Insert(ctx, args, &opts)
	}
	// Available.
	insert(email{To: "ann@example.com"}, river.InsertOpts{})
	insert(email{To: "bob@example.com", Big: 18446744073709551615, Body: map[string]any{"text": "Grüße, 世界 \U0001F600 </script> \"\\\n", "deep": []any{1.5e-7, nil, true, []any{}}}},
		river.InsertOpts{Priority: 4, Queue: "mail", Tags: []string{"bulk", "two-words"}, Metadata: []byte(`{"trace": "4bf92f35", "n": 1}`), MaxAttempts: 3})
	insert(email{To: "cleo@example.com"}, river.InsertOpts{Priority: 2, Queue: "mail"})
	// Scheduled.
	insert(email{To: "later@example.com"}, river.InsertOpts{ScheduledAt: later, MaxAttempts: 7})
	// Pending.
	insert(email{To: "pending@example.com"}, river.InsertOpts{Pending: true})
	// Unique: while not cancelled or discarded, by period, and not while it waits for a retry.
	insert(report{N: 1}, river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
	insert(report{N: 2}, river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByQueue: true}, ScheduledAt: later})
	insert(report{N: 3}, river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: time.Hour}})
	insert(report{N: 4}, river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateScheduled}}})
	if err != nil {
		return err
	}

	// The others are worked: what they come to, and the state that is waited for.
	for _, one := range []struct {
		what  string
		state rivertype.JobState
		opts  river.InsertOpts
	}{
		{"fail", rivertype.JobStateRetryable, river.InsertOpts{MaxAttempts: 5}},
		{"panic", rivertype.JobStateRetryable, river.InsertOpts{}},
		{"snooze", rivertype.JobStateScheduled, river.InsertOpts{}},
		{"cancel", rivertype.JobStateCancelled, river.InsertOpts{}},
		{"fail", rivertype.JobStateDiscarded, river.InsertOpts{MaxAttempts: 1}},
		{"complete", rivertype.JobStateCompleted, river.InsertOpts{}},
	} {
		one.opts.Queue = "work"
		if err := work1(ctx, client, pool, one.what, one.state, one.opts); err != nil {
			return err
		}
	}
	// One that failed three times.
	result, err := client.Insert(ctx, work{What: "fail"}, &river.InsertOpts{Queue: "work", MaxAttempts: 4, Priority: 3, Tags: []string{"often"}})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	for n := 1; n <= 3; n++ {
		if err := await(ctx, pool, result.Job.ID, fmt.Sprintf("state = 'retryable' and attempt = %d", n)); err != nil {
			return err
		}
		if n < 3 {
			if _, err := client.JobRetry(ctx, result.Job.ID); err != nil {
				return err
			}
		}
	}
	// One that runs.
	if _, err := client.Insert(ctx, work{What: "hang"}, &river.InsertOpts{Queue: "work"}); err != nil {
		return err
	}
	<-w.hanging
	return nil
}

// work1 inserts a job, works it and stops again.
func work1(ctx context.Context, client *river.Client[pgx.Tx], pool *pgxpool.Pool, what string, state rivertype.JobState, opts river.InsertOpts) error {
	result, err := client.Insert(ctx, work{What: what}, &opts)
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	if err := await(ctx, pool, result.Job.ID, fmt.Sprintf("state = '%s' and attempted_at is not null", state)); err != nil {
		return err
	}
	return client.Stop(ctx)
}

func await(ctx context.Context, pool *pgxpool.Pool, id int64, condition string) error {
	for {
		var done bool
		if err := pool.QueryRow(ctx, "select "+condition+" from river_job where id = $1", id).Scan(&done); err != nil || done {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("job %d: waited in vain for %s", id, condition)
		}
	}
}
