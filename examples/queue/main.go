// The queue of five verbs, push, pull, delete, fail and clear, on Pawl's consumer API.
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

// Queue is all that a simple worker needs; others may implement it.
type Queue interface {
	Push(ctx context.Context, message json.RawMessage, at time.Time) (pawl.ID, error) // At zero: now.
	Pull(ctx context.Context, n int) (pawl.Jobs, error)                               // At once, up to n and at most 100.
	Delete(ctx context.Context, job *pawl.JobInfo) error                              // It is done.
	Fail(ctx context.Context, job *pawl.JobInfo, err error) error                     // Again after a backoff; dead after five attempts.
	Clear(ctx context.Context) error                                                  // All of it, running or not.
}

const (
	mostPulled  = 100
	maxAttempts = 5
	lease       = time.Minute // A job not deleted or failed by then is pulled by somebody else.
)

// PawlQueue is a Queue in PostgreSQL.
type PawlQueue struct {
	Client *pawl.Client
	Pool   *pgxpool.Pool
	Name   string
}

func (q PawlQueue) Push(ctx context.Context, message json.RawMessage, at time.Time) (pawl.ID, error) {
	result, err := q.Client.Insert(ctx, pawl.JobSpec{Args: pawl.Raw("message", message), Queue: q.Name, RunAt: at, MaxAttempts: maxAttempts})
	return result.ID, err
}

func (q PawlQueue) Pull(ctx context.Context, n int) (pawl.Jobs, error) {
	return q.Client.Claim(ctx, q.Name, min(n, mostPulled), lease)
}

// Delete returns pawl.ErrLeaseLost if the job is somebody else's by now. Client.Complete would keep it in the archive for a day.
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
