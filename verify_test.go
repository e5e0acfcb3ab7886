package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// verified are the checks that found something.
func verified(t testing.TB, client *pawl.Client) []string {
	t.Helper()
	found, err := client.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return checksOf(found)
}

func checksOf(found []pawl.Finding) (checks []string) {
	for _, f := range found {
		checks = append(checks, f.Check)
	}
	slices.Sort(checks)
	return slices.Compact(checks)
}

// repair must mend all it finds, and find those checks.
func repair(t testing.TB, client *pawl.Client, checks ...string) {
	t.Helper()
	found, err := client.Repair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if !f.Repaired {
			t.Errorf("not repaired: %+v", f)
		}
		if f.Problem == "" || f.Remedy == "" {
			t.Errorf("a finding lacks its problem or remedy: %+v", f)
		}
	}
	slices.Sort(checks)
	if got := checksOf(found); !slices.Equal(got, checks) {
		t.Errorf("repair found %q, want %q", got, checks)
	}
	if got := verified(t, client); len(got) > 0 {
		t.Errorf("after the repair there is still %q", got)
	}
}

// runs runs all jobs to their end, and says how often each note was run.
func runs(t testing.TB, client *pawl.Client, pool *pgxpool.Pool) map[int]int {
	t.Helper()
	var mu sync.Mutex
	counts := map[int]int{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		counts[job.Args.N]++
		return nil
	})
	const rest = "select (select count(*) from pawl.job) + (select count(*) from pawl.followup)"
	if value[int](t, pool, rest) == 0 {
		return counts
	}
	stop := start(t, client, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all jobs to end, and what follows", func() bool { return value[int](t, pool, rest) == 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	return counts
}

// faulty is a test of one fault.
type faulty struct {
	testing.TB
	client *pawl.Client
	pool   *pgxpool.Pool
	runs   []int  // The notes that run after the repair, once each.
	after  func() // What follows the repair.
}

func (f *faulty) exec(sql string, args ...any) {
	f.Helper()
	exec(f, f.pool, sql, args...)
}

// one inserts a job that is to run after the repair.
func (f *faulty) one(n int, spec pawl.JobSpec) pawl.ID {
	f.Helper()
	spec.Args = Note{n}
	f.runs = append(f.runs, n)
	return insert(f, f.client, spec)
}

// gone inserts a job and lets it vanish.
func (f *faulty) gone(n int, spec pawl.JobSpec) pawl.ID {
	f.Helper()
	spec.Args = Note{n}
	id := insert(f, f.client, spec)
	f.exec("delete from pawl.ready where job_id = $1", id)
	f.exec("delete from pawl.job where id = $1", id)
	return id
}

// ticket puts in another ticket for a job.
func (f *faulty) ticket(id pawl.ID, pos string) {
	f.Helper()
	f.exec(`insert into pawl.ready (pos, job_id, epoch, priority, queue, channel) select `+pos+`, id, epoch, priority, queue, channel from pawl.job where id = $1`, id)
}

// lost is an answer for jobs somebody else has by now.
func (f *faulty) lost(held pawl.Jobs) {
	f.Helper()
	if err := f.client.Complete(f.Context(), held); !errors.Is(err, pawl.ErrLeaseLost) {
		f.Errorf("who held the job before the repair is told %v", err)
	}
}

