package pawl_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// losesNoJob inserts and runs jobs while trouble happens. It fails the test if an accepted job is lost.
func losesNoJob(t *testing.T, client *pawl.Client, direct *pgxpool.Pool, trouble func(some func())) {
	t.Helper()
	var ran atomic.Int64
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error {
		ran.Add(1)
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var inserts sync.WaitGroup
	var mu sync.Mutex
	var accepted []int64
	for range 2 {
		inserts.Go(func() {
			for ctx.Err() == nil {
				trying, cancel := context.WithTimeout(ctx, 5*time.Second)
				result, err := client.Insert(trying, Note{1})
				cancel()
				if err == nil {
					mu.Lock()
					accepted = append(accepted, int64(result.ID))
					mu.Unlock()
				}
			}
		})
	}
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: time.Second, PollInterval: 100 * time.Millisecond})
	some := func() {
		t.Helper()
		before := ran.Load()
		pgtest.Wait(t, "jobs to run", func() bool { return ran.Load() > before+200 })
	}
	some()
	trouble(some)
	some()
	cancel()
	inserts.Wait()
	pgtest.Wait(t, "all to be done", func() bool { return value[int](t, direct, "select count(*) from pawl.job") == 0 })
	if n := value[int](t, direct, "select count(*) from unnest($1::bigint[]) u (id) where not exists (select from "+
		"pawl.archive a where a.id = u.id)", accepted); n != 0 {
		t.Errorf("%d of %d accepted jobs are lost", n, len(accepted))
	}
}

// quickTimeouts are settings with which PgBouncer soon notices that a server is back, and limits each wait.
var quickTimeouts = map[string]string{"default_pool_size": "5", "server_login_retry": "1", "query_wait_timeout": "3"}

// durablePooler is like clientThrough, on a server of the test's own that survives crashes.
func durablePooler(t *testing.T, listen bool) (*pawl.Client, *localpg.Pooler, *localpg.Server, *pgxpool.Pool) {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Config{Durable: true})
	must(t, err)
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	url := server.URL("postgres")
	pooler := pgtest.Pooler(t, server, quickTimeouts)
	must(t, migrate(t.Context(), url))
	direct := pgtest.Pool(t, url)
	pooled := pgtest.Pool(t, pooler.URL("postgres"), func(c *pgxpool.Config) { c.MaxConns = 8 }, withoutNamedStatements(t))
	if !listen {
		url = ""
	}
	client, _ := clientThrough(t, pooled, url)
	return client, pooler, server, direct
}

// The pooler, or the server behind it, fails while jobs are inserted and run. No accepted job is lost.
func TestNoJobIsLostWhenAPoolerFails(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(t *testing.T, pooler *localpg.Pooler, server *localpg.Server, some func()){
		"killed": func(t *testing.T, pooler *localpg.Pooler, _ *localpg.Server, some func()) {
			for range 2 {
				must(t, pooler.Kill())
				must(t, pooler.Start(t.Context()))
				some()
			}
		},
		"paused": func(t *testing.T, pooler *localpg.Pooler, _ *localpg.Server, some func()) {
			must(t, pooler.Tell(t.Context(), "PAUSE"))
			must(t, pooler.Tell(t.Context(), "RESUME"))
			some()
			must(t, pooler.Tell(t.Context(), "RECONNECT"))
		},
		"the server behind it restarts": func(t *testing.T, _ *localpg.Pooler, server *localpg.Server, some func()) {
			must(t, server.Restart(t.Context(), localpg.Immediate))
			some()
			must(t, server.Restart(t.Context(), localpg.Fast))
		},
	} {
		for _, listen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, listening %t", name, listen), func(t *testing.T) {
				t.Parallel()
				client, pooler, server, direct := durablePooler(t, listen)
				losesNoJob(t, client, direct, func(some func()) { trouble(t, pooler, server, some) })
			})
		}
	}
}

// Other transactions use every server connection. A statement that waits for one fails in time with an error that
// says why. No job is lost.
func TestNoJobIsLostWhenAPoolerIsFull(t *testing.T) {
	t.Parallel()
	pooled, _ := poolerPools(t, map[string]string{"default_pool_size": "2", "query_wait_timeout": "1"})
	client, said := clientThrough(t, pooled, "")
	g, mux := newGate(), new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 300 * time.Millisecond, PollInterval: 50 * time.Millisecond})
	first := insert(t, client, Note{1})
	receive(t, "the first job", g.running)
	var all []pgx.Tx
	for range 2 {
		all = append(all, begin(t, pooled))
		exec(t, all[len(all)-1], "select") // Now it has its connection to the server.
	}
	if _, err := client.Insert(t.Context(), Note{2}); err == nil || !strings.Contains(err.Error(), "query_wait_timeout") {
		t.Errorf("inserted without a connection left: %v", err)
	}
	pgtest.Wait(t, "a heartbeat to fail", func() bool { return said.count("heartbeat failed") > 0 })
	for _, tx := range all {
		commit(t, tx)
	}
	var last pawl.ID
	pgtest.Wait(t, "an insert to go again", func() bool {
		result, err := client.Insert(t.Context(), Note{3})
		last = result.ID
		return err == nil
	})
	close(g.leave)
	await(t, client, last, pawlstate.Completed)
	if job := await(t, client, first, pawlstate.Completed); job.Attempt != 1 {
		t.Errorf("attempt %d, want 1", job.Attempt)
	}
}

// A statement that is cancelled while it looks for sleepers leaves no lock in its session. A lock would keep runners
// from sleeping, and every insert would notify.
func TestACancelledWakeLeavesNoLock(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"of queues":        "select pawl.wake(array(select 'q' || q from generate_series(1, 5000) q))",
		"of awaiting ones": "select count(pawl.wake_awaiting(array[i])::text) from generate_series(1, 5000) i",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, pool := install(t)
			other, err := pgx.Connect(t.Context(), pgtest.Direct(t, pool.Config().ConnString()))
			must(t, err)
			defer other.Close(context.Background())
			exec(t, other, "select pg_advisory_lock_shared(pawl.await_key(null))") // A session awaits a job.
			cancelled := 0
			for i := range 60 {
				err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					exec(t, tx, fmt.Sprintf("set local statement_timeout = %d", 2+i%7))
					_, err := tx.Exec(t.Context(), text)
					return err
				})
				if err != nil {
					cancelled++
				}
			}
			if cancelled < 10 {
				t.Errorf("%d of 60 were cancelled: too few to tell", cancelled)
			}
			if n := value[int](t, other, `select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'
				and database = (select oid from pg_database where datname = current_database())`); n != 0 {
				t.Errorf("%d of %d left a lock", n, cancelled)
			}
		})
	}
}
