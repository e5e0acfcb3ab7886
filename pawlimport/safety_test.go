package pawlimport_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlimport"
)

// apart is a source in one database and Pawl in another.
func apart(t testing.TB, source string) (*pgxpool.Pool, *pawl.Client, *pgxpool.Pool) {
	t.Helper()
	pool := load(t, pgtest.Empty(t), source)
	url := pgtest.Database(t)
	return pool, install(t, url), pgtest.Pool(t, url)
}

// more puts n jobs into River's table.
func more(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	exec(t, pool, `insert into river_job (args, kind, max_attempts, queue, created_at, scheduled_at)
		select json_build_object('n', n)::jsonb, 'more', 25, 'more', now() - interval '1 hour', now() - interval '1 hour' from generate_series(1, $1) n`, n)
}

// prints are of every table of a database: what they say when nothing was written.
func prints(t testing.TB, pool *pgxpool.Pool) map[string]string {
	t.Helper()
	rows, err := pool.Query(
		t.Context(),
		`select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p') and n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'`,
	)
	must(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	said := map[string]string{}
	for _, table := range tables {
		said[table] = value[string](
			t,
			pool,
			"select coalesce(md5(string_agg(xmin || ' ' || xmax || ' ' || t::text, ' ' order by ctid)), '') from "+table+" t",
		)
	}
	return said
}

// A dry run says what an import says, and writes nothing.
func TestDryRun(t *testing.T) {
	for source, do := range importers {
		for _, where := range []string{"together", "apart"} {
			t.Run(source+" "+where, func(t *testing.T) {
				t.Parallel()
				var pool *pgxpool.Pool
				var client *pawl.Client
				var target *pgxpool.Pool
				if where == "apart" {
					pool, client, target = apart(t, source)
				} else {
					pool, client = together(t, source)
					target = pool
				}
				// Keys that are another's.
				key := map[string]string{"river": "river:6f3e9a9c8e3529a6e20235ebd3c164d8c66b44c66781306f5e8d3aeb4565008e", "graphile-worker": "once"}[source]
				if source == "river" {
					key = "river:" + value[string](t, pool, "select encode(unique_key, 'hex') from river_job where id = 9")
				}
				spec := pawl.JobSpec{Args: pawl.Raw("mine", nil), Unique: pawl.Unique{Key: key, Global: true}}
				if source == "pg-boss" {
					spec.Queue, spec.Unique = "exclusive", pawl.Unique{Key: "a"}
				}
				_, err := client.Insert(t.Context(), spec)
				must(t, err)
				options := pawlimport.Options{Schedules: true, RenameKinds: map[string]string{"email": "mail"}, Batch: 3}
				before, targetBefore := prints(t, pool), prints(t, target)
				options.DryRun = true
				dry, err := do(t.Context(), pool, client, options)
				must(t, err)
				same(t, "the source", prints(t, pool), before)
				same(t, "the target", prints(t, target), targetBefore)
				options.DryRun = false
				real, err := do(t.Context(), pool, client, options)
				must(t, err)
				noted(t, real.Refused, "another job's", 1)
				if real.DryRun || !dry.DryRun {
					t.Error("which is dry?")
				}
				if where == "apart" {
					// The refused one is in the table in between.
					same(t, "refused", fmt.Sprint(real.Refused), fmt.Sprint(dry.Refused))
					dry.Left, real.Left = nil, nil
				}
				dry.DryRun = false
				same(t, "the report", real.String(), dry.String())
				if !strings.Contains(real.String(), "mail ") {
					t.Errorf("nothing was renamed:\n%s", real)
				}
			})
		}
	}
}

func TestChoice(t *testing.T) {
	t.Parallel()
	pool, client := together(t, "river")
	report, err := pawlimport.River(
		t.Context(),
		pool,
		client,
		pawlimport.Options{Queues: []string{"mail"}, RenameQueues: map[string]string{"mail": "post"}},
	)
	must(t, err)
	same(t, "moved", report.Moved, []pawlimport.Moved{{Queue: "post", Kind: "email", Jobs: 2}})
	same(t, "left", len(report.Left), 0)
	report, err = pawlimport.River(
		t.Context(),
		pool,
		client,
		pawlimport.Options{
			Kinds:       []string{"report"},
			RenameKinds: map[string]string{"report": "account"},
			Limit:       3,
			Batch:       2,
		},
	)
	must(t, err)
	same(t, "moved", report.Moved, []pawlimport.Moved{{Queue: "default", Kind: "account", Jobs: 3}})
	same(t, "left", left(report), map[string]int64{"scheduled": 1})
	report, err = pawlimport.River(t.Context(), pool, client, pawlimport.Options{Queues: []string{"nobody's"}})
	must(t, err)
	same(t, "moved", report.Imported, int64(0))

	pool, client = together(t, "graphile-worker")
	report, err = pawlimport.GraphileWorker(
		t.Context(),
		pool,
		client,
		pawlimport.Options{Queues: []string{"serial"}, Backoff: pawl.Backoff{Base: 1}},
	)
	must(t, err)
	same(t, "moved", report.Imported, int64(4))
	report, err = pawlimport.GraphileWorker(
		t.Context(),
		pool,
		client,
		pawlimport.Options{Queues: []string{"default"}, Kinds: []string{"email", "array"}},
	)
	must(t, err)
	same(t, "moved", report.Imported, int64(6))
}

// What runs is taken when told so, with its attempt used; a serial queue whose worker is dead, too.
func TestRunning(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]struct {
		imported int64
		attempt  int
	}{"river": {13, 1}, "pg-boss": {24, 1}, "graphile-worker": {18, 1}} {
		pool, client := together(t, source)
		report, err := importers[source](t.Context(), pool, client, pawlimport.Options{Running: true})
		must(t, err)
		same(t, source, report.Imported, want.imported)
		jobs, err := client.List(
			t.Context(),
			pawl.Filter{Args: []byte(map[string]string{"graphile-worker": `{"n": 2}`}[source])},
		)
		if source != "graphile-worker" {
			jobs, err = client.List(t.Context(), pawl.Filter{Args: []byte(`{"what": "hang"}`)})
		}
		must(t, err)
		i := slices.IndexFunc(jobs, func(j *pawl.JobInfo) bool { return j.Kind == "hang" || j.Kind == "work" })
		if i < 0 || jobs[i].Attempt != want.attempt {
			t.Errorf("%s: of what ran there are %+v", source, jobs)
		}
	}
}

