package pawl_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstats"
)

func TestStats(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobInEachState(t, client)
	must(t, client.PauseQueue(t.Context(), "paused"))
	exec(t, pool, "update pawl.job set created_at = created_at - interval '1 minute' where queue = 'other'")
	worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '1 minute')")
	exec(t, pool, "update pawl.worker set stale_after = '-1 minute'")
	tx := begin(t, pool)
	exec(t, tx, "select pg_current_xact_id()")
	stats, err := client.Stats(t.Context())
	must(t, err)
	if stats.Workers != 1 || stats.StaleWorkers != 1 ||
		stats.Schema != value[int](t, pool, "select max(version) from pawl.migration") || stats.Dead != 1 ||
		stats.XminAge <= 0 {
		t.Errorf("stats are %+v", stats)
	}
	if age := stats.At.Sub(value[time.Time](t, pool, "select clock_timestamp()")).Abs(); age > time.Minute {
		t.Errorf("the figures are of %v, %v from now", stats.At, age)
	}
	want := []pawlstats.Queue{
		{Queue: "default", Reserved: 1, Waiting: 1, Scheduled: 1, Running: 1, Dead: 1, Archived: 2},
		{Queue: "other", Ready: 1},
		{Queue: "paused"},
	}
	lag := stats.Queues[1].Lag
	if lag < time.Minute || lag > time.Hour || stats.Queues[1].OldestReady != lag {
		t.Errorf("oldest ready %v, lag %v, want a minute", stats.Queues[1].OldestReady, lag)
	}
	want[1].OldestReady, want[1].Lag = lag, lag
	for i, created := range values[*time.Time](t, pool,
		"select (select max(created_at) from pawl.job j where j.queue = q) from unnest('{default,other,paused}'::text[]) q") {
		if created != nil && !stats.Queues[i].NewestJob.Equal(*created) || created == nil &&
			!stats.Queues[i].NewestJob.IsZero() {
			t.Errorf("the newest job of queue %s is of %v, want %v", stats.Queues[i].Queue, stats.Queues[i].NewestJob, created)
		}
		// See TestThroughputCountsAllClients.
		stats.Queues[i].NewestJob, stats.Queues[i].In, stats.Queues[i].Out, stats.Queues[i].Failed = time.Time{}, 0, 0, 0
	}
	if !slices.Equal(stats.Queues, want) {
		t.Errorf("queues are\n%+v, want\n%+v", stats.Queues, want)
	}
	if n := stats.Queues[0].Live(); n != 4 || stats.Archived != 2 {
		t.Errorf("%d live jobs, want 4; %d archived, want 2", n, stats.Archived)
	}
	channels, err := client.Channels(t.Context(), "other")
	if err != nil || len(channels) != 1 || channels[0].Channel != "c" || channels[0].Ready != 1 ||
		channels[0].OldestReady < time.Minute {
		t.Errorf("channels are %+v, %v", channels, err)
	}
	want[0].Waiting, want[0].Archived = 0, 0
	if channels, err = client.Channels(t.Context(), "default"); err != nil || !slices.Equal(channels, want[:1]) {
		t.Errorf("channels are %+v, %v", channels, err)
	}
	exec(t, pool, "select pawl.unregister_worker($1)", worker)
}

// NewestJob looks at jobs of every live state.
func TestNewestJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "held"})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "done"})
	for _, queue := range []string{"held", "done"} {
		jobs, err := client.Claim(t.Context(), queue, 1, 0)
		must(t, err)
		if queue == "done" {
			must(t, client.Complete(t.Context(), jobs))
		}
	}
	for range 2 {
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "blocked", Reserve: time.Hour})
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "scheduled", Delay: time.Hour})
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "urgent"})
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "urgent", Priority: -5})
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "urgent", Channel: "c"})
	}
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "scheduled", Delay: time.Minute})
	stats, err := client.Stats(t.Context())
	must(t, err)
	seen := 0
	for _, q := range stats.Queues {
		want := value[*time.Time](t, pool, "select max(created_at) from pawl.job where queue = $1", q.Queue)
		if want == nil {
			want = new(time.Time)
		}
		if !q.NewestJob.Equal(*want) {
			t.Errorf("the newest job of queue %s is of %v, want %v", q.Queue, q.NewestJob, *want)
		}
		seen++
	}
	if seen != 5 {
		t.Errorf("%d queues: %+v", seen, stats.Queues)
	}
}

