package main

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

type Welcome struct{ UserID int64 }

func (Welcome) Kind() string { return "welcome" }

func main() {
	ctx := context.Background() // with signal.NotifyContext, ^C drains
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	client, err := pawl.New(pool, pawl.Config{})
	check(err)
	check(client.Migrate(ctx))
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Welcome]) error {
		log.Println("welcome, user", job.Args.UserID)
		return nil
	})
	_, err = client.Insert(ctx, Welcome{UserID: 42})
	check(err)
	check(client.Run(ctx, mux, pawl.RunnerConfig{}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