// What was to be cancelled while it ran does not run again.
func TestRunningAndCancelled(t *testing.T) {
	t.Parallel()
	pool, client := together(t, "river")
	exec(
		t,
		pool,
		`update river_job set metadata = '{"cancel_attempted_at": "2026-01-01T00:00:00Z"}' where state = 'running'`,
	)
	report, err := pawlimport.River(t.Context(), pool, client, pawlimport.Options{Running: true})
	must(t, err)
	same(t, "imported", report.Imported, int64(12))
	noted(t, report.Refused, "cancelled", 1, "17")
}

// What somebody has locked, and what Pawl does not take, stays; the rest goes.
func TestWhatCannotGoStays(t *testing.T) {
	t.Parallel()
	pool, client := together(t, "graphile-worker")
	exec(t, pool, `select graphile_worker.add_job('big', '{"n": 1e200000}')`)
	exec(t, pool, `select graphile_worker.add_job('never', '{}', run_at => 'infinity')`)
	exec(t, pool, `select graphile_worker.add_job(repeat('n', 100), json_build_object('text', repeat('x', 2000000)))`)
	exec(t, pool, "select graphile_worker.add_job('key', '{}', job_key => repeat('k', 300))")
	tx, err := pool.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(context.Background())
	_, err = tx.Exec(t.Context(), "select from graphile_worker._private_jobs where id = 6 for update")
	must(t, err)
	_, err = tx.Exec(t.Context(), "select from graphile_worker._private_job_queues where queue_name = 'other' for update")
	must(t, err)
	report, err := pawlimport.GraphileWorker(t.Context(), pool, client, pawlimport.Options{})
	must(t, err)
	same(t, "imported", report.Imported, int64(13))
	same(t, "left", left(report)["available"], int64(1+2+3)) // The zero byte; the locked; the big, the long, the key.
	same(t, "left", left(report)["scheduled"], int64(1))
	noted(t, report.Refused, "out of the range", 1)
	noted(t, report.Refused, "infinity", 1)
	noted(t, report.Refused, "bytes of JSON", 1)
	noted(t, report.Refused, "Key of 300 bytes", 1)
	must(t, tx.Rollback(t.Context()))
	report, err = pawlimport.GraphileWorker(t.Context(), pool, client, pawlimport.Options{})
	must(t, err)
	same(t, "imported then", report.Imported, int64(2))
}

