package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/sql"
)

// A database whose encoding cannot hold what Go calls text is refused before anything is sent, with the remedy.
func TestDatabaseEncoding(t *testing.T) {
	t.Parallel()
	admin := pgtest.Pool(t, pgtest.Direct(t, pgtest.Empty(t)), pgtest.Friendly)
	for _, encoding := range []string{"LATIN1", "SQL_ASCII", "EUC_JP"} {
		t.Run(encoding, func(t *testing.T) {
			name := "encoded_" + strings.ToLower(encoding)
			exec(t, admin, fmt.Sprintf("create database %s encoding '%s' template template0 locale 'C'", name, encoding))
			t.Cleanup(func() {
				_, err := admin.Exec(context.Background(), "drop database "+name+" with (force)")
				must(t, err)
			})
			config := admin.Config()
			config.ConnConfig.Database = name
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			must(t, err)
			defer pool.Close()
			client, err := pawl.New(pool, pawl.Config{})
			must(t, err)
			tx, err := pool.Begin(t.Context())
			must(t, err)
			defer tx.Rollback(context.Background())
			std := stdlib.OpenDBFromPool(pool)
			defer std.Close()
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
			for what, do := range map[string]func() error{
				"Migrate": func() error { return client.Migrate(t.Context()) },
				"Ready":   func() error { return client.Ready(t.Context()) },
				"Run":     func() error { return client.Run(t.Context(), mux, pawl.RunnerConfig{}) },
				"Insert":  func() error { _, err := client.Insert(t.Context(), Note{1}); return err },
				"Doctor":  func() error { _, err := client.Doctor(t.Context()); return err },
				"Verify":  func() error { _, err := client.Verify(t.Context()); return err },
				"With":    func() error { _, err := client.With(tx).Insert(t.Context(), Note{1}); return err },
				"WithSQL": func() error { _, err := client.WithSQL(std).Insert(t.Context(), Note{1}); return err },
			} {
				err := do()
				refusal := "database encoding is " + encoding + "; Pawl needs UTF8"
				for _, want := range []string{"pawl: ", refusal, "create database"} {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %v; want %q", what, err, want)
					}
				}
			}
		})
	}
}

// settingRows are settings of a database, each of which broke something once or might.
var settingRows = map[string]map[string]string{
	"strings":     {"standard_conforming_strings": "off", "backslash_quote": "off"},
	"LATIN1":      {"client_encoding": "LATIN1"},
	"isolation":   {"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on"},
	"repeatable":  {"default_transaction_isolation": "repeatable read"},
	"formats":     {"intervalstyle": "iso_8601", "datestyle": "SQL, DMY", "timezone": "Asia/Kathmandu"},
	"verbose":     {"intervalstyle": "postgres_verbose", "datestyle": "German", "bytea_output": "escape"},
	"floats":      {"extra_float_digits": "-15", "transform_null_equals": "on"},
	"names":       {"search_path": "pawl, nowhere", "quote_all_identifiers": "on"},
	"replica":     {"session_replication_role": "replica", "row_security": "off"},
	"custom plan": {"plan_cache_mode": "force_custom_plan", "constraint_exclusion": "on", "geqo_threshold": "2"},
	"timeouts": {"statement_timeout": "2s", "lock_timeout": "1s", "idle_in_transaction_session_timeout": "2s",
		"idle_session_timeout": "1s", "transaction_timeout": "2s"},
	"everything": pgtest.Hostile,
}

// A database with odd settings runs jobs as any other. TestSettings does once what the other tests do at length;
// PAWL_TEST_HOSTILE=1 runs those under all settings.
func TestSettings(t *testing.T) {
	t.Parallel()
	for name, settings := range settingRows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Empty(t)
			pgtest.Set(t, url, settings)
			direct := pgtest.Pool(t, pgtest.Direct(t, url), pgtest.Friendly)
			log := &logCounter{t: t}
			client, err := pawl.New(pgtest.Pool(t, url), pawl.Config{
				ListenURL: pgtest.Direct(t, url), Logger: slog.New(slog.NewTextHandler(log, nil)),
			})
			must(t, err)
			must(t, client.Migrate(t.Context()))
			workUnderSettings(t, client, direct)
			if n := log.count("level=WARN") + log.count("level=ERROR"); n > 0 {
				t.Errorf("%d warnings were logged", n)
			}
		})
	}
}

