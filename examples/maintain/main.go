// This program does maintenance in a process of its own: "maintain work" runs jobs without maintenance, and
// "maintain tasks" rescues jobs, ticks crons and applies retention. Several processes of each may run.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

type Report struct{ Day string }

func (Report) Kind() string { return "report" }

// work runs jobs. If its process dies, its jobs wait until a process with maintenance rescues them.
func work(ctx context.Context, client *pawl.Client, write func(context.Context, Report) error) error {
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Report]) error { return write(ctx, job.Args) })
	return client.Run(ctx, mux, pawl.RunnerConfig{NoMaintenance: true})
}

// maintain rescues jobs, removes expired reservations and unique keys, ticks crons and applies retention.
func maintain(ctx context.Context, client *pawl.Client) error {
	return client.Maintain(ctx)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	client, err := pawl.New(pool, pawl.Config{})
	check(err)
	check(client.Migrate(ctx))
	switch {
	case len(os.Args) == 2 && os.Args[1] == "work":
		check(client.PutCron(ctx, pawl.Cron{Name: "report", Spec: "0 6 * * *", Job: pawl.JobSpec{Args: Report{}}}))
		check(work(ctx, client, func(context.Context, Report) error {
			log.Println("report of", time.Now().Format(time.DateOnly))
			return nil
		}))
	case len(os.Args) == 2 && os.Args[1] == "tasks":
		check(maintain(ctx, client))
	default:
		log.Fatal("usage: maintain work | maintain tasks")
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
