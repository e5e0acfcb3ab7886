package pawl_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestClaimTakesInOrder(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	for i, priority := range []int{0, 5, -5, 0, -5, 32767, -32768} {
		insert(t, client, pawl.JobSpec{Args: Note{i}, Priority: priority})
	}
	jobs := claim(t, client, 100)
	if got, want := numbers(t, jobs), []int{6, 2, 4, 0, 3, 1, 5}; !slices.Equal(got, want) {
		t.Errorf("claimed %v, want %v: by priority, then in the order of insertion", got, want)
	}
	if more, err := client.Claim(t.Context(), "default", 100, 0); len(more) != 0 || err != nil {
		t.Errorf("a second claim returned %d jobs, %v", len(more), err)
	}
}

func TestClaimsOfOneKeepTheOrder(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	if _, err := client.InsertMany(t.Context(), notes(20)); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if got := numbers(t, claim(t, client, 1)); got[0] != i {
			t.Fatalf("claim %d took job %d", i, got[0])
		}
	}
}

func TestClaimRefusesWrongArguments(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	for _, test := range []struct {
		queue string
		n     int
		lease time.Duration
	}{{"", 1, 0}, {"q", 0, 0}, {"q", -1, 0}, {"q", 1, -1}} {
		if _, err := client.Claim(t.Context(), test.queue, test.n, test.lease); err == nil {
			t.Errorf("Claim(%q, %d, %v) returned no error", test.queue, test.n, test.lease)
		}
	}
	id := insert(t, client, Note{1})
	seen, err := client.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Complete(t.Context(), seen); err == nil {
		t.Error("a job that was looked up, not claimed, was completed")
	}
	if err := client.Fail(t.Context(), claim(t, client, 1), nil); err == nil {
		t.Error("Fail with a nil error returned nil")
	}
}

func TestDelayAndRunAt(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	delayed := insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: time.Hour})
	at := time.Now().Add(2 * time.Hour).Truncate(time.Microsecond)
	timed := insert(t, client, pawl.JobSpec{Args: Note{2}, RunAt: at})
	insert(t, client, pawl.JobSpec{Args: Note{3}, RunAt: time.Now().Add(-time.Hour)})
	if got := numbers(t, claim(t, client, 10)); !slices.Equal(got, []int{3}) {
		t.Errorf("claimed %v, want the one whose time has passed", got)
	}
	job := await(t, client, delayed, pawlstate.Scheduled)
	if d := job.RunAt.Sub(job.CreatedAt); d < time.Hour || d > time.Hour+time.Second {
		t.Errorf("a delay of an hour is due %v after the insert", d)
	}
	if job := await(t, client, timed, pawlstate.Scheduled); !job.RunAt.Equal(at) {
		t.Errorf("RunAt %v became %v", at, job.RunAt)
	}
	makeDue(t, pool)
	if got := numbers(t, claim(t, client, 10)); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("claimed %v when both were due", got)
	}
}

func TestClaimInATransaction(t *testing.T) {
	for _, driver := range []string{"pgx", "database/sql"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := insert(t, client, pawl.JobSpec{Args: Note{1}, Data: []byte("data"), Headers: map[string]string{"k": "v"},
				Fingerprint: "f"})
			open := func() (*pawl.Client, func() error) {
				if driver == "pgx" {
					tx := begin(t, pool)
					return client.With(tx), func() error { return tx.Rollback(t.Context()) }
				}
				tx := stdTx(t, pool)
				return client.WithSQL(tx), tx.Rollback
			}
			in, rollback := open()
			jobs, err := in.Claim(t.Context(), "default", 5, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if len(jobs) != 1 || jobs[0].ID != id || string(jobs[0].Data) != "data" || jobs[0].Headers["k"] != "v" ||
				jobs[0].Fingerprint != "f" ||
				jobs[0].Attempt != 1 || jobs[0].MaxAttempts != 20 || jobs[0].State != pawlstate.Running {
				t.Fatalf("claimed %+v", jobs)
			}
			if err := in.Extend(t.Context(), jobs, time.Hour); err != nil {
				t.Errorf("Extend: %v", err)
			}
			if err := in.Complete(t.Context(), jobs); err != nil {
				t.Errorf("Complete: %v", err)
			}
			if job, err := in.Get(t.Context(), id); err != nil || job.State != pawlstate.Completed {
				t.Errorf("Get in the transaction: %+v, %v", job, err)
			}
			if err := rollback(); err != nil {
				t.Fatal(err)
			}
			if job := claim(t, client, 1); job[0].ID != id {
				t.Errorf("claimed %d after the rollback, want %d", job[0].ID, id)
			}
		})
	}
}

