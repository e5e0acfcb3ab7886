package pawl_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// unnamed leaves a pool in pgx's default mode, which prepares statements by name, and fails the test if that is done to one: behind
// a transaction pooler the next one would not find it.
func unnamed(t testing.TB) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
		c.ConnConfig.Tracer = namedStatements{t}
	}
}

type namedStatements struct{ t testing.TB }

func (n namedStatements) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	if data.Name != "" {
		n.t.Errorf("a statement was prepared by name: %s", data.SQL)
	}
	return ctx
}

func (namedStatements) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

func (namedStatements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (namedStatements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// journal is what a client said.
type journal struct {
	t    testing.TB
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *journal) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	return l.t.Output().Write(p)
}

func (l *journal) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// pools are two of a database of the test's own: one with pgx's defaults, through a PgBouncer of its own, and one past that, for the test.
func pools(t testing.TB, settings map[string]string) (pooled, direct *pgxpool.Pool) {
	t.Helper()
	url := pgtest.Direct(t, pgtest.Database(t))
	pooler := pgtest.Pooler(t, nil, settings)
	return pgtest.Pool(t, pooler.URL(pgtest.Name(t, url)), func(c *pgxpool.Config) { c.MaxConns = 8 }, unnamed(t)), pgtest.Pool(t, url)
}

// through is a client on the first of them.
func through(t testing.TB, pool *pgxpool.Pool, listenURL string) (*pawl.Client, *journal) {
	t.Helper()
	said := &journal{t: t}
	client, err := pawl.New(pool, pawl.Config{ListenURL: listenURL, Logger: slog.New(slog.NewTextHandler(said, nil))})
	must(t, err)
	t.Cleanup(func() { check(t, client) })
	return client, said
}

// leftOver fails the test if a session of the database keeps what Pawl must not leave behind in one: locks. Those of a transaction, or of
// a look at who sleeps, are there for a moment.
func leftOver(t testing.TB, direct *pgxpool.Pool) {
	t.Helper()
	pgtest.Wait(t, "no advisory lock to be held behind the pooler", func() bool {
		return value[int](t, direct, `select count(*) from pg_locks where locktype = 'advisory'
			and database = (select oid from pg_database where datname = current_database())`) == 0
	})
}

// few makes transactions share server connections: a runner alone has up to eight of its own.
var few = map[string]string{"default_pool_size": "3"}

// All that a runner does works without a session of its own.
func TestAPoolerAlone(t *testing.T) {
	t.Parallel()
	pooled, direct := pools(t, few)
	client, said := through(t, pooled, "")
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
	batch, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: []pawl.JobSpec{{Args: Note{1}}, {Args: Note{2}}}, OnFinish: &pawl.JobSpec{Args: Note{3}}})
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
	leftOver(t, direct)
}

// What is heard at once where LISTEN works comes with the next heartbeat.
func TestCancelThroughAPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := pools(t, few)
	client, _ := through(t, pooled, "")
	g, causes := newGate(), make(chan error, 1)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		err := g.handle(ctx, job)
		causes <- context.Cause(ctx)
		return err
	})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond})
	id := insert(t, client, Note{1})
	within(t, "the job", g.running)
	must1(t, 1)(client.Cancel(t.Context(), id))
	if err := within(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrCancelled) {
		t.Errorf("the cause was %v, want ErrCancelled", err)
	}
	await(t, client, id, pawlstate.Cancelled)
	leftOver(t, direct)
}

// An idle runner and waiting consumers look; they do not ask again and again whether LISTEN works, nor leave a lock in a stranger's session.
func TestSleepThroughAPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := pools(t, few)
	client, said := through(t, pooled, "")
	mux := new(pawl.Mux)
	g := newGate()
	close(g.leave)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{PollInterval: 100 * time.Millisecond, Queues: map[string]pawl.RunnerQueue{"default": {}}})
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
		leftOver(t, direct)
		insert(t, client, Note{i})
		within(t, "the job", g.running)
		await(t, client, insert(t, client, pawl.JobSpec{Args: Note{i}, Queue: "consumed"}), pawlstate.Completed)
	}
	stop()
	waiting.Wait()
	if n := said.count("a pooler is in between"); n != 1 {
		t.Errorf("the pooler was mentioned %d times, want once", n)
	}
	leftOver(t, direct)
}

// With a URL past the pooler, or through one in session mode, a sleeper is woken; with one through a transaction pooler it says so and polls.
func TestListenURL(t *testing.T) {
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
			pooled, direct := pools(t, few)
			url := direct.Config().ConnString()
			if c.mode != "" {
				url = pgtest.Pooler(t, nil, map[string]string{"pool_mode": c.mode}).URL(pgtest.Name(t, url))
			}
			client, said := through(t, pooled, url)
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
				asleep(t, direct, 1)
			} else {
				pgtest.Wait(t, "the remark", func() bool { return said.count(c.remark) == 1 })
				leftOver(t, direct)
			}
			insert(t, client, Note{1})
			within(t, "the job", g.running)
			if n := said.count("polling instead"); (n > 0) == c.hears {
				t.Errorf("it was said %d times that it polls", n)
			}
		})
	}
}

// database/sql with pgx's and another driver's defaults, also many at once.
func TestDatabaseSQLThroughAPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := pools(t, few)
	client, _ := through(t, pooled, "")
	url := pooled.Config().ConnString()
	connector, err := pq.NewConnector(url + "&sslmode=disable&binary_parameters=yes")
	must(t, err)
	for name, db := range map[string]*sql.DB{"pgx": stdlib.OpenDB(*pooled.Config().ConnConfig), "lib/pq": sql.OpenDB(connector)} {
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
			exec(t, direct, "delete from pawl.archive")
		})
	}
	leftOver(t, direct)
}

