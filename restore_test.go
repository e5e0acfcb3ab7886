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

// Order is a job that belongs to a row of the application's.
type Order struct {
	N int `json:"n"`
}

func (Order) Kind() string { return "order" }

// Stuck is a job that runs until the test lets it go.
type Stuck struct {
	N int `json:"n"`
}

func (Stuck) Kind() string { return "stuck" }

// clientProgram finds one of PostgreSQL's client programs, which lie beside the server's: of another version it might not do.
func clientProgram(t testing.TB, name string) (path string) {
	t.Helper()
	dir, err := localpg.Find("")
	if err == nil {
		path, err = osexec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		t.Skip(err) // The server is one given, or its package has no client programs.
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
	// Directly: it sets the search_path of its session, which a pooler would hand on. As one transaction: before the keys are made,
	// workers that live on would be in the tables twice.
	run(t, "pg_restore", "--exit-on-error", "--single-transaction", "--dbname", pgtest.Direct(t, url), file)
}

// A dump taken under load and restored elsewhere: jobs and the rows they belong to are of one moment. What was not completed then
// runs, what was does not.
func TestRestore(t *testing.T) {
	t.Parallel()
	clientProgram(t, "pg_dump") // Before there is anything that a skip would leave at work.
	client, pool := install(t)
	exec(t, pool, "create table orders (n integer not null); create table invoice (n integer not null, job_id bigint not null)")

	// The load: orders placed with their job, invoices written with its completion, notes that are completed by the runner or
	// fail at first, an ordered channel, jobs for much later, and some that are running when the dump is taken.
	const stuck = 5
	free := make(chan struct{})
	invoice := func(client *pawl.Client, pool *pgxpool.Pool, also func(*pawl.JobInfo)) func(context.Context, *pawl.Job[Order]) error {
		return func(ctx context.Context, job *pawl.Job[Order]) error {
			also(job.JobInfo)
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "insert into invoice (n, job_id) values ($1, $2)", job.Args.N, int64(job.ID)); err != nil {
					return err
				}
				return client.With(tx).Complete(ctx, job)
			})
		}
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, invoice(client, pool, func(*pawl.JobInfo) {}))
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		if job.Args.N%7 == 0 && job.Attempt == 1 {
			return pawl.RetryAfter(20*time.Millisecond, errors.New("not at first"))
		}
		return nil
	})
	pawl.Handle(mux, func(context.Context, *pawl.Job[Stuck]) error {
		<-free
		return nil
	})
	for n := range stuck {
		insert(t, client, Stuck{n})
	}
	later := insert(t, client, pawl.JobSpec{Args: Note{-1}, Delay: hour})
	stop := start(t, client, mux, pawl.RunnerConfig{Min: 40, Max: 80, Heartbeat: 200 * time.Millisecond})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var producers sync.WaitGroup
	for p := range 3 {
		producers.Go(func() {
			for n := p; ctx.Err() == nil; n += 3 {
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
		})
	}
	pgtest.Wait(t, "invoices, and all the stuck jobs to run", func() bool {
		return value[int](t, pool, "select count(*) from invoice") > 200 &&
			value[int](t, pool, "select count(*) from pawl.lease l, unnest(l.jobs) u (id) join pawl.job j on j.id = u.id where j.kind = 'stuck'") == stuck
	})
	file := dump(t, pool.Config().ConnString())
	cancel()
	producers.Wait()
	close(free)
	if err := stop(); err != nil {
		t.Error(err)
	}

	// The same moment elsewhere.
	restored := pgtest.Empty(t)
	restore(t, file, restored)
	again, there := connect(t, restored)
	ids := func(sql string) map[pawl.ID]bool {
		set := map[pawl.ID]bool{}
		for _, id := range values[int64](t, there, sql) {
			set[pawl.ID(id)] = true
		}
		return set
	}
	unfinished, finished := ids("select id from pawl.job"), ids("select id from pawl.archive")
	if n := value[int](t, there, "select count(*) from invoice"); n <= 200 || len(unfinished) <= stuck+1 || len(finished) <= 200 {
		t.Fatalf("%d invoices, %d jobs live and %d finished: the dump was not taken under load", n, len(unfinished), len(finished))
	}
	apart := values[int](t, there, `select o.n from orders o
		left join (select args from pawl.job where kind = 'order') j on (j.args ->> 'n')::integer = o.n
		left join (select args from pawl.archive where kind = 'order') a on (a.args ->> 'n')::integer = o.n
		left join invoice i on i.n = o.n
		where (j.args is null) = (i.n is null) or (a.args is null) <> (i.n is null)`)
	if len(apart) > 0 {
		t.Errorf("orders %v: want a live job and no invoice, or an invoice and a completed job", apart)
	}

	// A new fleet runs the rest: at once what waits, and what lost workers held after three of their heartbeats.
	var mu sync.Mutex
	ran := map[pawl.ID]bool{}
	note := func(job *pawl.JobInfo) {
		mu.Lock()
		ran[job.ID] = true
		mu.Unlock()
	}
	rest := new(pawl.Mux)
	pawl.Handle(rest, invoice(again, there, note))
	pawl.Handle(rest, func(_ context.Context, job *pawl.Job[Note]) error {
		note(job.JobInfo)
		return nil
	})
	pawl.Handle(rest, func(_ context.Context, job *pawl.Job[Stuck]) error {
		note(job.JobInfo)
		if job.Attempt != 1 {
			t.Errorf("stuck job %d is in attempt %d: a restore uses none", job.ID, job.Attempt)
		}
		return nil
	})
	insert(t, again, Note{-2}) // Its id is new, though the sequence went on after the dump.
	start(t, again, rest, pawl.RunnerConfig{Min: 40, Max: 80})
	pgtest.Wait(t, "all but the job for later to be finished", func() bool {
		return value[int](t, there, "select count(*) from pawl.job") == 1
	})
	delete(unfinished, later)
	mu.Lock()
	defer mu.Unlock()
	if len(ran) != len(unfinished)+1 {
		t.Errorf("%d jobs ran; want the %d not finished in the dump and the new one", len(ran), len(unfinished))
	}
	for id := range maps.Keys(unfinished) {
		if !ran[id] {
			t.Errorf("job %d was not finished in the dump and did not run", id)
		}
	}
	for id := range maps.Keys(finished) {
		if ran[id] {
			t.Errorf("job %d was finished in the dump and ran again", id)
		}
	}
	orders := slices.Sorted(slices.Values(values[int](t, there, "select n from orders")))
	invoices := slices.Sorted(slices.Values(values[int](t, there, "select n from invoice")))
	if !slices.Equal(orders, invoices) {
		t.Errorf("%d orders and %d invoices; want one each", len(orders), len(invoices))
	}
}

