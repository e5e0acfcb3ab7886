package pawl_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func TestQueuesWithLiveJobs(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "held"})
	if jobs, err := client.Claim(t.Context(), "held", 1, 0); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "parked", Reserve: time.Hour})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "ready"})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "scheduled", Delay: time.Hour})
	must(t, client.PauseQueue(t.Context(), "a"))
	queues, err := client.Queues(t.Context())
	must(t, err)
	var names []string
	for _, q := range queues {
		names = append(names, q.Name)
	}
	if want := []string{"a", "held", "parked", "ready", "scheduled"}; !slices.Equal(names, want) {
		t.Errorf("queues are %v, want %v", names, want)
	}
	for _, q := range queues[1:] {
		if err := client.DeleteQueue(t.Context(), q.Name); !errors.Is(err, pawl.ErrQueueInUse) {
			t.Errorf("a queue with a %s job deleted: %v", q.Name, err)
		}
		must1(t, 1)(client.PurgeQueue(t.Context(), q.Name))
		if err := client.DeleteQueue(t.Context(), q.Name); !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("nothing was said of queue %s: %v", q.Name, err)
		}
		if _, err := client.PurgeQueue(t.Context(), q.Name); !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("nothing is known of queue %s: %v", q.Name, err)
		}
	}
	must1(t, 0)(client.PurgeQueue(t.Context(), "a"))
	must(t, client.DeleteQueue(t.Context(), "a"))
	if queues, err = client.Queues(t.Context()); err != nil || len(queues) != 0 {
		t.Errorf("queues are %+v, %v", queues, err)
	}
}

func TestDeleteQueueThatAWorkerNamed(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), "q", pawl.QueuePolicy{MaxAttempts: 3}))
	all := value[int64](t, pool, "select pawl.register('w', 'h', 1, 'v', null, '1 minute')")
	named := value[int64](t, pool, "select pawl.register('w', 'h', 1, 'v', '{q}', '1 minute')")
	if err := client.DeleteQueue(t.Context(), "q"); !errors.Is(err, pawl.ErrQueueInUse) {
		t.Errorf("deleted: %v", err)
	}
	exec(t, pool, "select pawl.unregister($1)", named)
	must(t, client.DeleteQueue(t.Context(), "q"))
	exec(t, pool, "select pawl.unregister($1)", all)
}

func TestStats(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	zoo(t, client)
	must(t, client.PauseQueue(t.Context(), "paused"))
	exec(t, pool, "update pawl.job set created_at = created_at - interval '1 minute' where queue = 'other'")
	worker := value[int64](t, pool, "select pawl.register('w', 'h', 1, 'v', null, '1 minute')")
	exec(t, pool, "update pawl.worker set stale_after = '-1 minute'")
	tx := begin(t, pool)
	exec(t, tx, "select pg_current_xact_id()")
	stats, err := client.Stats(t.Context())
	must(t, err)
	if stats.Workers != 1 || stats.StaleWorkers != 1 || stats.Schema < 4 || stats.Dead != 1 || stats.XminAge <= 0 {
		t.Errorf("stats are %+v", stats)
	}
	want := []pawl.QueueStats{
		{Queue: "default", Reserved: 1, Scheduled: 1, Running: 1, Dead: 1},
		{Queue: "other", Ready: 1},
		{Queue: "paused"},
	}
	lag := stats.Queues[1].Lag
	if lag < time.Minute || lag > time.Hour || stats.Queues[1].OldestReady != lag {
		t.Errorf("oldest ready %v, lag %v, want a minute", stats.Queues[1].OldestReady, lag)
	}
	want[1].OldestReady, want[1].Lag = lag, lag
	if !slices.Equal(stats.Queues, want) {
		t.Errorf("queues are\n%+v, want\n%+v", stats.Queues, want)
	}
	channels, err := client.Channels(t.Context(), "other")
	if err != nil || len(channels) != 1 || channels[0].Channel != "c" || channels[0].Ready != 1 || channels[0].OldestReady < time.Minute {
		t.Errorf("channels are %+v, %v", channels, err)
	}
	want[0].Channel, want[0].Queue = "", "default"
	if channels, err = client.Channels(t.Context(), "default"); err != nil || !slices.Equal(channels, want[:1]) {
		t.Errorf("channels are %+v, %v", channels, err)
	}
	exec(t, pool, "select pawl.unregister($1)", worker)
}

// Beyond the bound the figures are estimated, and the tables not read to their end.
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
	const most = 500
	rows := func(query string) (list [][]any) {
		tx := begin(t, pool)
		const read = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables where schemaname = 'pawl'"
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
	queues := rows(fmt.Sprintf("select queue, ready, scheduled, estimated from pawl.stats(%d)", most))
	if len(queues) != 2 || queues[0][3] != true || queues[1][3] != false || queues[1][1] != int64(60) {
		t.Fatalf("queues are %v", queues)
	}
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