func TestAPausedQueueGivesNoJobs(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	insert(t, client, Note{1})
	insert(t, client, Note{2})
	claimed := claim(t, client, 1)
	if err := client.PauseQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if jobs, err := client.Claim(t.Context(), "default", 10, 0); len(jobs) != 0 || err != nil {
		t.Errorf("a paused queue gave %d jobs, %v", len(jobs), err)
	}
	if err := client.Complete(t.Context(), claimed); err != nil {
		t.Errorf("a job that ran when its queue was paused: %v", err)
	}
	if err := client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxAttempts: 3}); err != nil {
		t.Fatal(err)
	}
	queues, err := client.Queues(t.Context())
	if err != nil || len(queues) != 1 || !queues[0].Paused || queues[0].MaxAttempts != 3 {
		t.Errorf("queues are %+v, %v; a policy must keep the pause", queues, err)
	}
	if err := client.ResumeQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, claim(t, client, 10)); !slices.Equal(got, []int{2}) {
		t.Errorf("claimed %v after the pause", got)
	}
}

func TestLeaseOfTheQueue(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if err := client.PutQueue(t.Context(), pawl.Queue{Name: "default", Lease: 10 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	insert(t, client, Note{1})
	insert(t, client, Note{2})
	claim(t, client, 1)
	if _, err := client.Claim(t.Context(), "default", 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	left := values[float64](t, pool, "select extract(epoch from expires_at - clock_timestamp())::float8 from pawl.lease "+
		"order by 1")
	if len(left) != 2 || left[0] < 500 || left[0] > 600 || left[1] < 3500 || left[1] > 3600 {
		t.Errorf("leases last %v more seconds, want about 600, the queue's, and 3600, the claim's own", left)
	}
}

func TestExpiredLeaseIsRedelivered(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, Note{1})
	stale := claim(t, client, 1)
	expireLeases(t, pool)
	fresh := claim(t, client, 1)
	if fresh[0].ID != id || fresh[0].Attempt != 1 {
		t.Fatalf("redelivered %+v, want job %d, no attempt used", fresh[0], id)
	}
	verbs := map[string]func() error{
		"Complete": func() error { return client.Complete(t.Context(), stale) },
		"Fail":     func() error { return client.Fail(t.Context(), stale, errors.New("late")) },
		"Snooze":   func() error { return client.Fail(t.Context(), stale, pawl.Snooze(time.Hour)) },
		"Dead":     func() error { return client.Fail(t.Context(), stale, pawl.Dead(nil)) },
		"Release":  func() error { return client.Release(t.Context(), stale, 0) },
		"Extend":   func() error { return client.Extend(t.Context(), stale, time.Hour) },
	}
	for name, verb := range verbs {
		if err := verb(); !errors.Is(err, pawl.ErrLeaseLost) {
			t.Errorf("%s by the stale consumer returned %v, want ErrLeaseLost", name, err)
		}
	}
	for name, verb := range map[string]func() (int64, error){
		"Delete": func() (int64, error) { return client.Delete(t.Context(), stale) },
		"Cancel": func() (int64, error) { return client.Cancel(t.Context(), stale) },
	} {
		if n, err := verb(); n != 0 || err != nil {
			t.Errorf("%s by the stale consumer returned %d, %v", name, n, err)
		}
	}
	if err := client.Complete(t.Context(), fresh); err != nil {
		t.Errorf("Complete by the new holder: %v", err)
	}
}

func TestExtend(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(4)); err != nil {
		t.Fatal(err)
	}
	jobs, err := client.Claim(t.Context(), "default", 4, time.Minute)
	if err != nil || len(jobs) != 4 {
		t.Fatal(len(jobs), err)
	}
	expiry := func(job *pawl.JobInfo) time.Duration {
		return time.Duration(value[float64](t, pool, "select extract(epoch from expires_at - clock_timestamp())::float8 "+
			"from pawl.lease where $1 = any (jobs)", int64(job.ID)) * float64(time.Second))
	}
	about := func(what string, got, want time.Duration) {
		t.Helper()
		if got > want || got < want-30*time.Second {
			t.Errorf("%s: the lease lasts %v more, want about %v", what, got, want)
		}
	}
	if err := client.Extend(t.Context(), jobs[:2], time.Hour); err != nil {
		t.Fatal(err)
	}
	about("extended", expiry(jobs[0]), time.Hour)
	about("of the same claim, not extended", expiry(jobs[2]), time.Minute)
	if err := client.Extend(t.Context(), jobs[:2], time.Second); err != nil {
		t.Fatal(err)
	}
	about("extended by less", expiry(jobs[1]), time.Hour)
	if err := client.Extend(t.Context(), jobs[0], time.Second); err != nil {
		t.Fatal(err)
	}
	about("split off by less", expiry(jobs[0]), time.Hour)
	if err := client.Extend(t.Context(), jobs, 2*time.Hour); err != nil { // Of several leases at once.
		t.Fatal(err)
	}
	for _, job := range jobs {
		about("all", expiry(job), 2*time.Hour)
	}
	if err := client.Extend(t.Context(), jobs, 0); err == nil {
		t.Error("Extend by nothing returned no error")
	}
	if err := client.Complete(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 0 {
		t.Errorf("%d leases are left without a job", n)
	}
}

func TestExtendOfOneJobLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 2)
	if err := client.Extend(t.Context(), jobs[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, "update pawl.lease set expires_at = clock_timestamp() - interval '1 second' where expires_at < "+
		"clock_timestamp() + interval '10 minutes'")
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	if got := claim(t, client, 2); len(got) != 1 || got[0].ID != jobs[1].ID {
		t.Errorf("redelivered %v, want only the job that was not extended", numbers(t, got))
	}
	if err := client.Complete(t.Context(), jobs[0]); err != nil {
		t.Errorf("the extended job: %v", err)
	}
	err := client.Complete(t.Context(), jobs)
	if lost, ok := errors.AsType[pawl.JobErrors](err); !ok || len(lost) != 2 {
		t.Errorf("got %v, want Errors of both jobs", err)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	answer := make(chan error, 1)
	go func() { answer <- client.Wait(t.Context(), "a", "b") }()
	awaitSleepers(t, pool, 2)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "c"})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "b"})
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if err := client.Wait(t.Context()); err == nil {
		t.Error("Wait for no queue returned nil")
	}
	if err := client.With(pool).Wait(t.Context(), "a"); err == nil {
		t.Error("Wait on a client made by With returned nil")
	}
}

