package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func listed(t testing.TB, client *pawl.Client, filter pawl.Filter) []pawl.ID {
	t.Helper()
	jobs, err := client.List(t.Context(), filter)
	if err != nil {
		t.Fatal(err)
	}
	ids := []pawl.ID{}
	for _, job := range jobs {
		ids = append(ids, job.ID)
	}
	return ids
}

func TestListAndCount(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	ids := jobInEachState(t, client)
	all := make([]pawl.ID, 0, len(ids))
	states := map[pawl.ID]pawlstate.State{}
	for state, id := range ids {
		all = append(all, id)
		states[id] = state
	}
	slices.Sort(all)
	slices.Reverse(all)
	of := func(states ...pawlstate.State) (list []pawl.ID) {
		for _, state := range states {
			list = append(list, ids[state])
		}
		slices.Sort(list)
		slices.Reverse(list)
		return list
	}
	jobs, err := client.List(t.Context(), pawl.Filter{})
	must(t, err)
	for _, job := range jobs {
		got, err := client.Get(t.Context(), job.ID)
		must(t, err)
		if job.State != states[job.ID] || got.State != job.State || got.Kind != job.Kind ||
			string(got.Args) != string(job.Args) || got.Attempt != job.Attempt ||
			got.Reason != job.Reason || !got.FinishedAt.Equal(job.FinishedAt) || got.UniqueKey != job.UniqueKey ||
			got.MaxAttempts != job.MaxAttempts {
			t.Errorf("List has %+v, Get %+v", job, got)
		}
	}
	middle, err := client.Get(t.Context(), all[4])
	must(t, err)
	tests := map[string]struct {
		filter pawl.Filter
		want   []pawl.ID
	}{
		"all":         {pawl.Filter{}, all},
		"queue":       {pawl.Filter{Queue: "other"}, of(pawlstate.Ready)},
		"channel":     {pawl.Filter{Channel: "c"}, of(pawlstate.Ready)},
		"no kind":     {pawl.Filter{Kind: "other"}, []pawl.ID{}},
		"fingerprint": {pawl.Filter{Fingerprint: "f"}, of(pawlstate.Completed, pawlstate.Dead, pawlstate.Running)},
		"unique key":  {pawl.Filter{UniqueKey: "k"}, of(pawlstate.Scheduled)},
		"args":        {pawl.Filter{Args: json.RawMessage(`{"n": 3}`)}, of(pawlstate.Reserved)},
		"before":      {pawl.Filter{CreatedBefore: middle.CreatedAt}, all[5:]},
		"after":       {pawl.Filter{CreatedAfter: middle.CreatedAt}, all[:4]},
		"live": {pawl.Filter{States: []pawlstate.State{"ready", "running", "scheduled", "waiting", "reserved"}},
			of("ready", "running", "scheduled", "waiting", "reserved")},
		"finished": {pawl.Filter{States: []pawlstate.State{"completed", "dead", "cancelled"}},
			of("completed", "dead", "cancelled")},
		"blocked": {pawl.Filter{States: []pawlstate.State{"waiting", "reserved"}}, of("waiting", "reserved")},
		"some and args": {pawl.Filter{States: []pawlstate.State{"waiting", "cancelled"}, Args: json.RawMessage(`{"n": 2}`)},
			of("cancelled")},
		"before an id":  {pawl.Filter{Before: all[4]}, all[5:]},
		"ids":           {pawl.Filter{IDs: []pawl.ID{all[2], all[6], 999, all[2]}}, []pawl.ID{all[2], all[6]}},
		"ids and state": {pawl.Filter{IDs: all[:4], States: []pawlstate.State{states[all[1]]}}, []pawl.ID{all[1]}},
		"ids below one": {pawl.Filter{IDs: all[2:6], Before: all[3]}, all[4:6]},
		"no ids":        {pawl.Filter{IDs: []pawl.ID{}}, []pawl.ID{}},
		"quoted":        {pawl.Filter{Queue: `o'th\er"`, Kind: "$1 %s"}, []pawl.ID{}},
	}
	for state, id := range ids {
		tests[string(state)] = struct {
			filter pawl.Filter
			want   []pawl.ID
		}{pawl.Filter{States: []pawlstate.State{state}}, []pawl.ID{id}}
	}
	for name, test := range tests {
		if got := listed(t, client, test.filter); !slices.Equal(got, test.want) {
			t.Errorf("%s: listed %v, want %v", name, got, test.want)
		}
		if n, err := client.Count(t.Context(), test.filter); err != nil || n != int64(len(test.want)) {
			t.Errorf("%s: counted %d, %v, want %d", name, n, err, len(test.want))
		}
	}
	if n, err := client.Count(t.Context(), pawl.Filter{Limit: 3}); n != 3 || err != nil {
		t.Errorf("counted %d, %v, up to 3", n, err)
	}
	for name, filter := range map[string]pawl.Filter{
		"state": {States: []pawlstate.State{"redy"}}, "args": {Args: json.RawMessage(`{`)}, "limit": {Limit: -1},
		"before": {Before: -1}, "zero byte": {Queue: "a\x00"},
	} {
		if _, err := client.List(t.Context(), filter); err == nil || !strings.Contains(err.Error(), "Filter") {
			t.Errorf("List with a wrong %s: %v", name, err)
		}
	}
}

