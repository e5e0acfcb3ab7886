package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Order is a job that belongs to a row of the application's table.
type Order struct {
	N int `json:"n"`
}

func (Order) Kind() string { return "order" }

// Stuck is a job that runs until the test ends it.
type Stuck struct {
	N int `json:"n"`
}

func (Stuck) Kind() string { return "stuck" }

// clientProgram finds one of PostgreSQL's client programs beside the server's, because it must be of the same version.
func clientProgram(t testing.TB, name string) (path string) {
	t.Helper()
	dir, err := localpg.Find("")
	if err == nil {
		path, err = osexec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		t.Skip(err) // The server is not ours, or its package has no client programs.
	}
	return path
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := osexec.CommandContext(t.Context(), clientProgram(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func dump(t testing.TB, url string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "dump")
	run(t, "pg_dump", "--format", "custom", "--compress", "0", "--file", file, "--dbname", pgtest.Direct(t, url))
	return file
}

func restore(t testing.TB, file, url string) {
	t.Helper()
	// It must not pass through a pooler: it sets the search_path of its session, which the pooler would hand on. It must
	// be one transaction: before the keys exist, workers that are still running would be inserted twice.
	run(t, "pg_restore", "--exit-on-error", "--single-transaction", "--dbname", pgtest.Direct(t, url), file)
}

// invoicing returns a handler that inserts an invoice and completes the order's job in one transaction.
func invoicing(
	client *pawl.Client, pool *pgxpool.Pool, note func(*pawl.JobInfo),
) func(context.Context, *pawl.Job[Order]) error {
	return func(ctx context.Context, job *pawl.Job[Order]) error {
		note(job.JobInfo)
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "insert into invoice (n, job_id) values ($1, $2)", job.Args.N, int64(job.ID))
			if err != nil {
				return err
			}
			return client.With(tx).Complete(ctx, job)
		})
	}
}

// placeOrders inserts orders together with their job, and notes, until ctx ends.
func placeOrders(ctx context.Context, t *testing.T, client *pawl.Client, pool *pgxpool.Pool, first, step int) {
	for n := first; ctx.Err() == nil; n += step {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into orders (n) values ($1)", n); err != nil {
				return err
			}
			_, err := client.With(tx).Insert(ctx, Order{n})
			return err
		})
		if err == nil {
			_, err = client.InsertMany(ctx, []pawl.JobSpec{
				{Args: Note{n}},
				{Args: Note{n}, Channel: fmt.Sprint("account ", n%4), Ordered: true},
			})
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}

// stuckJobs is the number of jobs that run while dumpUnderLoad takes its dump.
const stuckJobs = 5

// dumpUnderLoad takes a dump while jobs are inserted and run. The load has orders inserted together with their job,
// invoices inserted together with its completion, notes that the runner completes or that fail at first, an ordered
// channel, a job for much later, and stuck jobs. later is the id of the job for much later.
func dumpUnderLoad(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (file string, later pawl.ID) {
	t.Helper()
	exec(t, pool, "create table orders (n integer not null)")
	exec(t, pool, "create table invoice (n integer not null, job_id bigint not null)")
	free := make(chan struct{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, invoicing(client, pool, func(*pawl.JobInfo) {}))
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		if job.Args.N%7 == 0 && job.Attempt == 1 {
			return pawl.RetryAfter(20*time.Millisecond, errors.New("fails at first"))
		}
		return nil
	})
	pawl.Handle(mux, func(context.Context, *pawl.Job[Stuck]) error {
		<-free
		return nil
	})
	for n := range stuckJobs {
		insert(t, client, Stuck{n})
	}
	later = insert(t, client, pawl.JobSpec{Args: Note{-1}, Delay: hour})
	stop := start(t, client, mux, pawl.RunnerConfig{Min: 40, Max: 80, Heartbeat: 200 * time.Millisecond})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var producers sync.WaitGroup
	for p := range 3 {
		producers.Go(func() { placeOrders(ctx, t, client, pool, p, 3) })
	}
	pgtest.Wait(t, "invoices, and all the stuck jobs to run", func() bool {
		return value[int](t, pool, "select count(*) from invoice") > 200 &&
			value[int](t, pool, `select count(*) from pawl.lease l, unnest(l.jobs) u (id)
				join pawl.job j on j.id = u.id where j.kind = 'stuck'`) == stuckJobs
	})
	file = dump(t, pool.Config().ConnString())
	cancel()
	producers.Wait()
	close(free)
	if err := stop(); err != nil {
		t.Error(err)
	}
	return file, later
}