// oddText has what encodings, escapes and array literals treat in their own ways.
const oddText = `Grüße 😀 日本 \ ' " {NULL} \u00e9 $1 €`

// A Tale is a job whose text must survive.
type Tale struct{ Text string }

func (Tale) Kind() string { return "tale" }

func workUnderSettings(t *testing.T, client *pawl.Client, direct *pgxpool.Pool) {
	t.Helper()
	ran := make(chan string, 3000)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Tale]) error {
		if job.Args.Text != oddText || job.Channel != "" && job.Channel != oddText {
			return pawl.Dead(fmt.Errorf("its text is %q, its channel %q", job.Args.Text, job.Channel))
		}
		if err := job.Progress(ctx, 50, oddText); err != nil {
			return err
		}
		step, err := pawl.Step(ctx, oddText, func(context.Context) (string, error) { return oddText, nil })
		if err != nil || step != oddText {
			return errors.Join(err, fmt.Errorf("its step is %q", step))
		}
		if job.Attempt == 1 && job.Fingerprint == "retry" {
			return errors.New(oddText)
		}
		ran <- job.Fingerprint
		return nil
	})
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error { ran <- "note"; return nil })
	must(t, client.PutQueue(t.Context(), pawl.Queue{
		Name: "limited", MaxRunning: 1, Backoff: pawl.Backoff{Base: time.Millisecond},
	}))
	stop := start(t, client, mux, pawl.RunnerConfig{PollInterval: 100 * time.Millisecond})

	spec := func(name string) pawl.JobSpec { return pawl.JobSpec{Args: Tale{oddText}, Fingerprint: name} }
	insertSpec := func(name string, client *pawl.Client, change func(*pawl.JobSpec)) pawl.ID {
		t.Helper()
		s := spec(name)
		if change != nil {
			change(&s)
		}
		inserted, err := client.Insert(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return inserted.ID
	}
	var ids []pawl.ID
	add := func(id pawl.ID) { ids = append(ids, id) }
	add(insertSpec("plain", client, nil))
	add(insertSpec("retry", client, func(s *pawl.JobSpec) { s.Queue, s.Channel = "limited", oddText }))
	add(insertSpec("ordered", client, func(s *pawl.JobSpec) { s.Queue, s.Channel, s.Ordered = "o", oddText, true }))
	add(insertSpec("ordered", client, func(s *pawl.JobSpec) { s.Queue, s.Channel, s.Ordered = "o", oddText, true }))
	add(insertSpec("unique", client, func(s *pawl.JobSpec) { s.Unique = pawl.Unique{Key: oddText} }))
	add(insertSpec("delayed", client, func(s *pawl.JobSpec) { s.RunAt = time.Now().Add(50 * time.Millisecond) }))

	tx := begin(t, client.Pool())
	add(insertSpec("in tx", client.With(tx), nil))
	if style := value[string](t, tx, "select current_setting('client_encoding')"); style != sessionEncoding(t, client) {
		t.Errorf("after an insert client_encoding is %s in the caller's transaction", style)
	}
	commit(t, tx)
	std := stdTx(t, client.Pool())
	add(insertSpec("in database/sql", client.WithSQL(std), func(s *pawl.JobSpec) { s.Channel = oddText }))
	must(t, std.Commit())
	db := stdlib.OpenDBFromPool(client.Pool())
	defer db.Close()
	add(insertSpec("on sql.DB", client.WithSQL(db), nil))
	conn, err := client.Pool().Acquire(t.Context())
	must(t, err)
	add(insertSpec("on a connection", client.With(conn), nil))
	conn.Release()

	many := make([]pawl.JobSpec, 2500) // By COPY.
	for i := range many {
		many[i] = spec("many")
	}
	inserted, err := client.InsertMany(t.Context(), many)
	must(t, err)
	add(inserted[2499].ID)
	batch, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: []pawl.JobSpec{spec("of a batch")}})
	must(t, err)
	must(t, client.PutCron(t.Context(), pawl.Cron{Name: oddText, Spec: "@every 1s", Job: spec("cron")}))
	exec(t, direct, `select pawl.insert('tale', $1::jsonb, '{"fingerprint": "sql"}')`, mustJSON(t, Tale{oddText}))

	want := map[string]int{"plain": 1, "retry": 1, "ordered": 2, "unique": 1, "delayed": 1, "in tx": 1,
		"in database/sql": 1, "many": 2500, "of a batch": 1, "cron": 1, "sql": 1,
		"on sql.DB": 1, "on a connection": 1}
	deadline := time.After(90 * time.Second)
	for left := 2513; left > 0; {
		select {
		case name := <-ran:
			if want[name]--; want[name] >= 0 {
				left--
			}
		case <-deadline:
			t.Fatalf("jobs that did not run: %v", want)
		}
	}
	for _, id := range ids {
		job := await(t, client, id, pawlstate.Completed)
		if job.Message != oddText {
			t.Errorf("job %d (%s): its message is %q", id, job.Fingerprint, job.Message)
		}
	}
	must(t, client.DeleteCron(t.Context(), oddText))
	must(t, stop())
	b, err := client.GetBatch(t.Context(), batch)
	must(t, err)
	if b.Completed != 1 {
		t.Errorf("the batch is %+v", b)
	}
	consumeUnderSettings(t, client)
	inspectUnderSettings(t, client)
}

