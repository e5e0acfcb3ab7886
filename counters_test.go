package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawlstats"
)

// counters returns what the client counted for one queue.
func counters(t testing.TB, client *pawl.Client, queue string) pawlstats.Counters {
	t.Helper()
	list := client.Counters()
	i := slices.IndexFunc(list, func(t pawlstats.Counters) bool { return t.Queue == queue })
	if i < 0 {
		t.Fatalf("nothing is counted of queue %q: %+v", queue, list)
	}
	return list[i]
}

// counts returns counters without their histograms.
func counts(t pawlstats.Counters) pawlstats.Counters {
	t.Waited, t.Ran = pawlstats.Histogram{}, pawlstats.Histogram{}
	return t
}

func TestCountersOfInserts(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "q"})
	for _, n := range []int{3, 2500} { // COPY from 2,000 on
		wantCount(t, int64(n))(count(client.InsertMany(t.Context(), notes(n))))
	}
	for range 2 {
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "q", Unique: pawl.Unique{Key: "k"}})
	}
	tx := begin(t, pool)
	insert(t, client.With(tx), Note{1})
	wantCount(t, 2100)(count(client.With(tx).InsertMany(t.Context(), notes(2100))))
	insert(t, client.WithSQL(stdTx(t, pool)), Note{1})
	if _, err := client.InsertBatch(t.Context(),
		pawl.BatchSpec{Jobs: []pawl.JobSpec{{Args: Note{1}}, {Args: Note{2}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Insert(t.Context(), pawl.JobSpec{Args: pawl.Raw("note", []byte(`"\u0000"`))}); err == nil {
		t.Fatal("an invalid job was inserted")
	}
	if n := counters(t, client, "default").Inserted; n != 1+3+2500+1+2100+1+2 {
		t.Errorf("%d inserted into default", n)
	}
	if n := counters(t, client, "q").Inserted; n != 2 {
		t.Errorf("%d inserted into q, want 2: one is a duplicate", n)
	}
}

func count[T any](list []T, err error) (int64, error) { return int64(len(list)), err }

func TestCountersOfResults(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	outcomes := []func(ctx context.Context, job *pawl.Job[Note]) error{
		func(context.Context, *pawl.Job[Note]) error { return nil },
		func(context.Context, *pawl.Job[Note]) error { return pawl.ErrSkip },
		func(context.Context, *pawl.Job[Note]) error { panic("boom") },
		func(context.Context, *pawl.Job[Note]) error { return pawl.RetryAfter(time.Hour, errBoom) },
		func(context.Context, *pawl.Job[Note]) error { return pawl.Dead(errBoom) },
		func(context.Context, *pawl.Job[Note]) error { return pawl.Cancel(errBoom) },
		func(context.Context, *pawl.Job[Note]) error { return pawl.Snooze(time.Hour) },
		func(ctx context.Context, job *pawl.Job[Note]) error { return client.Complete(ctx, job) },
		func(ctx context.Context, job *pawl.Job[Note]) error { // Completes by hand, and it comes to nothing.
			tx, err := pool.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback(ctx)
			return errors.Join(client.With(tx).Complete(ctx, job), pawl.RetryAfter(time.Hour, errBoom))
		},
		func(ctx context.Context, job *pawl.Job[Note]) error {
			_, err := client.Delete(ctx, job.ID)
			return err
		},
	}
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return outcomes[job.Args.N](ctx, job) })
	for i := range outcomes {
		insert(t, client, pawl.JobSpec{Args: Note{i}, MaxAttempts: 1 + i%2})
	}
	insert(t, client, pawl.JobSpec{Args: pawl.Raw("note", []byte(`[]`))}) // Unprocessable.
	insert(t, client, pawl.JobSpec{Args: pawl.Raw("nobody", nil)})
	want := pawlstats.Counters{
		Queue: "default", Inserted: 12,
		Completed: 3 + 1, // One of them in a transaction that was rolled back.
		Failed:    5, Dead: 4, Cancelled: 1, Snoozed: 1, Released: 1, Lost: 1,
	}
	stop := start(t, client, mux, pawl.RunnerConfig{})
	var got pawlstats.Counters
	pgtest.Wait(t, "all to be counted", func() bool {
		got = counts(counters(t, client, "default"))
		return got.Completed+got.Failed+got.Cancelled+got.Snoozed+got.Released+got.Lost == 13
	})
	must(t, stop())
	if got = counts(counters(t, client, "default")); got != want {
		t.Errorf("counted\n%+v, want\n%+v", got, want)
	}
	if waited, ran := counters(t, client, "default").Waited.Count(),
		counters(t, client, "default").Ran.Count(); waited != 11 || ran != 11 {
		t.Errorf("%d waits and %d runs, want 11: one had no handler", waited, ran)
	}
}

func TestCountersOfConsumers(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for i := range 6 {
		insert(t, client, Note{i})
	}
	exec(t, pool, "update pawl.job set created_at = created_at - interval '1 minute'")
	jobs := claim(t, client, 6)
	must(t, client.Complete(t.Context(), jobs[:2]))
	must(t, client.Fail(t.Context(), jobs[2], errBoom))
	must(t, client.Release(t.Context(), jobs[3], time.Hour))
	must(t, client.Fail(t.Context(), jobs[4], pawl.Snooze(time.Hour)))
	expireLeases(t, pool)
	if err := client.Complete(t.Context(), jobs[5]); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Fatal(err)
	}
	if got, want := counts(counters(t, client, "default")),
		(pawlstats.Counters{Queue: "default", Inserted: 6, Completed: 2, Failed: 1, Released: 1, Snoozed: 1,
			Lost: 1}); got != want {
		t.Errorf("counted\n%+v, want\n%+v", got, want)
	}
	waited := counters(t, client, "default").Waited
	if waited.Sum < 6*time.Minute || waited.Count() != 6 {
		t.Errorf("%d waits of %v, want 6 of a minute each", waited.Count(), waited.Sum)
	}
	for bound, n := range waited.Buckets() {
		if (n == 6) != (bound > time.Minute) {
			t.Errorf("%d waited no longer than %v", n, bound)
		}
	}
}