// selectIDs returns the ids that a query selects.
func selectIDs(t *testing.T, pool *pgxpool.Pool, sql string) map[pawl.ID]bool {
	t.Helper()
	set := map[pawl.ID]bool{}
	for _, id := range values[int64](t, pool, sql) {
		set[pawl.ID(id)] = true
	}
	return set
}

// A dump is taken under load and restored elsewhere: jobs and the application's rows are of one moment. Jobs that were
// not completed then run; completed jobs do not.
func TestRestoredDumpRunsUnfinishedJobs(t *testing.T) {
	t.Parallel()
	clientProgram(t, "pg_dump") // A skip must come before workers start.
	client, pool := install(t)
	file, later := dumpUnderLoad(t, client, pool)
	restored := pgtest.Empty(t)
	restore(t, file, restored)
	client, pool = connect(t, restored)

	unfinished := selectIDs(t, pool, "select id from pawl.job")
	finished := selectIDs(t, pool, "select id from pawl.archive")
	n := value[int](t, pool, "select count(*) from invoice")
	if n <= 200 || len(unfinished) <= stuckJobs+1 || len(finished) <= 200 {
		t.Fatalf("%d invoices, %d jobs live and %d finished: the dump was not taken under load",
			n, len(unfinished), len(finished))
	}
	inconsistent := values[int](t, pool, `select o.n from orders o
		left join (select args from pawl.job where kind = 'order') j on (j.args ->> 'n')::integer = o.n
		left join (select args from pawl.archive where kind = 'order') a on (a.args ->> 'n')::integer = o.n
		left join invoice i on i.n = o.n
		where (j.args is null) = (i.n is null) or (a.args is null) <> (i.n is null)`)
	if len(inconsistent) > 0 {
		t.Errorf("orders %v: want a live job and no invoice, or an invoice and a completed job", inconsistent)
	}

	insert(t, client, Note{-2}) // Its id is new, although the sequence advanced after the dump.
	ran := runRestored(t, client, pool)
	delete(unfinished, later)
	if len(ran) != len(unfinished)+1 {
		t.Errorf("%d jobs ran; want the %d not finished in the dump and the new one", len(ran), len(unfinished))
	}
	for id := range unfinished {
		if !ran[id] {
			t.Errorf("job %d was not finished in the dump and did not run", id)
		}
	}
	for id := range finished {
		if ran[id] {
			t.Errorf("job %d was finished in the dump and ran again", id)
		}
	}
	orders := slices.Sorted(slices.Values(values[int](t, pool, "select n from orders")))
	invoices := slices.Sorted(slices.Values(values[int](t, pool, "select n from invoice")))
	if !slices.Equal(orders, invoices) {
		t.Errorf("%d orders and %d invoices; want one each", len(orders), len(invoices))
	}
}

// runRestored runs all jobs of a restored database but the one for much later, and returns their ids. Waiting jobs run
// at once; the jobs of lost workers run after three of their heartbeats.
func runRestored(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) map[pawl.ID]bool {
	t.Helper()
	var mu sync.Mutex
	ran := map[pawl.ID]bool{}
	note := func(job *pawl.JobInfo) {
		mu.Lock()
		ran[job.ID] = true
		mu.Unlock()
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, invoicing(client, pool, note))
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		note(job.JobInfo)
		return nil
	})
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Stuck]) error {
		note(job.JobInfo)
		if job.Attempt != 1 {
			t.Errorf("stuck job %d is in attempt %d: a restore must not use one", job.ID, job.Attempt)
		}
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{Min: 40, Max: 80})
	pgtest.Wait(t, "all but the job for later to be finished", func() bool {
		return value[int](t, pool, "select count(*) from pawl.job") == 1
	})
	mu.Lock()
	defer mu.Unlock()
	return maps.Clone(ran)
}