// consumeUnderSettings claims by hand, in each way that a client can run.
func consumeUnderSettings(t *testing.T, client *pawl.Client) {
	t.Helper()
	specs := make([]pawl.JobSpec, 4)
	for i := range specs {
		specs[i] = pawl.JobSpec{Args: Tale{oddText}, Queue: "by hand"}
	}
	_, err := client.InsertMany(t.Context(), specs)
	must(t, err)
	must(t, client.Wait(t.Context(), "by hand"))
	jobs, err := client.Claim(t.Context(), "by hand", 10, time.Minute)
	must(t, err)
	if len(jobs) != 4 {
		t.Fatalf("claimed %d of 4 jobs", len(jobs))
	}
	must(t, client.Checkpoint(t.Context(), jobs[0], pawl.Checkpoint{Value: oddText}))
	must(t, client.Extend(t.Context(), jobs, time.Hour))
	must(t, client.Complete(t.Context(), jobs[0]))
	must(t, client.Fail(t.Context(), jobs[1], errors.New(oddText)))
	must(t, client.Release(t.Context(), jobs[2:3], 0))
	tx := begin(t, client.Pool())
	must(t, client.With(tx).Complete(t.Context(), jobs[3]))
	commit(t, tx)
	n, err := client.Cancel(t.Context(), pawl.Filter{Queue: "by hand"})
	must(t, err)
	if n != 2 {
		t.Errorf("cancelled %d of 2 jobs", n)
	}
	listed, err := client.List(t.Context(), pawl.Filter{Queue: "by hand"})
	must(t, err)
	for _, job := range listed {
		var tale Tale
		if err := json.Unmarshal(job.Args, &tale); err != nil || tale.Text != oddText {
			t.Errorf("listed %s", job.Args)
		}
	}
}