// Pages are full and do not overlap, also if ids are far apart and the newest jobs do not match.
func TestPagesAreWholeAndDoNotOverlap(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for i := range 25 {
		insert(t, client, pawl.JobSpec{Args: Note{i}, Fingerprint: "f"})
		if i < 20 {
			must(t, client.Complete(t.Context(), claim(t, client, 1)))
		}
		exec(t, pool, "select setval('pawl.pos', nextval('pawl.pos') + 700)")
	}
	var got []int
	filter := pawl.Filter{Fingerprint: "f", Limit: 10}
	for pages := 1; ; pages++ {
		jobs, err := client.List(t.Context(), filter)
		must(t, err)
		got = append(got, numbers(t, jobs)...)
		if len(jobs) < filter.Limit {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
		filter.Before = jobs[len(jobs)-1].ID
		insert(t, client, pawl.JobSpec{Args: Note{99}, Fingerprint: "f"}) // Newer than the page: not in the next.
	}
	if len(got) != 25 || !slices.IsSortedFunc(got, func(a, b int) int { return b - a }) {
		t.Errorf("the pages have %v", got)
	}
}

// List reads only a part of the archive for a page of the newest jobs.
func TestListOfALargeArchive(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, `insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, ids, epochs,
		created_at, priority, attempt, channel, kind, args)
		select id, id, 1, now(), now() + interval '1 hour' * (30 + (id % 2) * 24), 'completed', 'default', array[id],
			'{1}', array[now()], '{0}', '{1}', '{""}', '{note}', array['{"n": 1}'::jsonb]
		from (select nextval('pawl.pos') as id from generate_series(1, 100000)) j`)
	exec(t, pool, "vacuum pawl.archive_chunk")
	tx := begin(t, pool)
	const read = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables " +
		"where schemaname = 'pawl' and relname like 'archive%'"
	before := value[int](t, tx, read)
	if n := value[int](t, tx, "select count(*) from pawl.list('{}', null, 100)"); n != 100 {
		t.Fatal(n)
	}
	if n := value[int](t, tx, read) - before; n > 10000 {
		t.Errorf("a page of 100 reads %d rows of 100,000", n)
	}
	if jobs, err := client.List(t.Context(), pawl.Filter{Queue: "none"}); err != nil || len(jobs) != 0 {
		t.Error(jobs, err)
	}
}