func TestStatsCountPermitsInUse(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "limited", MaxRunning: 5}))
	for _, queue := range []string{"limited", "limited", "limited", "free"} {
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: queue})
	}
	mux := new(pawl.Mux)
	running, stop := make(chan struct{}, 4), make(chan struct{})
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error {
		running <- struct{}{}
		<-stop
		return nil
	}, pawl.KindOptions{Permit: client.Semaphore(4, func(*pawl.JobInfo) []string {
		return []string{"all", "of \"them\""}
	})})
	start(t, client, mux, pawl.RunnerConfig{})
	for range 4 {
		<-running
	}
	stats, err := client.Stats(t.Context())
	must(t, err)
	if len(stats.Queues) != 2 || stats.Queues[0].Permits != 0 || stats.Queues[1].Permits != 3 ||
		stats.Queues[0].Running != 1 || stats.Queues[1].Running != 3 {
		t.Errorf("queues are %+v", stats.Queues)
	}
	if want := map[string]int64{"all": 4, `of "them"`: 4}; !maps.Equal(stats.Semaphores, want) {
		t.Errorf("semaphores are %v, want %v", stats.Semaphores, want)
	}
	close(stop)
	pgtest.Wait(t, "the permits to be given back", func() bool {
		stats, err := client.Stats(t.Context())
		must(t, err)
		return len(stats.Semaphores) == 0 && len(stats.Queues) == 2 && stats.Queues[1].Permits == 0
	})
}

// A large archive is estimated from a sample. A small one is counted.
func TestArchivedIsEstimated(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	fill := func(queue string, n int, days string) {
		exec(t, pool, `insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, ids, epochs,
			created_at, priority, attempt, channel, kind)
			select min(i), max(i), count(*), now(), now() + $3::interval, 'completed', $1, array_agg(i), array_agg(1),
				array_agg(now()), array_agg(0::smallint), array_agg(1::smallint), array_agg(''::text), array_agg('note'::text)
			from (select nextval('pawl.pos') as i from generate_series(1, $2::int)) j group by i / 3`, queue, n, days)
	}
	archived := func() (counts []int64, estimated bool, all int64) {
		t.Helper()
		stats, err := client.Stats(t.Context())
		must(t, err)
		for _, q := range stats.Queues {
			counts, estimated = append(counts, q.Archived), estimated || q.ArchivedEstimated
			if q.Estimated {
				t.Errorf("%s is said to be estimated", q.Queue)
			}
		}
		return counts, estimated, stats.Archived
	}
	fill("a", 300, "1 day")
	fill("b", 200, "2 days")
	exec(t, pool, "create table pawl.archive_past partition of pawl.archive_chunk for values from ('2000-01-01') to "+
		"('2000-01-02')")
	// Not dropped yet, but past their retention.
	fill("a", 100, value[string](t, pool, "select ('2000-01-01 12:00+00' - now())::text"))
	if counts, estimated, all := archived(); !slices.Equal(counts, []int64{300, 200}) || estimated || all != 500 {
		t.Errorf("archived: %v, of %d, estimated %v", counts, all, estimated)
	}
	for range 100 { // The pages of the sample have both queues.
		fill("a", 300, "3 days")
		fill("'c\"", 100, "3 days")
	}
	counts, estimated, all := archived()
	if len(counts) != 3 || counts[0] < 8_000 || counts[0] > 12_000 || counts[1] < 27_000 || counts[1] > 34_000 ||
		counts[2] != 200 || !estimated || all != counts[0]+counts[1]+counts[2] {
		t.Errorf("archived: %v, of %d, estimated %v", counts, all, estimated)
	}
}