// An import that is ended anywhere goes on where it was, and no job is lost or twice.
func TestEndedAndBegunAgain(t *testing.T) {
	for _, where := range []string{"together", "apart"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			var pool *pgxpool.Pool
			var client *pawl.Client
			if where == "apart" {
				pool, client, _ = apart(t, "river")
			} else {
				pool, client = together(t, "river")
			}
			more(t, pool, 500)
			tries := 0
			for done := false; !done; {
				if tries++; tries > 100 {
					t.Fatal("no end")
				}
				ctx, cancel := context.WithCancel(t.Context())
				_, err := pawlimport.River(ctx, pool, client, pawlimport.Options{Batch: 50, Progress: func(n int64) {
					if n >= 100 {
						cancel()
					}
				}})
				cancel()
				if done = err == nil; err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			if tries < 3 {
				t.Errorf("done after %d tries", tries)
			}
			same(t, "imported", len(imported(t, client)), 512)
			same(t, "left", value[int](t, pool, "select count(*) from river_job where kind = 'more'"), 0)
		})
	}
}

// fault makes a table refuse something.
func fault(t testing.TB, pool *pgxpool.Pool, table, event string) (mend func()) {
	t.Helper()
	exec(
		t,
		pool,
		"create or replace function public.fault() returns trigger language plpgsql as $$ begin raise 'no more' using errcode = '57P01'; end $$",
	)
	exec(t, pool, "create trigger fault before "+event+" on "+table+" for each statement execute function public.fault()")
	return func() { t.Helper(); exec(t, pool, "drop trigger fault on "+table) }
}

// Between two databases a job is in one of three places whichever step fails, and then arrives once.
func TestTwoDatabasesAndEachStepFailing(t *testing.T) {
	for step, table := range map[string][2]string{
		"into the outbox": {"source", "river_job"}, "into Pawl": {"target", "pawl.job"}, "the mark": {"target", "pawl_import_mark"}, "out of the outbox": {"source", "pawl_import"},
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			pool, client, target := apart(t, "river")
			_, err := pawlimport.River(
				t.Context(),
				pool,
				client,
				pawlimport.Options{Queues: []string{"nobody's"}},
			) // Makes the tables.
			must(t, err)
			event, where := "delete", pool
			if table[0] == "target" {
				event, where = "insert", target
			}
			mend := fault(t, where, table[1], event)
			_, err = pawlimport.River(t.Context(), pool, client, pawlimport.Options{Batch: 5})
			if err == nil || !strings.Contains(err.Error(), "no more") {
				t.Fatalf("it did not fail: %v", err)
			}
			places := func() map[string]int {
				return map[string]int{
					"source": value[int](
						t,
						pool,
						"select count(*) from river_job where state in ('available', 'scheduled', 'retryable')",
					),
					"outbox": value[int](t, pool, "select count(*) from pawl_import"),
					"pawl":   value[int](t, target, "select count(*) from pawl.job"),
				}
			}
			want := map[string]map[string]int{
				"into the outbox":   {"source": 12, "outbox": 0, "pawl": 0},
				"into Pawl":         {"source": 7, "outbox": 5, "pawl": 0},
				"the mark":          {"source": 7, "outbox": 5, "pawl": 0},
				"out of the outbox": {"source": 7, "outbox": 5, "pawl": 5},
			}[step]
			same(t, "places", places(), want)
			dry, err := pawlimport.River(t.Context(), pool, client, pawlimport.Options{DryRun: true})
			must(t, err)
			if step != "out of the outbox" { // A dry run does not look at marks.
				same(t, "a dry run then", dry.Imported, int64(12))
			}
			mend()
			report, err := pawlimport.River(t.Context(), pool, client, pawlimport.Options{Batch: 5})
			must(t, err)
			same(t, "imported then", int(report.Imported), 12-want["pawl"])
			same(t, "places", places(), map[string]int{"source": 0, "outbox": 0, "pawl": 12})
			same(t, "marks", value[int](t, target, "select count(*) from pawl_import_mark"), 0)
			same(t, "jobs", len(imported(t, client)), 12)
		})
	}
}

