// Command fleet stands for the binary of one version in TestRollingUpgrade. It inserts jobs and runs jobs of all queues until it
// receives SIGTERM, and records in the table accepted which jobs were inserted. scripts/old-binaries.sh builds the program that was
// kept with each version, from git history.
package main

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

type Work struct {
	N    int `json:"n"`
	Fail int `json:"fail"`
}

func (Work) Kind() string { return "work" }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	all := context.WithoutCancel(ctx)
	pool, err := pgxpool.New(ctx, os.Args[1])
	check(err)
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	check(err)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Work]) error {
		if job.Attempt <= job.Args.Fail {
			return pawl.RetryAfter(10*time.Millisecond, context.DeadlineExceeded)
		}
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into effect (n, job, lane, by) values ($1, $2, $3, 'old binary')", job.Args.N, int64(job.ID), job.Queue+" "+job.Channel); err != nil {
				return err
			}
			return client.With(tx).Complete(ctx, job)
		})
	})
	var inserts sync.WaitGroup
	inserts.Go(func() {
		for n := 1_000_000_000; ctx.Err() == nil; n += 2003 {
			jobs := make([]pawl.JobSpec, 0, 2003)
			for i := range 3 {
				jobs = append(jobs, pawl.JobSpec{Args: Work{N: n + i, Fail: i % 2}, Queue: "plain"})
			}
			jobs[2].Queue, jobs[2].Channel, jobs[2].Ordered = "ordered", "line 0", true
			if n == 1_000_000_000 { // Once by COPY.
				jobs = jobs[:0]
				for i := range 2003 {
					jobs = append(jobs, pawl.JobSpec{Args: Work{N: n + i}, Queue: "plain"})
				}
			}
			_, err := client.InsertMany(all, jobs)
			check(err)
			_, err = pool.Exec(all, "insert into accepted select unnest($1::integer[])", numbers(n, len(jobs)))
			check(err)
		}
	})
	check(client.Run(ctx, mux, pawl.RunnerConfig{Min: 4, Max: 8, Heartbeat: time.Second, Name: "old binary"}))
	inserts.Wait()
}

func numbers(from, n int) (list []int32) {
	for i := range n {
		list = append(list, int32(from+i))
	}
	return list
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