// Each fault is made by hand, found under its name with the job's id, and mended; after that every job runs exactly once.
func TestVerifyAndRepair(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		checks []string
		seed   func(*faulty) (about any) // What the first check must name.
	}{
		"ready ticket gone": {[]string{"ticket-missing"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			f.exec("delete from pawl.ready where job_id = $1", id)
			return id
		}},
		"scheduled ticket gone": {[]string{"ticket-missing"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{Delay: hour})
			f.exec("delete from pawl.scheduled where job_id = $1", id)
			f.after = func() { await(f, f.client, id, pawlstate.Scheduled) }
			return id
		}},
		"blocked ticket gone": {[]string{"ticket-missing"}, func(f *faulty) any {
			f.one(1, ordered("c", 1))
			id := f.one(2, ordered("c", 2))
			f.exec("delete from pawl.blocked where job_id = $1", id)
			f.after = func() { await(f, f.client, id, pawlstate.Waiting) }
			return id
		}},
		"tickets of thousands gone": {[]string{"ticket-missing"}, func(f *faulty) any {
			for n := range 2500 {
				f.runs = append(f.runs, n)
			}
			if _, err := f.client.InsertMany(f.Context(), notes(2500)); err != nil {
				f.Fatal(err)
			}
			f.exec("delete from pawl.ready")
			return "2500 live jobs"
		}},
		"ticket of another epoch": {[]string{"ticket-missing", "ticket-stray"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			f.exec("update pawl.ready set epoch = epoch - 1 where job_id = $1", id)
			return id
		}},
		"lease gone while its job runs": {[]string{"ticket-missing"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			held := claim(f, f.client, 1)
			f.exec("delete from pawl.lease")
			f.after = func() { f.lost(held) }
			return id
		}},
		"ready and scheduled": {[]string{"ticket-twice"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			f.exec("insert into pawl.scheduled (run_at, job_id, epoch, queue) select now(), job_id, epoch, queue from pawl.ready where job_id = $1", id)
			return id
		}},
		"ready twice": {[]string{"ticket-twice"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			f.ticket(id, "nextval('pawl.pos')")
			return id
		}},
		"ready and running": {[]string{"ticket-twice"}, func(f *faulty) any {
			id := insert(f, f.client, Note{1})
			held := claim(f, f.client, 1)
			f.ticket(id, "id")
			f.after = func() { // Who has it keeps it.
				if err := f.client.Complete(f.Context(), held); err != nil {
					f.Errorf("who holds the job is told %v", err)
				}
			}
			return id
		}},
		"two leases": {[]string{"ticket-twice"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			held := claim(f, f.client, 1)
			f.exec("insert into pawl.lease (id, expires_at, jobs, epochs) select gen_random_uuid(), now() + interval '1 hour', jobs, epochs from pawl.lease")
			f.after = func() { f.lost(held) }
			return id
		}},
		"ticket in another place": {[]string{"ticket-misplaced"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			f.exec("update pawl.ready set pos = nextval('pawl.pos') where job_id = $1", id)
			return id
		}},
		"ticket of another time": {[]string{"ticket-misplaced"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{Delay: hour})
			f.exec("update pawl.job set run_at = clock_timestamp() where id = $1", id)
			return id
		}},
		"tickets of no job": {[]string{"ticket-stray"}, func(f *faulty) any {
			id := insert(f, f.client, Note{1})
			insert(f, f.client, pawl.JobSpec{Args: Note{2}, Delay: hour})
			insert(f, f.client, pawl.JobSpec{Args: Note{3}, Reserve: hour})
			f.exec("delete from pawl.job")
			return id
		}},
		"blocked for nothing": {[]string{"ticket-blocked"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{Reserve: hour})
			f.exec("update pawl.blocked set expires_at = null")
			return id
		}},
		"parent gone": {[]string{"dependency-stray"}, func(f *faulty) any {
			id := insert(f, f.client, Note{1})
			child := insert(f, f.client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{id}})
			f.one(3, pawl.JobSpec{AfterAny: []pawl.ID{id}})
			f.exec("delete from pawl.ready where job_id = $1", id)
			f.exec("delete from pawl.job where id = $1", id)
			f.after = func() { await(f, f.client, child, pawlstate.Cancelled) }
			return id
		}},
		"dead parent gone that a child is held for": {[]string{"dependency-stray"}, func(f *faulty) any {
			id := insert(f, f.client, Note{1})
			child := insert(f, f.client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{id}, KeepWaiting: true})
			if err := f.client.Fail(f.Context(), claim(f, f.client, 1), pawl.Dead(errors.New("no"))); err != nil {
				f.Fatal(err)
			}
			if got := verified(f, f.client); len(got) > 0 {
				f.Errorf("found %q, and the child is right to wait", got)
			}
			f.exec("delete from pawl.dead")
			f.after = func() { await(f, f.client, child, pawlstate.Cancelled) }
			return id
		}},
		"head of a channel gone": {[]string{"order-stray"}, func(f *faulty) any {
			id := f.gone(1, ordered("c", 1))
			f.one(2, ordered("c", 2))
			return id
		}},
		"turn of a channel's head gone": {[]string{"order-missing", "ticket-blocked"}, func(f *faulty) any {
			id := f.one(1, ordered("c", 1))
			second := f.one(2, ordered("c", 2))
			f.exec("delete from pawl.ordered_job where job_id = $1", id)
			f.after = func() { await(f, f.client, second, pawlstate.Waiting) }
			return id
		}},
		"second of a channel let out": {[]string{"ticket-out-of-order"}, func(f *faulty) any {
			f.one(1, ordered("c", 1))
			id := f.one(2, ordered("c", 2))
			f.exec("delete from pawl.blocked where job_id = $1", id)
			f.ticket(id, "id")
			f.after = func() { await(f, f.client, id, pawlstate.Waiting) }
			return id
		}},
		"unique job gone": {[]string{"key-stray"}, func(f *faulty) any {
			id := f.gone(1, pawl.JobSpec{Unique: pawl.Unique{Key: "k"}})
			f.after = func() { f.one(2, pawl.JobSpec{Unique: pawl.Unique{Key: "k"}}) }
			return id
		}},
		"unique job gone, its key kept": {[]string{"key-stray"}, func(f *faulty) any {
			id := f.gone(1, pawl.JobSpec{Unique: pawl.Unique{Key: "k", Period: hour}})
			f.after = func() {
				if result, err := f.client.Insert(f.Context(), pawl.JobSpec{Args: Note{2}, Unique: pawl.Unique{Key: "k"}}); err != nil || !result.Duplicate {
					f.Errorf("the period of the key is forgotten: %+v, %v", result, err)
				}
			}
			return id
		}},
		"unique key gone": {[]string{"key-missing"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{Unique: pawl.Unique{Key: "k"}})
			f.exec("delete from pawl.unique_key")
			f.after = func() {
				if result, err := f.client.Insert(f.Context(), pawl.JobSpec{Args: Note{2}, Unique: pawl.Unique{Key: "k"}}); err != nil || !result.Duplicate {
					f.Errorf("the job has not got its key back: %+v, %v", result, err)
				}
			}
			return id
		}},
		"tie forgotten": {[]string{"job-unmarked"}, func(f *faulty) any {
			id := f.one(1, pawl.JobSpec{})
			f.one(2, pawl.JobSpec{AfterOK: []pawl.ID{id}})
			f.exec("update pawl.job set constrained = false where id = $1", id)
			return id
		}},
		"permits without a lease, or of another job's": {[]string{"permit-stray"}, func(f *faulty) any {
			insert(f, f.client, Note{1})
			held := claim(f, f.client, 1)
			f.exec("insert into pawl.permit (queue, channel, job_id, lease) values ('default', '', 4710, gen_random_uuid())")
			f.exec("insert into pawl.permit (queue, channel, job_id, lease) select 'default', '', 4711, id from pawl.lease")
			f.after = func() {
				if err := f.client.Complete(f.Context(), held); err != nil {
					f.Error(err)
				}
			}
			return "2 permits"
		}},
		"leases without an end, or of an unknown worker": {[]string{"lease-stray"}, func(f *faulty) any {
			f.one(1, pawl.JobSpec{})
			f.one(2, pawl.JobSpec{})
			claim(f, f.client, 1)
			f.exec("update pawl.lease set expires_at = null, worker_id = 4711")
			held := claim(f, f.client, 1)
			f.exec("update pawl.lease set expires_at = null")
			f.after = func() { f.lost(held) }
			return value[string](f, f.pool, "select id::text from pawl.lease where worker_id is null")
		}},
		"batch that lost a job": {[]string{"batch-count"}, func(f *faulty) any {
			f.runs = []int{0, 1, 7}
			id, err := f.client.InsertBatch(f.Context(), pawl.BatchSpec{Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{7}}, OnSuccess: &pawl.JobSpec{Args: Note{8}}})
			if err != nil {
				f.Fatal(err)
			}
			gone := value[int64](f, f.pool, "select max(id) from pawl.job")
			f.exec("delete from pawl.ready where job_id = $1", gone)
			f.exec("delete from pawl.job where id = $1", gone)
			return id
		}},
		"batch with a job too many": {[]string{"batch-count"}, func(f *faulty) any {
			f.runs = []int{0, 1, 2, 7}
			id, err := f.client.InsertBatch(f.Context(), pawl.BatchSpec{Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{7}}})
			if err != nil {
				f.Fatal(err)
			}
			f.exec("update pawl.batch set total = 2")
			return id
		}},
		"sequence set back": {[]string{"sequence-behind"}, func(f *faulty) any {
			f.one(1, pawl.JobSpec{})
			id := f.one(2, pawl.JobSpec{})
			f.exec("select setval('pawl.pos', 1)")
			f.after = func() {
				if next := f.one(3, pawl.JobSpec{}); next <= id {
					f.Errorf("the next job has the id %d", next)
				}
			}
			return id
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			f := &faulty{TB: t, client: client, pool: pool, after: func() {}}
			about := test.seed(f)
			found, err := client.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := checksOf(found); !slices.Equal(got, slices.Sorted(slices.Values(test.checks))) {
				t.Errorf("found %q, want %q: %+v", got, test.checks, found)
			}
			if !slices.ContainsFunc(found, func(f pawl.Finding) bool {
				return f.Check == test.checks[0] && strings.Contains(f.Problem, fmt.Sprint(about)) && !f.Repaired
			}) {
				t.Errorf("%s does not name %v: %+v", test.checks[0], about, found)
			}
			repair(t, client, test.checks...)
			f.after()
			elapse(t, pool)
			counts := runs(t, client, pool)
			for _, n := range f.runs {
				if counts[n] != 1 {
					t.Errorf("note %d ran %d times after the repair", n, counts[n])
				}
				delete(counts, n)
			}
			if len(counts) > 0 {
				t.Errorf("these ran too: %v", counts)
			}
		})
	}
}