// inspectUnderSettings finds no fault, from the pool and in a transaction, and Doctor does not call the settings
// fatal.
func inspectUnderSettings(t *testing.T, client *pawl.Client) {
	t.Helper()
	_, err := client.Stats(t.Context())
	must(t, err)
	found, err := client.Verify(t.Context())
	must(t, err)
	tx := begin(t, client.Pool())
	var style string
	must(t, tx.QueryRow(t.Context(), "show intervalstyle", pgx.QueryExecModeExec).Scan(&style))
	again, err := client.With(tx).Verify(t.Context())
	must(t, err)
	var after string
	must(t, tx.QueryRow(t.Context(), "show intervalstyle", pgx.QueryExecModeExec).Scan(&after))
	if style != after {
		t.Errorf("Verify left intervalstyle %s in a transaction that had %s", after, style)
	}
	commit(t, tx)
	repaired, err := client.Repair(t.Context())
	must(t, err)
	for _, f := range append(append(found, again...), repaired...) {
		t.Errorf("a false finding: %s: %s", f.Check, f.Problem)
	}
	found, err = client.Doctor(t.Context())
	must(t, err)
	for _, f := range found {
		if f.Fatal && f.Check != "durability" || f.Check == "unseen" || f.Check == "schema" {
			t.Errorf("doctor: %s: %s", f.Check, f.Problem)
		}
	}
	must(t, client.Migrate(t.Context())) // Again: it replaces the functions.
}

func sessionEncoding(t *testing.T, client *pawl.Client) (encoding string) {
	t.Helper()
	must(t, client.Pool().QueryRow(t.Context(), "show client_encoding", pgx.QueryExecModeExec).Scan(&encoding))
	return encoding
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

// With array_nulls off, an array in text form has no nulls. pgx sends arrays in binary form; database/sql does not.
func TestArrayNulls(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pgtest.Set(t, url, map[string]string{"array_nulls": "off"})
	client, pool := connect(t, url)
	insert(t, client, Note{1})
	_, err := client.WithSQL(stdTx(t, pool)).Insert(t.Context(), Note{1})
	if err == nil || !strings.Contains(err.Error(), "the setting array_nulls is off") {
		t.Errorf("the error is %v", err)
	}
}

// In a caller's serializable transaction, a conflict is an error that says to retry the transaction.
func TestSerializableCaller(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	job := claim(t, client, 1)[0]
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.Serializable})
	must(t, err)
	defer tx.Rollback(context.Background())
	exec(t, tx, "select 1 from pawl.queue")
	must(t, job.Progress(t.Context(), 10, "meanwhile"))
	err = client.With(tx).Checkpoint(t.Context(), job, pawl.Checkpoint{Value: 1})
	if pg.SQLState(err) != "40001" || !strings.Contains(err.Error(), "run the whole transaction again") {
		t.Errorf("the error is %v", err)
	}
	if level := value[string](t, begin(t, pool), "show transaction_isolation"); level != "read committed" {
		t.Errorf("another transaction is %s", level)
	}
}

// A transaction above read committed does not see that the channel's last job has ended since its snapshot. Its ordered
// jobs must run nevertheless, and in order.
func TestOrderedJobsOfAnOldSnapshot(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		client, pool := install(t)
		reserved := ordered("c", 1)
		reserved.Reserve = time.Hour
		first, err := client.Insert(t.Context(), ordered("c", 0))
		must(t, err)
		held, err := client.Insert(t.Context(), reserved)
		must(t, err)
		tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
		must(t, err)
		exec(t, tx, "select 1 from pawl.queue") // It takes the snapshot.
		must(t, client.Complete(t.Context(), claim(t, client, 1)))
		runFollowups(t, pool)
		must(t, client.With(tx).CommitReserved(t.Context(), held.ID))
		for n := range 3 {
			_, err = client.With(tx).Insert(t.Context(), ordered("c", 2+n))
			must(t, err)
		}
		commit(t, tx)
		runFollowups(t, pool)
		for n := range 4 {
			jobs := claim(t, client, 5)
			if len(jobs) != 1 || note(t, jobs[0]).N != 1+n {
				t.Fatalf("%s: after job %d, %d jobs could be claimed instead of the one that is next", level, first.ID, len(jobs))
			}
			must(t, client.Complete(t.Context(), jobs))
			runFollowups(t, pool)
		}
	}
}