// A job that is in the outbox and whose key is taken is never lost: it goes when the key is free.
func TestTwoDatabasesAndATakenKey(t *testing.T) {
	t.Parallel()
	pool, client, _ := apart(t, "graphile-worker")
	result, err := client.Insert(
		t.Context(),
		pawl.JobSpec{Args: pawl.Raw("mine", nil), Unique: pawl.Unique{Key: "once", Global: true}},
	)
	must(t, err)
	for range 2 {
		report, err := pawlimport.GraphileWorker(t.Context(), pool, client, pawlimport.Options{Batch: 4})
		must(t, err)
		noted(t, report.Refused, "another job's", 1, "10")
		same(t, "in between", value[string](t, pool, "select string_agg(job_id, ',') from graphile_worker.pawl_import"), "10")
	}
	_, err = client.Cancel(t.Context(), result.ID)
	must(t, err)
	report, err := pawlimport.GraphileWorker(t.Context(), pool, client, pawlimport.Options{})
	must(t, err)
	same(t, "imported", report.Imported, int64(1))
	same(t, "args", string(imported(t, client)["10"].Args), `{"to": "dedupe@example.com"}`)
}

// Two imports, workers that take jobs as River's do, and producers, all at once: each job is run there or moved, once.
func TestBesideWorkersAndAnotherImport(t *testing.T) {
	for _, where := range []string{"together", "apart"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			var pool *pgxpool.Pool
			var client *pawl.Client
			if where == "apart" {
				pool, client, _ = apart(t, "river")
			} else {
				pool, client = together(t, "river")
			}
			const n = 3000
			more(t, pool, n)
			var worked sync.Map
			var runs atomic.Int64
			var group sync.WaitGroup
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			begun := make(chan struct{})
			for range 2 {
				group.Go(func() {
					<-begun
					for ctx.Err() == nil {
						rows, err := pool.Query(t.Context(), `with taken as (
								select id from river_job where state = 'available' and queue = 'more' order by priority, scheduled_at, id limit 20 for update skip locked)
							update river_job j set state = 'completed', attempt = attempt + 1, finalized_at = now() from taken where j.id = taken.id returning j.id::text`)
						if err != nil {
							t.Error(err)
							return
						}
						ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
						if err != nil {
							t.Error(err)
							return
						}
						for _, id := range ids {
							if _, twice := worked.LoadOrStore(id, true); twice {
								t.Errorf("%s was worked twice", id)
							}
							runs.Add(1)
						}
					}
				})
			}
			var moved atomic.Int64
			var imports sync.WaitGroup
			for range 2 {
				imports.Go(func() {
					report, err := pawlimport.River(
						t.Context(),
						pool,
						client,
						pawlimport.Options{Batch: 100, Queues: []string{"more"}},
					)
					if err != nil {
						t.Error(err)
					}
					moved.Add(report.Imported)
				})
			}
			// The workers would be done before the first batch is.
			pgtest.Wait(t, "the first jobs to be moved", func() bool {
				jobs, err := client.List(t.Context(), pawl.Filter{Limit: 1})
				return err == nil && len(jobs) > 0
			})
			close(begun)
			imports.Wait()
			stop()
			group.Wait()
			report, err := pawlimport.River(t.Context(), pool, client, pawlimport.Options{Queues: []string{"more"}})
			must(t, err)
			moved.Add(report.Imported)
			there := imported(t, client)
			for id := range there {
				if _, both := worked.Load(id); both {
					t.Errorf("%s is in both", id)
				}
			}
			if int64(len(there)) != moved.Load() || moved.Load()+runs.Load() != n {
				t.Errorf("%d moved, of which %d are there, and %d worked; want %d in all", moved.Load(), len(there), runs.Load(), n)
			}
		})
	}
}

