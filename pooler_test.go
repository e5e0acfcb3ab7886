package pawl_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A runner needs no session of its own.
func TestARunnerWorksThroughAPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := poolerPools(t, fewConnections)
	client, said := clientThrough(t, pooled, "")
	var (
		ran     atomic.Int64
		running atomic.Int64
		most    atomic.Int64
		mu      sync.Mutex
		order   = map[string][]int{}
	)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		switch job.Queue {
		case "limited":
			n := running.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			defer running.Add(-1)
			<-time.After(time.Millisecond) // Or none would meet another.
		case "ordered":
			mu.Lock()
			order[job.Channel] = append(order[job.Channel], job.Args.N)
			mu.Unlock()
		case "retried":
			if job.Attempt == 1 {
				return errors.New("once more")
			}
		case "once":
			return pgx.BeginFunc(ctx, pooled, func(tx pgx.Tx) error { return client.With(tx).Complete(ctx, job) })
		}
		ran.Add(1)
		return nil
	})
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "limited", MaxRunning: 2}))
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "rated", Rate: pawl.Rate{N: 20, Per: time.Second}}))
	putCron(t, client, pawl.Cron{Name: "second", Spec: "@every 1s", Job: pawl.JobSpec{Args: Note{-1}, Queue: "cron"}})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 300 * time.Millisecond, PollInterval: 50 * time.Millisecond})

	want := int64(0)
	put := func(jobs ...pawl.JobSpec) {
		t.Helper()
		results, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
		for _, r := range results {
			if !r.Duplicate {
				want++
			}
		}
	}
	put(notes(2500)...) // By COPY.
	var inserts sync.WaitGroup
	for i := range 50 {
		want++
		inserts.Go(func() {
			if _, err := client.Insert(t.Context(), Note{i}); err != nil {
				t.Error(err)
			}
		})
	}
	inserts.Wait()
	for i := range 20 {
		put(pawl.JobSpec{Args: Note{i}, Queue: "ordered", Channel: fmt.Sprint(i % 2), Ordered: true},
			pawl.JobSpec{Args: Note{i}, Queue: "limited"}, pawl.JobSpec{Args: Note{i}, Queue: "rated"},
			pawl.JobSpec{Args: Note{i}, Queue: "retried", Backoff: pawl.Backoff{Base: 10 * time.Millisecond}},
			pawl.JobSpec{Args: Note{i}, Queue: "delayed", Delay: 20 * time.Millisecond},
			pawl.JobSpec{Args: Note{i}, Queue: "unique", Unique: pawl.Unique{Key: fmt.Sprint(i % 4), Period: time.Hour}})
	}
	if n := want - 2550; n != 20*5+4 {
		t.Errorf("%d jobs were put in, want 104: the rest have a key that is taken", n)
	}
	err := pgx.BeginFunc(t.Context(), pooled, func(tx pgx.Tx) error {
		in := client.With(tx)
		if _, err := in.InsertMany(t.Context(), notes(2100)); err != nil {
			return err
		}
		_, err := in.Insert(t.Context(), pawl.JobSpec{Args: Note{1}, Queue: "once"})
		return err
	})
	must(t, err)
	want += 2100
	batch, err := client.InsertBatch(t.Context(),
		pawl.BatchSpec{Jobs: []pawl.JobSpec{{Args: Note{1}}, {Args: Note{2}}}, OnFinish: &pawl.JobSpec{Args: Note{3}}})
	must(t, err)
	want += 3

	job, err := client.Await(t.Context(), insert(t, client, Note{0}))
	if want++; err != nil || job.State != pawlstate.Completed {
		t.Errorf("awaited: %+v, %v", job, err)
	}
	pgtest.Wait(t, "all jobs and two ticks of the cron", func() bool {
		ticks := value[int64](t, direct, "select count(*) from pawl.archive where queue = 'cron'")
		return ran.Load()-ticks >= want && ticks >= 2
	})
	for channel, numbers := range order {
		if len(numbers) != 10 || !slices.IsSorted(numbers) {
			t.Errorf("channel %s ran in the order %v", channel, numbers)
		}
	}
	if n := most.Load(); n > 2 {
		t.Errorf("%d ran at once of a queue that allows two", n)
	}
	if b, err := client.GetBatch(t.Context(), batch); err != nil || b.Completed != 2 {
		t.Errorf("the batch is %+v, %v", b, err)
	}
	await(t, client, job.ID, pawlstate.Completed)
	if n := said.count("a pooler is in between"); n != 1 {
		t.Errorf("the pooler was mentioned %d times, want once", n)
	}
	awaitNoLocks(t, direct)
}

