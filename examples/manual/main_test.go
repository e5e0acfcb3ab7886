package main

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func bank(t *testing.T) (*pawl.Client, *pgxpool.Pool) {
	t.Helper()
	client := pawltest.New(t)
	pool := pawltest.Pool(t, client)
	for _, text := range []string{accounts, "insert into account values (1, 100), (2, 0)"} {
		if _, err := pool.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Insert(t.Context(), Transfer{From: 1, To: 2, Cents: 30}); err != nil {
		t.Fatal(err)
	}
	return client, pool
}

func balance(t *testing.T, pool *pgxpool.Pool, account int64, want int64) {
	t.Helper()
	var cents int64
	if err := pool.QueryRow(t.Context(), "select cents from account where id = $1", account).Scan(&cents); err != nil ||
		cents != want {
		t.Errorf("account %d has %d, %v; want %d", account, cents, err, want)
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	client, pool := bank(t)
	if job := pawltest.RunOne(t, client, handlers(client, pool)); job.State != pawlstate.Completed {
		t.Errorf("the job is %s: %v", job.State, job.Errors)
	}
	balance(t, pool, 1, 70)
	balance(t, pool, 2, 30)
}

// If the job is cancelled while its handler runs, the transfer is rolled back.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	client, pool := bank(t)
	mux := handlers(client, pool)
	var answer error
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		if _, err := client.Cancel(ctx, job.ID); err != nil {
			return err
		}
		answer = next(ctx)
		return answer
	})
	if job := pawltest.RunOne(t, client, mux); job.State != pawlstate.Cancelled {
		t.Errorf("the job is %s", job.State)
	}
	if !errors.Is(answer, pawl.ErrLeaseLost) {
		t.Errorf("the handler answered %v", answer)
	}
	balance(t, pool, 1, 100)
	balance(t, pool, 2, 0)
}