// What is missing from the schema, or changed there, is found and not stumbled over; and mended where that is safe.
func TestVerifySchema(t *testing.T) {
	t.Parallel()
	const lastIndex = "archive_id"
	for name, test := range map[string]struct {
		break_ string
		checks []string
		names  string
		mended bool
	}{
		"function gone":          {"drop function pawl.run_followups(integer)", []string{"function"}, "settle (missing)", true},
		"function replaced":      {"create or replace function pawl.poke_heartbeats() returns void language sql as 'select'", []string{"function"}, "hail (differs)", true},
		"function's settings":    {"alter function pawl.run_followups(integer) reset all", []string{"function"}, "settle (differs)", true},
		"one of two functions":   {"drop function pawl.claim(text, integer, interval)", []string{"function"}, "claim (missing)", true},
		"all functions gone":     {"do $$ declare f text; begin for f in select oid::regprocedure from pg_proc where pronamespace = 'pawl'::regnamespace loop execute 'drop function ' || f; end loop; end $$", []string{"function"}, "and", true},
		"index gone":             {"drop index pawl.job_fingerprint", []string{"index"}, "job_fingerprint", true},
		"unique index gone":      {"drop index pawl.ordered_job_job_id", []string{"index"}, "ordered_job_job_id", true},
		"primary key gone":       {"alter table pawl.ready drop constraint ready_pkey", []string{"index"}, "ready_pkey", true},
		"index not valid":        {"update pg_index set indisvalid = false where indexrelid = 'pawl.dead_queue'::regclass", []string{"index"}, "dead_queue is not valid", true},
		"index of the archive":   {"drop index pawl." + lastIndex, []string{"index"}, lastIndex, true},
		"index of other columns": {"drop index pawl.dead_queue; create index dead_queue on pawl.dead (id)", []string{"index"}, "dead_queue", false},
		"sequence with a cache":  {"alter sequence pawl.pos cache 20", []string{"sequence"}, "cache 20", true},
		"partitions dropped":     {"do $$ declare p text; begin for p in select inhrelid::regclass from pg_inherits where inhparent = 'pawl.archive'::regclass loop execute 'drop table ' || p; end loop; end $$", []string{"partition"}, "archive_2", true},
		"partitions detached":    {"do $$ declare p text; begin for p in select inhrelid::regclass from pg_inherits where inhparent = 'pawl.archive'::regclass loop execute 'alter table pawl.archive detach partition ' || p; end loop; end $$", []string{"partition"}, "is not attached", true},
		"table gone":             {"drop table pawl.permit", []string{"table", "unseen"}, "permit", false},
		"table of jobs gone":     {"drop table pawl.job", []string{"table", "unseen"}, "job", false},
		"table renamed":          {"alter table pawl.batch rename to old", []string{"table", "unseen"}, "batch", false},
		"migrations gone":        {"drop table pawl.migration", []string{"table", "unseen"}, "migration", false},
		"column gone":            {"alter table pawl.queue drop column weights", []string{"column", "unseen"}, "queue.weights", false},
		"column of another type": {"alter table pawl.dead alter attempt type integer", []string{"column"}, "dead.attempt", false},
		"older":                  {"delete from pawl.migration where version > 1", []string{"schema"}, "version 1", false},
		"newer":                  {"insert into pawl.migration (version, name) values (9999, 'later'); create or replace function pawl.poke_heartbeats() returns void language sql as 'select'; alter table pawl.job add column later integer", nil, "", false},
		"none":                   {"drop schema pawl cascade", []string{"schema"}, "no schema", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := unchecked(t, pgtest.Database(t))
			insert(t, client, Note{1})
			exec(t, pool, test.break_)
			found, err := client.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := checksOf(found); !slices.Equal(got, test.checks) || !strings.Contains(fmt.Sprint(found), test.names) {
				t.Errorf("found %q, want %q about %s: %+v", got, test.checks, test.names, found)
			}
			if test.mended {
				repair(t, client, test.checks...)
				if got := runs(t, client, pool); got[1] != 1 {
					t.Errorf("after the repair: %v", got)
				}
				return
			}
			found, err = client.Repair(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := checksOf(found); !slices.Equal(got, test.checks) || slices.ContainsFunc(found, func(f pawl.Finding) bool { return f.Repaired }) {
				t.Errorf("repair says %+v", found)
			}
			if got := verified(t, client); !slices.Equal(got, test.checks) {
				t.Errorf("after the repair: %q", got)
			}
		})
	}
}

