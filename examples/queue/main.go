// This program shows a queue with five methods, push, pull, delete, fail and clear, on Pawl's consumer API.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// A Queue is what a simple worker needs.
type Queue interface {
	// Push inserts a message that is due at the given time, or now if that is zero.
	Push(ctx context.Context, message json.RawMessage, at time.Time) (pawl.ID, error)
	// Pull claims up to n messages, at most 100, and does not wait for any.
	Pull(ctx context.Context, n int) (pawl.Jobs, error)
	// Delete finishes a message.
	Delete(ctx context.Context, job *pawl.JobInfo) error
	// Fail returns a message to the queue after a backoff. After five attempts it is dead.
	Fail(ctx context.Context, job *pawl.JobInfo, err error) error
	// Clear deletes all messages, running or not.
	Clear(ctx context.Context) error
}

const (
	mostPulled  = 100
	maxAttempts = 5
	lease       = time.Minute // After it another worker can pull the job.
)

// A PawlQueue is a Queue in PostgreSQL.
type PawlQueue struct {
	Client *pawl.Client
	Pool   *pgxpool.Pool
	Name   string
}

func (q PawlQueue) Push(ctx context.Context, message json.RawMessage, at time.Time) (pawl.ID, error) {
	result, err := q.Client.Insert(ctx, pawl.JobSpec{
		Args: pawl.Raw("message", message), Queue: q.Name, RunAt: at, MaxAttempts: maxAttempts,
	})
	return result.ID, err
}

func (q PawlQueue) Pull(ctx context.Context, n int) (pawl.Jobs, error) {
	return q.Client.Claim(ctx, q.Name, min(n, mostPulled), lease)
}

// Delete returns pawl.ErrLeaseLost if the claim on the job is no longer valid. Client.Complete would keep the job
// in the archive for a day.
func (q PawlQueue) Delete(ctx context.Context, job *pawl.JobInfo) error {
	n, err := q.Client.Delete(ctx, job)
	if err == nil && n == 0 {
		err = fmt.Errorf("delete job %d: %w", job.ID, pawl.ErrLeaseLost)
	}
	return err
}

func (q PawlQueue) Fail(ctx context.Context, job *pawl.JobInfo, err error) error {
	return q.Client.Fail(ctx, job, err)
}

func (q PawlQueue) Clear(ctx context.Context) error {
	return pgx.BeginFunc(ctx, q.Pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, "select id from pawl.job where queue = $1", q.Name)
		ids, err := pgx.CollectRows(rows, pgx.RowTo[pawl.ID])
		if err != nil {
			return err
		}
		_, err = q.Client.With(tx).Delete(ctx, pawl.Filter{IDs: ids})
		return err
	})
}

func main() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	client, err := pawl.New(pool, pawl.Config{})
	check(err)
	check(client.Migrate(ctx))
	var queue Queue = PawlQueue{client, pool, "messages"}
	_, err = queue.Push(ctx, json.RawMessage(`"hello"`), time.Time{})
	check(err)
	jobs, err := queue.Pull(ctx, 10)
	check(err)
	for _, job := range jobs {
		fmt.Println(string(job.Args))
		check(queue.Delete(ctx, job))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
