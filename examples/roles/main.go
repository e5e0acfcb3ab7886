// This program shows a Producer and a Consumer, for programs that do only one of these.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

const kind = "message"

// A Producer inserts messages into one queue.
type Producer struct {
	client *pawl.Client
	queue  string
}

func (p Producer) Enqueue(ctx context.Context, message json.RawMessage) (pawl.ID, error) {
	return p.EnqueueDelayed(ctx, message, 0)
}

// EnqueueDelayed inserts a message that is due after the delay, by the database's clock.
func (p Producer) EnqueueDelayed(ctx context.Context, message json.RawMessage, delay time.Duration) (pawl.ID, error) {
	result, err := p.client.Insert(ctx, pawl.JobSpec{Args: pawl.Raw(kind, message), Queue: p.queue, Delay: delay})
	return result.ID, err
}

// Batch inserts all messages or none, and returns their ids in the same order.
func (p Producer) Batch(ctx context.Context, messages ...json.RawMessage) ([]pawl.ID, error) {
	jobs := make([]pawl.JobSpec, len(messages))
	for i, message := range messages {
		jobs[i] = pawl.JobSpec{Args: pawl.Raw(kind, message), Queue: p.queue}
	}
	results, err := p.client.InsertMany(ctx, jobs)
	ids := make([]pawl.ID, len(results))
	for i, result := range results {
		ids[i] = result.ID
	}
	return ids, err
}

// A Consumer takes messages out of one queue. If it does not archive, delete, release or extend a message within
// the lease, another consumer gets the message, and this one gets pawl.ErrLeaseLost.
type Consumer struct {
	client *pawl.Client
	queue  string
	lease  time.Duration
}

// Dequeue claims up to n messages. It does not wait for any.
func (c Consumer) Dequeue(ctx context.Context, n int) (pawl.Jobs, error) {
	return c.client.Claim(ctx, c.queue, n, c.lease)
}

// Extend extends the leases of jobs to at least d from now.
func (c Consumer) Extend(ctx context.Context, jobs pawl.ClaimedJobs, d time.Duration) error {
	return c.client.Extend(ctx, jobs, d)
}

// Archive finishes jobs and keeps them in the archive for as long as the queue says.
func (c Consumer) Archive(ctx context.Context, jobs pawl.Jobs) error {
	for _, job := range jobs {
		job.Keep = true
	}
	return c.client.Complete(ctx, jobs)
}

// Delete removes jobs and returns the number of those whose claim was still valid.
func (c Consumer) Delete(ctx context.Context, jobs pawl.Jobs) (int64, error) {
	return c.client.Delete(ctx, jobs)
}

// Release returns jobs to the queue. No attempt is used.
func (c Consumer) Release(ctx context.Context, jobs pawl.ClaimedJobs) error {
	return c.client.Release(ctx, jobs, 0)
}

func main() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	client, err := pawl.New(pool, pawl.Config{})
	check(err)
	check(client.Migrate(ctx))
	producer, consumer := Producer{client, "messages"}, Consumer{client, "messages", 30 * time.Second}
	_, err = producer.Enqueue(ctx, json.RawMessage(`"hello"`))
	check(err)
	jobs, err := consumer.Dequeue(ctx, 10)
	check(err)
	for _, job := range jobs {
		fmt.Println(string(job.Args))
	}
	check(consumer.Archive(ctx, jobs))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
