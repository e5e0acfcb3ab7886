// This program inserts jobs also during an outage of the database. See Spool for what that costs.
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

type Visit struct{ Page string }

func (Visit) Kind() string { return "visit" }

// A job is inserted each second. Stop the database and start it again to see what happens.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	client, err := pawl.New(pool, pawl.Config{})
	check(err)
	check(client.Migrate(ctx))
	spool, err := Open(client, "visits.spool", 10_000)
	check(err)
	defer func() { _ = spool.Close() }()
	for tick := time.Tick(time.Second); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		trying, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		spooled, err := spool.Insert(trying, pawl.JobSpec{Args: Visit{Page: "/"}})
		log.Printf("visit: spooled %v, error %v", spooled, err)
		if !spooled && spool.Waiting() > 0 {
			n, err := spool.Replay(trying)
			log.Printf("replayed %d, error %v", n, err)
		}
		cancel()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
