// Chores in a process of their own: "tend work" runs jobs and does no chores, "tend chores" rescues, ticks crons and clears away.
// Of each there may be several.
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

// work runs jobs. If it dies, its jobs wait until a process with chores finds that out.
func work(ctx context.Context, client *pawl.Client, write func(context.Context, Report) error) error {
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Report]) error { return write(ctx, job.Args) })
	return client.Run(ctx, mux, pawl.RunnerConfig{NoMaintenance: true})
}

// chores is the reaper and the janitor: rescue, reservations and keys that expire, crons, retention, partitions.
func chores(ctx context.Context, client *pawl.Client) error {
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
	case len(os.Args) == 2 && os.Args[1] == "chores":
		check(chores(ctx, client))
	default:
		log.Fatal("usage: tend work | tend chores")
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