func TestTablesReportsSizesAndVacuums(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(5000)); err != nil {
		t.Fatal(err)
	}
	wantCount(t, 5000)(client.PurgeQueue(t.Context(), "default"))
	exec(t, pool, "vacuum pawl.dead")
	var job pawlstats.Table
	pgtest.Wait(t, "the server to have counted", func() bool {
		tables, err := client.Tables(t.Context())
		must(t, err)
		seen := map[string]pawlstats.Table{}
		for i, table := range tables {
			seen[table.Name] = table
			if i > 0 && table.Bytes > tables[i-1].Bytes {
				t.Errorf("%s is larger than %s before it", table.Name, tables[i-1].Name)
			}
		}
		if len(seen) != 11 || seen["dead"].VacuumedAt.IsZero() || seen["archive_chunk"].Bytes == 0 {
			t.Fatalf("tables are %+v", tables)
		}
		job = seen["job"]
		return job.Dead > 0 || !job.VacuumedAt.IsZero()
	})
	if job.Bytes < 5000*100 {
		t.Errorf("job is %+v", job)
	}
}

// Beyond the bound Stats estimates figures and does not read the tables to their end.
func TestStatsAreBounded(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobs := notes(6000)
	for i := range jobs {
		jobs[i].Channel = fmt.Sprint("c", min(i%10, 3))
		jobs[i].Queue = "large"
		switch {
		case i%100 == 0:
			jobs[i].Queue = "small"
		case i%3 == 0:
			jobs[i].Delay = time.Hour
		}
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, "analyze pawl.ready; analyze pawl.scheduled")
	if jobs, err := client.Claim(t.Context(), "large", 5, 0); err != nil || len(jobs) != 5 {
		t.Fatal(jobs, err)
	}
	const most = 500
	rows := func(query string) (list [][]any) {
		tx := begin(t, pool)
		const read = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables " +
			"where schemaname = 'pawl'"
		before := value[int](t, tx, read)
		found, err := tx.Query(t.Context(), query)
		must(t, err)
		for found.Next() {
			v, err := found.Values()
			must(t, err)
			list = append(list, v)
		}
		must(t, found.Err())
		if n := value[int](t, tx, read) - before; n > 8*most {
			t.Errorf("%s reads %d rows", query, n)
		}
		return list
	}
	near := func(what string, got any, want int64) {
		t.Helper()
		if n := got.(int64); n < want*8/10 || n > want*12/10 {
			t.Errorf("%s: %d, want about %d", what, n, want)
		}
	}
	queues := rows(fmt.Sprintf("select queue, ready, scheduled, estimated from pawl.queue_stats(%d)", most))
	if len(queues) != 2 || queues[0][3] != true || queues[1][3] != false || queues[1][1] != int64(60) {
		t.Fatalf("queues are %v", queues)
	}
	if names := values[string](t, pool, "select pawl.live_queues()"); len(names) != 2 {
		t.Errorf("queues are %v", names)
	}
	rows("select pawl.live_queues()")
	near("ready", queues[0][1], 3960)
	near("scheduled", queues[0][2], 1980)
	channels := rows(fmt.Sprintf("select channel, ready, scheduled, estimated from pawl.channel_stats('large', %d)", most))
	var ready, scheduled int64
	for _, c := range channels {
		ready, scheduled = ready+c[1].(int64), scheduled+c[2].(int64)
		if c[3] != true {
			t.Errorf("channel %v is not said to be estimated", c)
		}
	}
	if len(channels) != 4 {
		t.Errorf("channels are %v", channels)
	}
	near("ready of all channels", ready, 3960)
	near("scheduled of all channels", scheduled, 1980)
}