// useSQL inserts a job and does it, in transactions and without.
func useSQL(ctx context.Context, client *pawl.Client, db *sql.DB, i int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	channel := fmt.Sprint(i)
	spec := pawl.JobSpec{Args: Note{i}, Queue: "sql", Channel: channel, Data: []byte{0, 1}, Headers: map[string]string{"ü": `"\`}}
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

// Whatever mode of pgx the user's pool has, for reasons of his own.
func TestEveryModeThroughAPooler(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(strings.ReplaceAll(mode.String(), " ", "_"), func(t *testing.T) {
			t.Parallel()
			defaults, direct := pools(t, few)
			config := defaults.Config()
			config.ConnConfig.DefaultQueryExecMode = mode
			pooled, err := pgxpool.NewWithConfig(t.Context(), config)
			must(t, err)
			t.Cleanup(pooled.Close)
			client, _ := through(t, pooled, "")
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
			leftOver(t, direct)
		})
	}
}

// A driver that prepares statements loses them behind a pooler; the error says what to do.
func TestPreparedLost(t *testing.T) {
	t.Parallel()
	client, err := pawl.New(nil, pawl.Config{})
	must(t, err)
	_, err = client.WithSQL(forgetful{}).Insert(t.Context(), Note{1})
	if err == nil || !strings.Contains(err.Error(), "transaction pooler") || !strings.Contains(err.Error(), "max_prepared_statements") || !strings.Contains(err.Error(), "26000") {
		t.Errorf("the error is %v", err)
	}
}

// forgetful answers as a server does that was not told of a prepared statement.
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
	if _, err := pawl.New(pool, pawl.Config{}); err == nil || !strings.Contains(err.Error(), "description_cache_capacity") {
		t.Errorf("New said %v", err)
	}
}

// steady inserts and runs jobs while trouble happens, and then fails the test if one that was accepted is lost.
func steady(t *testing.T, client *pawl.Client, direct *pgxpool.Pool, trouble func(some func())) {
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
	if n := value[int](t, direct, "select count(*) from unnest($1::bigint[]) u (id) where not exists (select from pawl.archive a where a.id = u.id)", accepted); n != 0 {
		t.Errorf("%d of %d accepted jobs are lost", n, len(accepted))
	}
}

// quick are settings with which PgBouncer notices sooner that a server is there again, and lets nobody wait for long.
var quick = map[string]string{"default_pool_size": "5", "server_login_retry": "1", "query_wait_timeout": "3"}

// behind is through on a server of the test's own, which survives crashes.
func prefixedScanner(t *testing.T, listen bool) (*pawl.Client, *localpg.Pooler, *localpg.Server, *pgxpool.Pool) {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Config{Durable: true})
	must(t, err)
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	url := server.URL("postgres")
	pooler := pgtest.Pooler(t, server, quick)
	must(t, migrate(t.Context(), url))
	direct := pgtest.Pool(t, url)
	pooled := pgtest.Pool(t, pooler.URL("postgres"), func(c *pgxpool.Config) { c.MaxConns = 8 }, unnamed(t))
	if !listen {
		url = ""
	}
	client, _ := through(t, pooled, url)
	return client, pooler, server, direct
}

// The pooler, or the server behind it, goes away while jobs are inserted and run: nothing that was accepted is lost.
func TestAPoolerFails(t *testing.T) {
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
				client, pooler, server, direct := prefixedScanner(t, listen)
				steady(t, client, direct, func(some func()) { trouble(t, pooler, server, some) })
			})
		}
	}
}

// Other transactions hold every connection to the server. What waits for one fails in time and says why; nothing is lost by it.
func TestAPoolerIsFull(t *testing.T) {
	t.Parallel()
	pooled, _ := pools(t, map[string]string{"default_pool_size": "2", "query_wait_timeout": "1"})
	client, said := through(t, pooled, "")
	g, mux := newGate(), new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 300 * time.Millisecond, PollInterval: 50 * time.Millisecond})
	first := insert(t, client, Note{1})
	within(t, "the first job", g.running)
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

// A statement that is cancelled while it looks for sleepers leaves no lock to its session: sleepers could not sleep any more, and every
// insert would notify.
func TestACancelledLookForSleepers(t *testing.T) {
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
			exec(t, other, "select pg_advisory_lock_shared(pawl.await_key(null))") // Somebody awaits something.
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

// BenchmarkPickup measures from before an insert to the start of its handler, of a runner that has been idle for a while:
//
//	go test -run - -bench Pickup -benchtime 40x .
func BenchmarkPickup(b *testing.B) {
	for _, c := range []struct {
		name           string
		pooled, listen bool
		poll           time.Duration
	}{
		{"no_pooler", false, true, 0}, {"ListenURL", true, true, 0}, {"pooler_alone", true, false, 0}, {"pooler_alone,_PollInterval_100ms", true, false, 100 * time.Millisecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			pooled, direct := pools(b, nil)
			pool, listenURL := direct, ""
			if c.pooled {
				pool = pooled
			}
			if c.listen {
				listenURL = direct.Config().ConnString()
			}
			client, _ := through(b, pool, listenURL)
			started := make(chan time.Time)
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error {
				started <- time.Now()
				return nil
			})
			start(b, client, mux, pawl.RunnerConfig{PollInterval: c.poll})
			var took []time.Duration
			for b.Loop() {
				time.Sleep(1500*time.Millisecond + rand.N(time.Second))
				began := time.Now()
				insert(b, client, Note{1})
				took = append(took, (<-started).Sub(began))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			for _, p := range []int{50, 90, 100} {
				b.ReportMetric(took[(len(took)-1)*p/100].Seconds()*1000, fmt.Sprintf("p%d-ms", p))
			}
		})
	}
}