// The database goes back in time while the client stays: after a restore in place, or a failover to a standby that
// lagged. New jobs then get positions that the client has already passed.
func TestAllJobsAreClaimedAfterARestoreInPlace(t *testing.T) {
	for name, restart := range map[string]bool{"another server": true, "the same server": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client, pool := rewindable(t)
			url := pool.Config().ConnString()
			notes := func(n int) {
				t.Helper()
				jobs := make([]pawl.JobSpec, n)
				for i := range jobs {
					jobs[i].Args = Note{i}
				}
				if _, err := client.InsertMany(t.Context(), jobs); err != nil {
					t.Fatal(err)
				}
			}
			drain := func() (n int) {
				t.Helper()
				for {
					jobs, err := client.Claim(t.Context(), "default", 100, 0)
					if err != nil {
						t.Fatal(err)
					}
					if len(jobs) == 0 {
						return n
					}
					n += len(jobs)
					if err := client.Complete(t.Context(), jobs); err != nil {
						t.Fatal(err)
					}
				}
			}
			notes(50)
			file := dump(t, url)
			notes(250)
			if n := drain() + drain() + drain(); n != 300 { // Several times, so that the client advances its marks.
				t.Fatalf("%d of 300 jobs were claimed", n)
			}
			rewind(t, server, file, url, restart)
			notes(20)
			if n := drain(); n != 70 {
				t.Errorf("%d jobs were claimed; want the 50 of the dump and 20 inserted since", n)
			}
			checkInvariant(t, client)
		})
	}
}

// rewindable returns a client on a database that [rewind] can restore from a dump. Its pool replaces dead connections
// without an error, as any pool does with an idle connection, or as a pooler would: the client does not notice.
func rewindable(t *testing.T) (*localpg.Server, *pawl.Client, *pgxpool.Pool) {
	t.Helper()
	server := pgtest.Server(t)
	admin(t, server, "create database rewindable")
	pool := pgtest.Pool(t, server.URL("rewindable"), func(c *pgxpool.Config) {
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	})
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return server, client, pool
}

func rewind(t *testing.T, server *localpg.Server, file, url string, restart bool) {
	t.Helper()
	if restart {
		if err := server.Restart(t.Context(), localpg.Immediate); err != nil {
			t.Fatal(err)
		}
	}
	admin(t, server, "drop database rewindable with (force)", "create database rewindable")
	restore(t, file, url)
}

func admin(t *testing.T, server *localpg.Server, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range statements {
		exec(t, conn, sql)
	}
}

// After a restore the sequence of workers' ids repeats numbers too. Two workers with the same row would release each
// other's leases.
func TestWorkersRegisterAgainAfterARestoreInPlace(t *testing.T) {
	t.Parallel()
	server, client, pool := rewindable(t)
	url := pool.Config().ConnString()
	file := dump(t, url)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	names := func() (names []string) {
		workers, err := client.Workers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range workers {
			if w.State == "ready" {
				names = append(names, w.Name)
			}
		}
		return names
	}
	// The first one notices late, because no notification asks for a heartbeat. So the second one takes its id.
	noListen, err := pawl.New(pool, pawl.Config{ListenURL: server.URL("nowhere"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	// A worker learns of its registration a little after others see it. When it has run a job, it knows.
	works := func(client *pawl.Client, config pawl.RunnerConfig) {
		config.Queues, config.NoMaintenance = map[string]pawl.RunnerQueue{config.Name: {}}, true
		start(t, client, mux, config)
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: config.Name})
		pgtest.Wait(t, "the worker "+config.Name+" to work", func() bool { return liveRows(t, pool) == 0 })
	}
	works(noListen, pawl.RunnerConfig{Name: "first", Heartbeat: 2 * time.Second})
	works(client, pawl.RunnerConfig{Name: "second", Heartbeat: 100 * time.Millisecond})
	rewind(t, server, file, url, false)
	pgtest.Wait(t, "both workers to register again, each with its own row", func() bool {
		now := names()
		slices.Sort(now)
		return slices.Equal(now, []string{"first", "second"})
	})
}