// Versions that are not known, and databases that are not what they should be, are errors that say so.
func TestWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	bumps := map[string][2]string{
		"river": {
			"update river_migration set version = version + 100",
			"version 108; supported are versions 6 to 8",
		},
		"pg-boss": {"update pgboss.version set version = 44", "version 44; supported are versions 34 to 43"},
		"graphile-worker": {
			"insert into graphile_worker.migrations (id) values (21)",
			"version 21; supported are migrations 16 to 20",
		},
	}
	for source, bump := range bumps {
		pool, client := together(t, source)
		exec(t, pool, bump[0])
		_, err := importers[source](t.Context(), pool, client, pawlimport.Options{})
		if err == nil || !strings.Contains(err.Error(), bump[1]) || !strings.Contains(err.Error(), source) {
			t.Errorf("%s: %v", source, err)
		}
		// Another source's database, and a schema that is not there.
		for other := range maps.Keys(bumps) {
			if _, err := importers[other](t.Context(), pool, client, pawlimport.Options{}); other != source &&
				(err == nil || !strings.Contains(err.Error(), "there is no table")) {
				t.Errorf("%s from that of %s: %v", other, source, err)
			}
		}
		if _, err := importers[source](t.Context(), pool, client, pawlimport.Options{Schema: `no "such`}); err == nil ||
			!strings.Contains(err.Error(), "there is no table") {
			t.Errorf("%s: %v", source, err)
		}
	}
	pool := load(t, pgtest.Empty(t), "river")
	client, err := pawl.New(pool, pawl.Config{})
	must(t, err)
	if _, err := pawlimport.River(t.Context(), pool, client, pawlimport.Options{}); err == nil ||
		!strings.Contains(err.Error(), "not installed") {
		t.Errorf("without Pawl: %v", err)
	}
	exec(t, pool, "drop table river_migration")
	if _, err := pawlimport.River(t.Context(), pool, client, pawlimport.Options{}); err == nil ||
		!strings.Contains(err.Error(), "cannot be told") {
		t.Errorf("without migrations: %v", err)
	}
}

// Former versions have the same columns where it matters; a schema of another name is as good.
func TestFormerVersionsAndOtherSchemas(t *testing.T) {
	t.Parallel()
	for source, changes := range map[string][]string{
		"river": {"delete from river_migration where version > 6", "create schema \"Jobs\"", "alter table river_job set schema \"Jobs\"", "alter table river_migration set schema \"Jobs\"",
			"alter table river_queue set schema \"Jobs\""},
		"pg-boss": {"update pgboss.version set version = 34", "alter table pgboss.job drop column source_output, drop column source_root_id", "alter table pgboss.schedule drop column kind, drop column last_job_id",
			"alter schema pgboss rename to \"Jobs\""},
		"graphile-worker": {"delete from graphile_worker.migrations where id > 16", "alter schema graphile_worker rename to \"Jobs\""},
	} {
		pool, client := together(t, source)
		for _, change := range changes {
			exec(t, pool, change)
		}
		report, err := importers[source](t.Context(), pool, client, pawlimport.Options{Schema: "Jobs", Schedules: true})
		must(t, err)
		same(t, source, report.Imported, map[string]int64{"river": 12, "pg-boss": 23, "graphile-worker": 15}[source])
	}
}