// The database goes back in time under a client that lives on: restored in place, or failed over to a standby that lagged. What is
// inserted then has positions that the client has claimed past once already.
func TestRewoundDatabase(t *testing.T) {
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
			if n := drain() + drain() + drain(); n != 300 { // More than once, so that it has made up its mind about what lies behind.
				t.Fatalf("%d of 300 jobs were claimed", n)
			}
			rewind(t, server, file, url, restart)
			notes(20)
			if n := drain(); n != 70 {
				t.Errorf("%d jobs were claimed; want the 50 of the dump and 20 inserted since", n)
			}
			check(t, client)
		})
	}
}

// rewindable is a client on a database that [rewind] can take back to a dump of it. Its pool replaces dead connections by itself, as
// any does after a second of rest, or as a pooler in between would: no error tells the client.
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

// After a rewind ids of workers are drawn once more too. Two workers that took one row for theirs would give up each other's leases.
func TestRewoundWorkers(t *testing.T) {
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
	// The first one is slow to notice, for nothing calls for a heartbeat of it, so that the second takes its id.
	deaf, err := pawl.New(pool, pawl.Config{ListenURL: server.URL("nowhere"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	// That it is registered a worker knows a little after others see it: it has worked when it does.
	works := func(client *pawl.Client, config pawl.RunnerConfig) {
		config.Queues, config.NoMaintenance = map[string]pawl.RunnerQueue{config.Name: {}}, true
		start(t, client, mux, config)
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: config.Name})
		pgtest.Wait(t, "the worker "+config.Name+" to work", func() bool { return live(t, pool) == 0 })
	}
	works(deaf, pawl.RunnerConfig{Name: "first", Heartbeat: 2 * time.Second})
	works(client, pawl.RunnerConfig{Name: "second", Heartbeat: 100 * time.Millisecond})
	rewind(t, server, file, url, false)
	pgtest.Wait(t, "both workers to register again, each for itself", func() bool {
		now := names()
		slices.Sort(now)
		return slices.Equal(now, []string{"first", "second"})
	})
}
