package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// sharer is a Go program that runs jobs of a queue until SIGINT. It records each job in the transaction that completes
// it.
func sharer() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		config, err := pgxpool.ParseConfig(os.Getenv("PAWL_DSN"))
		if err != nil {
			return err
		}
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // A pooler may be in between.
		pool, err := pgxpool.NewWithConfig(ctx, config)
		if err != nil {
			return err
		}
		defer pool.Close()
		client, err := pawl.New(pool, pawl.Config{ListenURL: os.Getenv("PAWL_LISTEN_DSN")})
		if err != nil {
			return err
		}
		mux := new(pawl.Mux)
		pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "insert into did (job_id, who) values ($1, 'go')", job.ID); err != nil {
					return err
				}
				return client.With(tx).Complete(ctx, job)
			})
		}, pawl.KindOptions{Kind: "*"})
		return client.Run(ctx, mux, pawl.RunnerConfig{Queues: map[string]pawl.RunnerQueue{"shared": {}}, Max: 2})
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// psqlWorker runs jobs in a psql session: it claims and commits, and then completes the job in the transaction of its
// effects.
const psqlWorker = `
create procedure work_shared() language plpgsql as $$
declare
  job record;
begin
  while not (select enough from share) loop
    select * into job from pawl.claim('shared', 1, '1 minute');
    if found then
      commit;
      insert into did (job_id, who) values (job.id, 'psql');
      if not pawl.complete(job.id, job.epoch) then
        raise exception 'lost the lease of job %', job.id;
      end if;
      commit;
    else
      commit;
      perform pg_sleep(0.005);
    end if;
  end loop;
end $$`