// The rates of one client include what two other clients did.
func TestThroughputCountsAllClients(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	producer, _ := connect(t, url)
	worker, _ := connect(t, url)
	reader, pool := connect(t, url)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		if job.Args.N%60 == 0 {
			return pawl.RetryAfter(time.Hour, errBoom)
		}
		return nil
	})
	wantCount(t, 600)(count(producer.InsertMany(t.Context(), notes(600))))
	insert(t, producer, pawl.JobSpec{Args: Note{1}, Queue: "other", Delay: time.Hour})
	stop := start(t, worker, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all to be worked", func() bool {
		n, err := reader.Count(t.Context(), pawl.Filter{States: []pawlstate.State{pawlstate.Ready, pawlstate.Running}})
		return err == nil && n == 0
	})
	must(t, stop())                                        // Hands over.
	if _, err := producer.Stats(t.Context()); err != nil { // Does too.
		t.Fatal(err)
	}
	rates := func() []pawlstats.Queue {
		t.Helper()
		stats, err := reader.Stats(t.Context())
		must(t, err)
		if len(stats.Queues) != 2 {
			t.Fatalf("queues are %+v", stats.Queues)
		}
		return stats.Queues
	}
	near := func(what string, got float64, jobs int) {
		t.Helper()
		if got > float64(jobs)/60 || got < float64(jobs)/71 { // The window is of 60 to 70 s.
			t.Errorf("%s %v a second, want %d in a minute", what, got, jobs)
		}
	}
	queues := rates()
	near("in", queues[0].In, 600)
	near("out", queues[0].Out, 590)
	near("failed", queues[0].Failed, 10)
	near("in of the other", queues[1].In, 1)
	near("out of the other", queues[1].Out, 0)

	// Half of it is half a minute ago; then there is more; then all is long ago.
	exec(t, pool, "update pawl.counter set slot = slot - 3")
	wantCount(t, 60)(count(producer.InsertMany(t.Context(), notes(60))))
	if _, err := producer.Stats(t.Context()); err != nil {
		t.Fatal(err)
	}
	near("in, later", rates()[0].In, 660)
	if n := value[int](t, pool, "select count(*) from pawl.counter where queue = 'default'"); n != 2 {
		t.Errorf("%d rows of two clients", n)
	}
	exec(t, pool, "update pawl.counter set slot = slot - 5")
	near("in, when only the later is within the minute", rates()[0].In, 60)
	exec(t, pool, "update pawl.counter set slot = slot - 3")
	near("in, long ago", rates()[0].In, 0)
}

// Counters are reported even if no client calls Stats.
func TestCountersAreReported(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	pgtest.Wait(t, "the count to be handed over", func() bool {
		return value[int](t, pool, "select count(*) from pawl.counter where inserted[1] = 1") == 1
	})
}

// If the schema lacks report_counters, everything else works and no counts are lost.
func TestCountersWithoutTheirFunction(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, "alter function pawl.report_counters rename to not_there")
	insert(t, client, Note{1})
	if stats, err := client.Stats(t.Context()); err != nil || stats.Queues[0].In != 0 {
		t.Fatalf("%+v, %v", stats, err)
	}
	exec(t, pool, "alter function pawl.not_there rename to report_counters")
	if stats, err := client.Stats(t.Context()); err != nil || stats.Queues[0].In == 0 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestShiftSlots(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	for _, c := range []struct {
		by, more int
		want     string
	}{
		{0, 5, "{6,2,3,4,5,6,7}"}, {-2, 5, "{6,2,3,4,5,6,7}"}, {1, 5, "{5,1,2,3,4,5,6}"}, {3, 5, "{5,0,0,1,2,3,4}"},
		{6, 5, "{5,0,0,0,0,0,1}"}, {7, 5, "{5,0,0,0,0,0,0}"}, {1 << 40, 0, "{0,0,0,0,0,0,0}"},
	} {
		if got := value[string](t, pool, "select pawl.shift_slots('{1,2,3,4,5,6,7}', $1, $2)::text", c.by,
			c.more); got != c.want {
			t.Errorf("by %d and %d more: %s, want %s", c.by, c.more, got, c.want)
		}
	}
}

// Counters are bounded in memory for any number of queues.
func TestCountersAreBounded(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	for from := 0; from < 10_010; from += 5005 {
		jobs := notes(5005)
		for i := range jobs {
			jobs[i].Queue = fmt.Sprint("q", from+i)
		}
		wantCount(t, 5005)(count(client.InsertMany(t.Context(), jobs)))
	}
	if n, rest := len(client.Counters()), counters(t, client, "").Inserted; n != 10_001 || rest != 10 {
		t.Errorf("%d queues are counted, %d jobs of the rest", n, rest)
	}
}
