// A handler that completes its job by hand, in the transaction of its effects: they happen exactly once.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// Transfer moves money between two accounts.
type Transfer struct {
	From, To int64
	Cents    int64
}

func (Transfer) Kind() string { return "transfer" }

const accounts = "create table if not exists account (id bigint primary key, cents bigint not null)"

func handlers(client *pawl.Client, pool *pgxpool.Pool) *pawl.Mux {
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Transfer]) error {
		// BeginFunc commits if the function returns nil, and rolls back otherwise.
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			const move = "update account set cents = cents + case id when $1 then -$3::bigint else $3 end where id in ($1, $2)"
			if _, err := tx.Exec(ctx, move,
				job.Args.From, job.Args.To, job.Args.Cents); err != nil {
				return err
			}
			// If it returns ErrLeaseLost, the job was cancelled, or another worker has it and makes the transfer. This
			// transfer is rolled back.
			return client.With(tx).Complete(ctx, job)
		})
		// The handler returns nil after the commit. The runner finds the job completed and leaves it so.
	})
	return mux
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	client, err := pawl.New(pool, pawl.Config{})
	check(err)
	check(client.Migrate(ctx))
	_, err = pool.Exec(ctx, accounts)
	check(err)
	check(client.Run(ctx, handlers(client, pool), pawl.RunnerConfig{}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