// In a schema of another name, too.
func TestVerifyElsewhere(t *testing.T) {
	t.Parallel()
	client, pool := unchecked(t, pgtest.Empty(t), func(c *pawl.Config) { c.Schema = "Other$1" })
	if got := verified(t, client); !slices.Equal(got, []string{"schema"}) {
		t.Errorf("before it is installed: %q", got)
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := insert(t, client, Note{1})
	if got := verified(t, client); len(got) > 0 {
		t.Errorf("as installed: %q", got)
	}
	exec(t, pool, `delete from "Other$1".ready; drop function "Other$1".restore(bigint[]); drop index "Other$1".dead_queue`)
	repair(t, client, "function", "index", "ticket-missing")
	if jobs := claim(t, client, 1); jobs[0].ID != id {
		t.Errorf("claimed %d, want %d", jobs[0].ID, id)
	}
}

// A role that may not read everything is told so.
func TestVerifyUnprivileged(t *testing.T) {
	t.Parallel()
	p := build(t).admit(t)
	p.exec("create role reader login")
	owner := p.pool
	p.connect(as(t, p.url, "reader"), pawl.Config{})
	if got := verified(t, p.client); !slices.Equal(got, []string{"privilege", "unseen"}) {
		t.Errorf("without any rights: %q", got)
	}
	exec(t, owner, "grant usage on schema pawl to reader; grant select on all tables in schema pawl to reader")
	found, err := p.client.Verify(t.Context())
	if err != nil || !slices.Equal(checksOf(found), []string{"privilege", "unseen"}) {
		t.Fatalf("without the sequence: %+v, %v", found, err)
	}
	exec(t, owner, found[0].Remedy)
	if got := verified(t, p.client); len(got) > 0 {
		t.Errorf("having typed the remedy: %q", got)
	}
}

func TestVerifyInTransaction(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := begin(t, pool)
	id := insert(t, client.With(tx), Note{1})
	exec(t, tx, "delete from pawl.ready")
	if got := verified(t, client.With(tx)); !slices.Equal(got, []string{"ticket-missing"}) {
		t.Errorf("in the transaction: %q about job %d", got, id)
	}
	if got := verified(t, client); len(got) > 0 {
		t.Errorf("outside: %q", got)
	}
	if _, err := client.With(tx).Repair(t.Context()); err == nil {
		t.Error("Repair took a client of With")
	}
	if got := verified(t, client.With(stdTx(t, pool))); len(got) > 0 {
		t.Errorf("by database/sql: %q", got)
	}
}

// A table that somebody has locked is a finding, in time.
func TestVerifyLocked(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := begin(t, pool)
	exec(t, tx, "lock table pawl.dependency in access exclusive mode")
	if got := verified(t, client); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("found %q", got)
	}
}