func TestWaitForADelayedJob(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: 200 * time.Millisecond})
	if err := client.Wait(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	claim(t, client, 1)
}

func TestAReleasedJobIsClaimedNext(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, pawl.JobSpec{Args: Note{0}, Priority: 100})
	claimed := claim(t, client, 1)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Priority: -100})
	if err := client.Release(t.Context(), claimed, 0); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 10)
	if got := numbers(t, jobs); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("claimed %v, want the returned job first, whatever its priority", got)
	}
	if jobs[0].Attempt != 1 {
		t.Errorf("attempt %d, want 1: a release uses none", jobs[0].Attempt)
	}
	if err := client.Release(t.Context(), jobs[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, client, jobs[0].ID, pawlstate.Scheduled)
	makeDue(t, pool)
	claim(t, client, 1)
}

func TestClaimsAlternateBetweenChannels(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	var jobs []pawl.JobSpec
	for i := range 100 {
		jobs = append(jobs, pawl.JobSpec{Args: Note{i}, Channel: "large"})
	}
	for i := range 3 {
		jobs = append(jobs, pawl.JobSpec{Args: Note{i}, Channel: fmt.Sprint("small ", i)})
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	small := 0
	for _, job := range claim(t, client, 8) {
		if job.Channel != "large" {
			small++
		}
	}
	if small != 3 {
		t.Errorf("%d of 3 small channels had a turn in the first claim", small)
	}
}

// An Extend that was rolled back leaves the claim as it was.
func TestAnExtendRolledBackChangesNothing(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	insert(t, client, Note{2})
	claimed := claim(t, client, 2)
	tx := begin(t, pool)
	must(t, client.With(tx).Extend(t.Context(), claimed[:1], hour)) // It splits the lease.
	must(t, tx.Rollback(t.Context()))
	if err := client.Extend(t.Context(), claimed[:1], hour); err != nil {
		t.Errorf("extended again: %v; the job is claimed", err)
	}
}
