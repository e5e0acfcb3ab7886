package pawl_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// The server goes away while jobs are inserted and run, twice, once without notice.
func TestTheServerRestarts(t *testing.T) {
	t.Parallel()
	// Durable: without that a server stopped without notice forgets what it has confirmed.
	server, err := localpg.Start(t.Context(), localpg.Config{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	url := pgtest.Reach(t, server)
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	client, pool := connect(t, url)
	var ran atomic.Int64
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		ran.Add(1)
		return nil
	})
	for range 3 {
		if _, err := client.InsertMany(t.Context(), notes(3000)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var inserts sync.WaitGroup
	var mu sync.Mutex
	var accepted []pawl.ID
	for range 2 {
		inserts.Go(func() {
			for ctx.Err() == nil {
				if result, err := client.Insert(ctx, Note{1}); err == nil {
					mu.Lock()
					accepted = append(accepted, result.ID)
					mu.Unlock()
				}
			}
		})
	}
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: time.Second})
	for i, mode := range []string{localpg.Immediate, localpg.Fast} {
		before := ran.Load()
		pgtest.Wait(t, "jobs to run", func() bool { return ran.Load() > before+int64(500*(i+1)) })
		if err := server.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
	}
	before := ran.Load()
	pgtest.Wait(t, "jobs to run again", func() bool { return ran.Load() > before })
	cancel()
	inserts.Wait()
	pgtest.Wait(t, "all to be done", func() bool {
		var n int
		err := pool.QueryRow(t.Context(), "select count(*) from pawl.job").Scan(&n)
		return err == nil && n == 0
	})
	ids := make([]int64, len(accepted))
	for i, id := range accepted {
		ids[i] = int64(id)
	}
	if n := value[int](t, pool, "select count(*) from unnest($1::bigint[]) u (id) where not exists (select from pawl.archive a where a.id = u.id)", ids); n != 0 {
		t.Errorf("%d of %d accepted jobs are lost", n, len(ids))
		exec(t, pool, "set enable_bitmapscan = off")
		for range 10 {
			t.Log(values[string](t, pool, "select row(u.id, (select row(a.id, a.state) from pawl.archive a where a.id + 0 = u.id), (select max(id) from pawl.archive), (select max(id) from pawl.job))::text from unnest($1::bigint[]) u (id) where not exists (select from pawl.archive a where a.id = u.id)", ids))
		}
	}
	if n := value[int](t, pool, "select count(*) - count(distinct id) from pawl.archive"); n != 0 {
		t.Errorf("%d jobs were completed twice", n)
	}
	if n := value[int](t, pool, "select count(*) from pawl.dead"); n != 0 {
		t.Errorf("%d jobs are dead", n)
	}
}