// Nothing is found that is not so, while jobs move between all the tables.
func TestVerifyUnderLoad(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if err := client.PutQueue(t.Context(), pawl.Queue{Name: "limited", MaxRunning: 3}); err != nil {
		t.Fatal(err)
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		switch {
		case job.Attempt == 1 && job.Args.N%7 == 0:
			return pawl.RetryAfter(5*time.Millisecond, errors.New("once more"))
		case job.Args.N%11 == 0:
			return pawl.Dead(errors.New("no"))
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer cancel()
	load.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			specs := []pawl.JobSpec{
				{Args: Note{n}}, {Args: Note{n}, Delay: 3 * time.Millisecond}, {Args: Note{n}, Queue: "limited"},
				ordered(fmt.Sprint(n%3), n), {Args: Note{n}, Unique: pawl.Unique{Key: fmt.Sprint(n % 5)}}, {Args: Note{n}, Reserve: time.Hour},
			}
			results, err := client.InsertMany(ctx, specs)
			if err != nil {
				break
			}
			client.Insert(ctx, pawl.JobSpec{Args: Note{n}, AfterOK: []pawl.ID{results[0].ID, results[3].ID}})
			client.InsertBatch(ctx, pawl.BatchSpec{Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{n}}})
			if n%2 == 0 {
				client.CommitReserved(ctx, results[5].ID)
			} else {
				client.AbortReserved(ctx, results[5].ID)
			}
			client.Cancel(ctx, results[1].ID)
			client.Retry(ctx, pawl.Filter{States: []pawlstate.State{pawlstate.Dead}, Limit: 2})
		}
		if ctx.Err() == nil {
			t.Error("the load ended before its time")
		}
	})
	load.Go(func() { // A consumer that loses some of its leases.
		for ctx.Err() == nil {
			jobs, err := client.Claim(ctx, "default", 5, 20*time.Millisecond)
			if err != nil {
				break
			}
			for i, job := range jobs {
				if i%2 == 0 {
					client.Complete(ctx, job)
				}
			}
		}
	})
	for range 2 {
		stop := start(t, client, mux, pawl.RunnerConfig{Heartbeat: time.Second})
		defer stop()
	}
	pgtest.Wait(t, "the load to begin", func() bool { return value[bool](t, pool, "select exists (select from pawl.archive)") })
	for range 25 {
		found, err := client.Verify(t.Context())
		if err != nil || len(found) > 0 {
			t.Fatalf("found %+v, %v", found, err)
		}
	}
	if got, err := client.Repair(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("repair found %+v, %v", got, err)
	}
}