// Without LISTEN, a cancellation arrives with the next heartbeat.
func TestCancelThroughAPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := poolerPools(t, fewConnections)
	client, _ := clientThrough(t, pooled, "")
	g, causes := newGate(), make(chan error, 1)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		err := g.handle(ctx, job)
		causes <- context.Cause(ctx)
		return err
	})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond})
	id := insert(t, client, Note{1})
	receive(t, "the job", g.running)
	wantCount(t, 1)(client.Cancel(t.Context(), id))
	if err := receive(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrCancelled) {
		t.Errorf("the cause was %v, want ErrCancelled", err)
	}
	await(t, client, id, pawlstate.Cancelled)
	awaitNoLocks(t, direct)
}

// An idle runner and waiting consumers poll. They do not test again and again whether LISTEN works, and leave no lock
// in a server session that others use.
func TestSleepThroughAPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := poolerPools(t, fewConnections)
	client, said := clientThrough(t, pooled, "")
	mux := new(pawl.Mux)
	g := newGate()
	close(g.leave)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{PollInterval: 100 * time.Millisecond,
		Queues: map[string]pawl.RunnerQueue{"default": {}}})
	var waiting sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 3 {
		waiting.Go(func() {
			for ctx.Err() == nil {
				if err := client.Wait(ctx, "consumed"); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				jobs, err := client.Claim(t.Context(), "consumed", 10, 0)
				if err == nil {
					err = client.Complete(t.Context(), jobs)
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 3 {
		// Let them fall asleep.
		must(t, direct.QueryRow(t.Context(), "select from pg_sleep(0.4)").Scan())
		awaitNoLocks(t, direct)
		insert(t, client, Note{i})
		receive(t, "the job", g.running)
		await(t, client, insert(t, client, pawl.JobSpec{Args: Note{i}, Queue: "consumed"}), pawlstate.Completed)
	}
	stop()
	waiting.Wait()
	if n := said.count("a pooler is in between"); n != 1 {
		t.Errorf("the pooler was mentioned %d times, want once", n)
	}
	awaitNoLocks(t, direct)
}

// With a ListenURL that bypasses the pooler, or leads through one in session mode, a sleeping runner is woken. With a
// transaction pooler, it logs a warning and polls.
func TestListenURLBypassesAPooler(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode   string // Of the pooler that LISTEN goes through; "": none.
		hears  bool
		remark string
	}{
		"past the pooler":            {"", true, ""},
		"a pooler in session mode":   {"session", true, ""},
		"another transaction pooler": {"transaction", false, "Config.ListenURL leads through a transaction pooler"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pooled, direct := poolerPools(t, fewConnections)
			url := direct.Config().ConnString()
			if c.mode != "" {
				url = pgtest.Pooler(t, nil, map[string]string{"pool_mode": c.mode}).URL(pgtest.Name(t, url))
			}
			client, said := clientThrough(t, pooled, url)
			mux := new(pawl.Mux)
			g := newGate()
			close(g.leave)
			pawl.Handle(mux, g.handle)
			config := pawl.RunnerConfig{PollInterval: 10 * time.Minute}
			if !c.hears {
				config.PollInterval = 100 * time.Millisecond
			}
			start(t, client, mux, config)
			if c.hears {
				awaitSleepers(t, direct, 1)
			} else {
				pgtest.Wait(t, "the remark", func() bool { return said.count(c.remark) == 1 })
				awaitNoLocks(t, direct)
			}
			insert(t, client, Note{1})
			receive(t, "the job", g.running)
			if n := said.count("polling instead"); (n > 0) == c.hears {
				t.Errorf("it was said %d times that it polls", n)
			}
		})
	}
}

// database/sql works through a pooler with the defaults of pgx and of another driver, also with many calls at once.
func TestDatabaseSQLThroughAPooler(t *testing.T) {
	pgtest.NotHostile(t, "its transactions are serializable then, and do not run again")
	t.Parallel()
	pooled, direct := poolerPools(t, fewConnections)
	client, _ := clientThrough(t, pooled, "")
	url := pooled.Config().ConnString()
	connector, err := pq.NewConnector(url + "&sslmode=disable&binary_parameters=yes")
	must(t, err)
	for name, db := range map[string]*sql.DB{"pgx": stdlib.OpenDB(*pooled.Config().ConnConfig),
		"lib/pq": sql.OpenDB(connector)} {
		t.Run(name, func(t *testing.T) {
			defer db.Close()
			db.SetMaxIdleConns(6)
			var users sync.WaitGroup
			for i := range 6 {
				users.Go(func() {
					for range 4 {
						if err := useSQL(t.Context(), client, db, i); err != nil {
							t.Error(err)
						}
					}
				})
			}
			users.Wait()
			if n := value[int](t, direct, "select count(*) from pawl.archive where queue = 'sql'"); n != 24 {
				t.Errorf("%d jobs are done, want 24", n)
			}
			exec(t, direct, "delete from pawl.archive_chunk")
		})
	}
	awaitNoLocks(t, direct)
}

// useSQL inserts and runs a job, in transactions and without.
func useSQL(ctx context.Context, client *pawl.Client, db *sql.DB, i int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	channel := fmt.Sprint(i)
	spec := pawl.JobSpec{Args: Note{i}, Queue: "sql", Channel: channel, Data: []byte{0, 1},
		Headers: map[string]string{"ü": `"\`}}
	result, err := client.WithSQL(tx).Insert(ctx, spec)
	if err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if _, err := client.WithSQL(db).Queues(ctx); err != nil { // A statement without parameters.
		return fmt.Errorf("queues: %w", err)
	}
	if tx, err = db.BeginTx(ctx, nil); err != nil {
		return err
	}
	defer tx.Rollback()
	jobs, err := client.WithSQL(tx).Claim(ctx, "sql", 1, 0)
	if err != nil || len(jobs) != 1 {
		return fmt.Errorf("claimed %d after job %d: %w", len(jobs), result.ID, err)
	}
	if jobs[0].Headers["ü"] != `"\` || string(jobs[0].Data) != "\x00\x01" {
		return fmt.Errorf("claimed %+v", jobs[0])
	}
	if err := client.WithSQL(tx).Complete(ctx, jobs); err != nil {
		return fmt.Errorf("complete: %w", err)
	}
	return tx.Commit()
}

// A user's pool may have any query mode of pgx.
func TestEveryModeThroughAPooler(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(strings.ReplaceAll(mode.String(), " ", "_"), func(t *testing.T) {
			t.Parallel()
			defaults, direct := poolerPools(t, fewConnections)
			config := defaults.Config()
			config.ConnConfig.DefaultQueryExecMode = mode
			pooled, err := pgxpool.NewWithConfig(t.Context(), config)
			must(t, err)
			t.Cleanup(pooled.Close)
			client, _ := clientThrough(t, pooled, "")
			must(t, client.Migrate(t.Context()))
			_, err = client.InsertMany(t.Context(), notes(2100))
			must(t, err)
			var ran atomic.Int64
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error {
				ran.Add(1)
				return nil
			})
			start(t, client, mux, pawl.RunnerConfig{Queues: map[string]pawl.RunnerQueue{"default": {}}})
			db := stdlib.OpenDBFromPool(pooled)
			defer db.Close()
			must(t, useSQL(t.Context(), client, db, 1))
			pgtest.Wait(t, "all jobs", func() bool { return ran.Load() == 2100 })
			awaitNoLocks(t, direct)
		})
	}
}

// A driver that prepares statements loses them behind a pooler. The error says what to do.
func TestALostPreparedStatementIsExplained(t *testing.T) {
	t.Parallel()
	client, err := pawl.New(nil, pawl.Config{})
	must(t, err)
	_, err = client.WithSQL(forgetful{}).Insert(t.Context(), Note{1})
	if err == nil || !strings.Contains(err.Error(), "transaction pooler") ||
		!strings.Contains(err.Error(), "max_prepared_statements") || !strings.Contains(err.Error(), "26000") {
		t.Errorf("the error is %v", err)
	}
}

// A forgetful connection answers as a server that does not know a prepared statement.
type forgetful struct{ *sql.DB }

func (forgetful) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, &pgconn.PgError{Severity: "ERROR", Code: "26000", Message: `prepared statement "1" does not exist`}
}

func TestNewRefusesAPoolThatCannotDescribe(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig("postgres://localhost/x?description_cache_capacity=0")
	must(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	defer pool.Close()
	if _, err := pawl.New(pool, pawl.Config{}); err == nil ||
		!strings.Contains(err.Error(), "description_cache_capacity") {
		t.Errorf("New said %v", err)
	}
}