// A Go program, a psql session and pawl consume share one queue, which Go, SQL and the command line fill. Each job runs
// once, and each consumer runs some.
// The consumers share one database, so the test is one function.
func TestSharedQueue(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		dir, _ := localpg.Find("")
		if psql, err = exec.LookPath(filepath.Join(dir, "psql")); err != nil {
			t.Skip("no psql on this machine")
		}
	}
	pgtest.Ensure(migrate)
	url := pgtest.Database(t)
	pool := pgtest.Pool(t, url)
	ctx := t.Context()
	exec1(t, pool, "create table did (job_id bigint not null, who text not null)")
	exec1(t, pool, "create table share (enough boolean not null)")
	exec1(t, pool, "insert into share values (false)")
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	did := filepath.Join(dir, "did")
	programs := map[string]*exec.Cmd{
		"go": self(t, dir, "sharer"),
		"consume": self(t, dir, "pawl", "consume", "shared", "--concurrency", "2", "--",
			"sh", "-c", `echo "$PAWL_JOB_ID" >> "$DID"`),
		"psql": exec.Command(psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", psqlWorker, "-c", "call work_shared()", url),
	}
	output := map[string]*bytes.Buffer{}
	for name, program := range programs {
		output[name] = &bytes.Buffer{}
		program.Env = append(os.Environ(), "PAWL_DSN="+url, "DID="+did)
		if pgtest.Pooled() { // A worker that only polls would get few jobs beside psql.
			program.Env = append(program.Env, "PAWL_LISTEN_DSN="+pgtest.Direct(t, url))
		}
		program.Stdout, program.Stderr = output[name], output[name]
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			program.Process.Kill()
			if t.Failed() {
				program.Wait()
				t.Logf("%s: %s", name, output[name])
			}
		})
	}

	inserted, done := 0, map[string]int{}
	each := func() map[string]int {
		counts := map[string]int{"go": 0, "psql": 0, "consume": 0}
		rows, err := pool.Query(ctx, "select who, count(*)::int from did group by who")
		if err != nil {
			t.Fatal(err)
		}
		var who string
		var n int
		if _, err := pgx.ForEachRow(rows, []any{&who, &n}, func() error { counts[who] = n; return nil }); err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(did)
		counts["consume"] = bytes.Count(text, []byte("\n"))
		return counts
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("of %d jobs: %v", inserted, done)
		}
	})
	pgtest.Wait(t, "each consumer to run ten jobs", func() bool {
		if inserted < 3000 {
			inserted += fill(ctx, t, client, pool, dir, url)
		}
		done = each()
		return done["go"] >= 10 && done["psql"] >= 10 && done["consume"] >= 10
	})
	live := func() int64 {
		n, err := client.Count(ctx, pawl.Filter{
			States: []pawlstate.State{pawlstate.Ready, pawlstate.Running, pawlstate.Scheduled},
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	pgtest.Wait(t, "all jobs to finish", func() bool { return live() == 0 })
	exec1(t, pool, "update share set enough = true")
	for _, name := range []string{"go", "consume"} {
		programs[name].Process.Signal(os.Interrupt)
	}
	for name, program := range programs {
		if err := program.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	text, err := os.ReadFile(did)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range bytes.Fields(text) {
		exec1(t, pool, "insert into did (job_id, who) values ($1::text::bigint, 'consume')", string(id))
	}
	counts := each()
	t.Logf("%d jobs: %v", inserted, counts)
	var jobs, distinct, completed int
	err = pool.QueryRow(ctx, `select (select count(*) from did), (select count(distinct job_id) from did),
		(select count(*) from pawl.archive a where a.state = 'completed' and a.id in (select job_id from did))`).
		Scan(&jobs, &distinct, &completed)
	if err != nil {
		t.Fatal(err)
	}
	if jobs != inserted || distinct != inserted || completed != inserted {
		t.Errorf("%d jobs were inserted; %d ran, %d distinct ones; %d of these are completed in the archive",
			inserted, jobs, distinct, completed)
	}
	if found, err := client.Verify(ctx); err != nil || len(found) > 0 {
		t.Errorf("verify: %v, %v", found, err)
	}
}

// fill inserts jobs with Go, SQL and the command line. It returns their number.
func fill(ctx context.Context, t *testing.T, client *pawl.Client, pool *pgxpool.Pool, dir, url string) int {
	t.Helper()
	specs := make([]pawl.JobSpec, 20)
	for i := range specs {
		specs[i] = pawl.JobSpec{Args: pawl.Raw("from go", []byte(`{"n": 1}`)), Queue: "shared"}
	}
	if _, err := client.InsertMany(ctx, specs); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `select pawl.insert('from sql', '{"n": 1}', '{"queue": "shared"}') from generate_series(1, 20)`)
	insert := self(t, dir, "pawl", "job", "insert", "from the shell", "--queue", "shared", "--from", "-")
	insert.Env = append(os.Environ(), "PAWL_DSN="+url)
	insert.Stdin = bytes.NewReader(bytes.Repeat([]byte("{\"args\": {\"n\": 1}}\n"), 20))
	if output, err := insert.CombinedOutput(); err != nil {
		t.Fatalf("pawl job insert: %v\n%s", err, output)
	}
	return 60
}

// self returns this test binary as one of the commands of TestMain.
func self(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, name)
	if err := os.Symlink(binary, link); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	command := exec.Command(link, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return command
}

func exec1(t *testing.T, pool *pgxpool.Pool, text string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), text, args...); err != nil {
		t.Fatal(err)
	}
}

// A worker with --listen serves its probes and its own figures until it has drained.
func TestConsumeListens(t *testing.T) {
	pgtest.Ensure(migrate)
	t.Parallel()
	url := pgtest.Database(t)
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 2 })
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	hold := filepath.Join(t.TempDir(), "hold")
	r := serving(ctx, t, "consume", "default", "--listen", "127.0.0.1:0", "--dsn", url, "--",
		"sh", "-c", `touch "$0"; while [ -e "$0" ]; do sleep 0.02; done`, hold)
	if status, body := r.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz is %d %q", status, body)
	}
	begin := func() {
		t.Helper()
		if _, err := client.Insert(t.Context(), pawl.Raw("note", []byte("{}"))); err != nil {
			t.Fatal(err)
		}
		pgtest.Wait(t, "the program to run", func() bool { _, err := os.Stat(hold); return err == nil })
	}
	end := func() {
		t.Helper()
		if err := os.Remove(hold); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	end()
	var body string
	pgtest.Wait(t, "/metrics to count the run", func() bool {
		_, body = r.get(t, "/metrics")
		return strings.Contains(body, `pawl_client_run_seconds_count{queue="default"} 1`)
	})
	if strings.Contains(body, "pawl_queue_jobs") {
		t.Error("/metrics of a worker has the figures of the installation")
	}
	begin()
	stop()
	if status, _ := r.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("while it drains /healthz is %d", status)
	}
	end()
	if err := <-r.err; err != nil {
		t.Errorf("after the stop: %v", err)
	}
}