// Tickets vanish and come twice beside workers, and Repair works beside both: each job runs exactly once.
func TestRepairUnderLoad(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const jobs = 1500
	var mu sync.Mutex
	counts := map[int]int{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		counts[job.Args.N]++
		return nil
	})
	specs := notes(jobs)
	for i := range specs {
		switch i % 3 {
		case 1:
			specs[i].Channel, specs[i].Ordered = fmt.Sprint(i%20), true
		case 2:
			specs[i].Delay = time.Duration(i) * time.Millisecond
		}
	}
	if _, err := client.InsertMany(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sabotage sync.WaitGroup
	defer sabotage.Wait()
	sabotaged := 0
	sabotage.Go(func() {
		for n := 0; ctx.Err() == nil && n < 200; n++ {
			for _, table := range []string{"ready", "scheduled", "blocked"} {
				tag, err := pool.Exec(ctx, fmt.Sprintf("delete from pawl.%[1]s where ctid = any (array(select ctid from pawl.%[1]s order by random() limit 2 for update skip locked))", table))
				if err == nil {
					sabotaged += int(tag.RowsAffected())
				}
			}
		}
	})
	stop := start(t, client, mux, pawl.RunnerConfig{Max: 4, Min: 1})
	pgtest.Wait(t, "all jobs to end", func() bool {
		if _, err := client.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		return value[int](t, pool, "select count(*) from pawl.job") == 0
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	cancel()
	sabotage.Wait()
	if sabotaged < 20 {
		t.Errorf("only %d tickets were taken away", sabotaged)
	}
	for n := range jobs {
		if counts[n] != 1 {
			t.Errorf("note %d ran %d times", n, counts[n])
		}
	}
}