func TestChangesByFilter(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for name, verb := range map[string]func(pawl.Filter) (int64, error){
		"Cancel": func(f pawl.Filter) (int64, error) { return client.Cancel(t.Context(), f) },
		"Delete": func(f pawl.Filter) (int64, error) { return client.Delete(t.Context(), f) },
		"Retry":  func(f pawl.Filter) (int64, error) { return client.Retry(t.Context(), f) },
		"Update": func(f pawl.Filter) (int64, error) {
			return client.Update(t.Context(), f, pawl.JobUpdate{Delay: time.Hour})
		},
	} {
		if _, err := verb(pawl.Filter{Limit: 3, Before: 7}); err == nil || !strings.Contains(err.Error(), "Filter.All") {
			t.Errorf("%s of an empty filter: %v", name, err)
		}
		if n, err := verb(pawl.Filter{Queue: "unused"}); n != 0 || err != nil {
			t.Errorf("%s of a filter that meets nothing: %d, %v", name, n, err)
		}
	}
	jobs := notes(2500)
	for i := range jobs {
		jobs[i].Fingerprint = fmt.Sprint("f", i%2)
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	done := claim(t, client, 10)
	must(t, client.Complete(t.Context(), done))
	wantCount(t, 100)(client.Cancel(t.Context(), pawl.Filter{Fingerprint: "f0", Limit: 100}))
	tx := begin(t, pool)
	wantCount(t, 1145)(client.With(tx).Cancel(t.Context(), pawl.Filter{Fingerprint: "f0"}))
	must(t, tx.Rollback(t.Context()))
	wantCount(t, 1145)(client.Cancel(t.Context(), pawl.Filter{Fingerprint: "f0"}))
	wantCount(t, 1245)(client.Cancel(t.Context(), pawl.Filter{All: true}))
	if n := value[int](t, pool, "select count(*) from pawl.archive where state = 'completed'"); n != 10 {
		t.Errorf("%d are completed after Cancel, want 10: what is finished stays", n)
	}
	wantCount(t, 1245)(client.Retry(t.Context(), pawl.Filter{Fingerprint: "f1"}))
	wantCount(t, 1245)(client.Update(t.Context(), pawl.Filter{Queue: "default"}, pawl.JobUpdate{Delay: time.Hour}))
	wantCount(t, 0)(client.Cancel(t.Context(), pawl.Filter{States: []pawlstate.State{pawlstate.Completed,
		pawlstate.Ready}}))
	var told []int64
	wantCount(t, 2500)(client.Delete(t.Context(), pawl.Filter{All: true, Progress: func(done int64) {
		told = append(told, done)
	}}))
	if !slices.Equal(told, []int64{1000, 2000, 2500}) {
		t.Errorf("told of %d as it went, want 1000, 2000, 2500", told)
	}
	if n, err := client.Count(t.Context(), pawl.Filter{}); n != 0 || err != nil {
		t.Errorf("%d are left, %v", n, err)
	}
}

func TestCancelByUniqueKey(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	unique := pawl.JobSpec{Args: Note{1}, Unique: pawl.Unique{Key: "k"}}
	first := insert(t, client, unique)
	wantCount(t, 1)(client.Cancel(t.Context(), pawl.Filter{UniqueKey: "k"}))
	second := insert(t, client, unique)
	if first == second {
		t.Fatal("the key was not free after Cancel")
	}
	wantCount(t, 0)(client.Retry(t.Context(), pawl.Filter{UniqueKey: "k"})) // Another has the key.
	wantCount(t, 1)(client.Cancel(t.Context(), pawl.Filter{UniqueKey: "k"}))
}

func TestNoSuchJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for name, verb := range map[string]func(*pawl.Client, pawl.Selector) (int64, error){
		"Cancel": func(c *pawl.Client, s pawl.Selector) (int64, error) { return c.Cancel(t.Context(), s) },
		"Delete": func(c *pawl.Client, s pawl.Selector) (int64, error) { return c.Delete(t.Context(), s) },
		"Retry":  func(c *pawl.Client, s pawl.Selector) (int64, error) { return c.Retry(t.Context(), s) },
	} {
		if n, err := verb(client, pawl.ID(77)); n != 0 || !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if n, err := verb(client.With(begin(t, pool)), pawl.ID(77)); n != 0 || !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("%s in a transaction: %d, %v", name, n, err)
		}
		if n, err := verb(client, pawl.Filter{IDs: []pawl.ID{77, 78}}); n != 0 || err != nil {
			t.Errorf("%s of several: %d, %v", name, n, err)
		}
	}
}

// Statements that are built at run time use the configured schema.
func TestListInAnotherSchema(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) { c.Schema = "Two" })
	exec(t, pool, "drop schema pawl cascade")
	must(t, client.Migrate(t.Context()))
	ids := jobInEachState(t, client)
	if got := listed(t, client, pawl.Filter{States: []pawlstate.State{pawlstate.Ready, pawlstate.Dead},
		Kind: "note"}); len(got) != 2 {
		t.Errorf("listed %v", got)
	}
	if n, err := client.Count(t.Context(), pawl.Filter{}); n != int64(len(ids)) || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	if stats, err := client.Stats(t.Context()); err != nil || len(stats.Queues) != 2 {
		t.Errorf("stats are %+v, %v", stats, err)
	}
	if channels, err := client.Channels(t.Context(), "other"); err != nil || len(channels) != 1 {
		t.Errorf("channels are %+v, %v", channels, err)
	}
	wantCount(t, 1)(client.Update(t.Context(), ids[pawlstate.Ready], pawl.JobUpdate{Delay: time.Hour}))
	wantCount(t, 1)(client.PurgeQueue(t.Context(), "other"))
}