// Values that SQL writes as text and reads again keep their meaning. IST is India's time when it is written, and
// Israel's when it is read. With extra_float_digits -15, the text of 15 is 2e+01.
func TestRoundTripsOfText(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pgtest.Set(t, url, map[string]string{
		"datestyle": "SQL, DMY", "timezone": "Asia/Kolkata", "extra_float_digits": "-15",
	})
	client, err := pawl.New(pgtest.Pool(t, url), pawl.Config{})
	must(t, err)
	must(t, client.PutQueue(t.Context(), pawl.Queue{
		Name: "default", ChannelMaxRunning: 15, RetainCompleted: time.Hour,
	}))
	specs := notes(20)
	for i := range specs {
		specs[i].Channel = "c"
	}
	_, err = client.InsertMany(t.Context(), specs)
	must(t, err)
	jobs := claim(t, client, 20)
	if len(jobs) != 15 {
		t.Errorf("claimed %d jobs of a channel that may run 15", len(jobs))
	}
	must(t, client.Complete(t.Context(), jobs))
	kept, err := client.List(t.Context(), pawl.Filter{States: []pawlstate.State{pawlstate.Completed}})
	must(t, err)
	if len(kept) != len(jobs) {
		t.Errorf("of %d completed jobs, kept for an hour, %d are listed", len(jobs), len(kept))
	}
}

// With standard_conforming_strings off, a backslash in a literal means something else.
func TestNoBackslashInLiterals(t *testing.T) {
	t.Parallel()
	comments, literals := regexp.MustCompile(`--.*`), regexp.MustCompile(`(?i)([eu]?&?)'((?:[^']|'')*)'`)
	must(t, fs.WalkDir(sql.Files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := sql.Files.ReadFile(path)
		must(t, err)
		for _, found := range literals.FindAllStringSubmatch(comments.ReplaceAllString(string(text), ""), -1) {
			if prefix := strings.ToLower(found[1]); prefix != "e" && strings.Contains(found[2], `\`) || prefix == "u&" {
				t.Errorf("%s: %s depends on standard_conforming_strings: use E'', chr or [...]", path, found[0])
			}
		}
		return nil
	}))
}

// With thresholds of nothing, compiling the plans took two seconds a job.
func TestJIT(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pgtest.Set(t, url, map[string]string{
		"jit": "on", "jit_above_cost": "0", "jit_inline_above_cost": "0", "jit_optimize_above_cost": "0",
	})
	client, _ := connect(t, url)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{Max: 1})
	began := time.Now()
	for i := range 20 {
		await(t, client, insert(t, client, Note{i}), pawlstate.Completed)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("20 jobs, one after the other, took %v", took)
	}
}

// Names that are quoted in SQL, that hold what looks like a parameter or a dollar quote, or that are as long as names
// can be.
func TestSchemaNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a$b$$c", "a$1b", "_$state$_$body$", "Select", strings.Repeat("Long", 15) + "End"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := connect(t, pgtest.Empty(t), withListen, func(c *pawl.Config) { c.Schema = name })
			must(t, client.Migrate(t.Context()))
			must(t, client.Migrate(t.Context()))
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
			start(t, client, mux, pawl.RunnerConfig{PollInterval: hour})
			awaitSleepers(t, pool, 1)
			await(t, client, insert(t, client, Note{1}), pawlstate.Completed) // It was woken.
			tx := stdTx(t, pool)
			inserted, err := client.WithSQL(tx).Insert(t.Context(), Note{2})
			must(t, err)
			must(t, tx.Commit())
			job, err := client.Await(t.Context(), inserted.ID)
			must(t, err)
			if job.State != pawlstate.Completed {
				t.Errorf("the job is %s", job.State)
			}
			_, err = client.InsertMany(t.Context(), notes(2500))
			must(t, err)
		})
	}
	for _, name := range []string{"pg_x", "pg_catalog", "information_schema"} {
		_, err := pawl.New(nil, pawl.Config{Schema: name})
		if err == nil || !strings.Contains(err.Error(), "PostgreSQL keeps such names for itself") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