// The methods that list and change jobs also work in a transaction of database/sql.
func TestListOnDatabaseSQL(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	ids := jobInEachState(t, client)
	tx := stdTx(t, pool)
	in := client.WithSQL(tx)
	jobs, err := in.List(t.Context(), pawl.Filter{Limit: 3})
	if err != nil || len(jobs) != 3 {
		t.Fatalf("listed %+v, %v", jobs, err)
	}
	if n, err := in.Count(t.Context(), pawl.Filter{Before: jobs[2].ID}); n != int64(len(ids)-3) || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	wantCount(t, 1)(in.Update(t.Context(), ids[pawlstate.Ready], pawl.JobUpdate{Delay: time.Hour, Args: Note{7}}))
	wantCount(t, 1)(in.Cancel(t.Context(), pawl.Filter{Queue: "other"}))
	if stats, err := in.Stats(t.Context()); err != nil || len(stats.Queues) != 2 || stats.Queues[1].Live() != 0 ||
		stats.Queues[1].Archived != 1 {
		t.Errorf("stats are %+v, %v", stats, err)
	}
	if workers, err := in.Workers(t.Context()); err != nil || len(workers) != 0 {
		t.Errorf("workers are %+v, %v", workers, err)
	}
	if _, err := in.Queues(t.Context()); err != nil {
		t.Error(err)
	}
	must(t, tx.Rollback())
	await(t, client, ids[pawlstate.Ready], pawlstate.Ready)
}

func TestFilterByWorker(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	began, end := make(chan pawl.ID, 1), make(chan error)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		began <- job.ID
		return <-end
	})
	start(t, client, mux, pawl.RunnerConfig{Name: "anna", Queues: map[string]pawl.RunnerQueue{"default": {}}})
	id, other := insert(t, client, Note{1}), insert(t, client, pawl.JobSpec{Args: Note{2}, Queue: "elsewhere"})
	<-began
	of := func(worker string, states ...pawlstate.State) []pawl.ID {
		filter := pawl.Filter{Worker: worker, States: states}
		ids := listed(t, client, filter)
		n, err := client.Count(t.Context(), filter)
		if err != nil || n != int64(len(ids)) {
			t.Errorf("of %s: count %d, %v; listed %d", worker, n, err, ids)
		}
		return ids
	}
	if got := of("anna", pawlstate.Running); !slices.Equal(got, []pawl.ID{id}) {
		t.Errorf("anna runs %d, want %d", got, id)
	}
	if got := of("bert"); len(got) > 0 {
		t.Errorf("bert runs %d", got)
	}
	if job := await(t, client, id, pawlstate.Running); job.Worker != "anna" {
		t.Errorf("a running job's worker is %q", job.Worker)
	}
	if job := await(t, client, other, pawlstate.Ready); job.Worker != "" {
		t.Errorf("a ready job's worker is %q", job.Worker)
	}
	// A released job is in the lease at an older epoch: the worker does not run it.
	end <- pawl.Snooze(time.Hour)
	await(t, client, id, pawlstate.Scheduled)
	if got := of("anna"); len(got) > 0 {
		t.Errorf("anna, having given it back, runs %d", got)
	}
	wantCount(t, 1)(client.Retry(t.Context(), id))
	<-began
	end <- nil
	await(t, client, id, pawlstate.Completed)
	if got := of("anna"); !slices.Equal(got, []pawl.ID{id}) {
		t.Errorf("anna ran %d, want %d", got, id)
	}
}

func TestFilterRunBefore(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	now := insert(t, client, Note{1})
	soon := insert(t, client, pawl.JobSpec{Args: Note{2}, Delay: time.Minute})
	insert(t, client, pawl.JobSpec{Args: Note{3}, Delay: time.Hour})
	moment := value[time.Time](t, pool, "select clock_timestamp()")
	if got := listed(t, client, pawl.Filter{RunBefore: moment}); !slices.Equal(got, []pawl.ID{now}) {
		t.Errorf("due now are %d", got)
	}
	if got := listed(t, client, pawl.Filter{RunBefore: moment.Add(2 * time.Minute)}); !slices.Equal(got,
		[]pawl.ID{soon, now}) {
		t.Errorf("due soon are %d", got)
	}
	wantCount(t, 1)(client.Cancel(t.Context(), pawl.Filter{RunBefore: moment.Add(2 * time.Minute),
		States: []pawlstate.State{pawlstate.Scheduled}}))
}
