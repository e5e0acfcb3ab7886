package pawl_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestArchiveKeepsWhatWasDone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, pawl.JobSpec{
		Args: Note{7}, Data: []byte("data"), Channel: "c", Priority: 3, MaxAttempts: 5, Fingerprint: "f",
		Headers: map[string]string{"trace": "1"}, Backoff: pawl.Backoff{Base: time.Hour},
	})
	jobs := claim(t, client, 1)
	if err := client.Fail(t.Context(), jobs, pawl.RetryAfter(0, errBoom)); err != nil {
		t.Fatal(err)
	}
	jobs = claim(t, client, 1)
	if jobs[0].Attempt != 2 || len(jobs[0].Errors) != 1 || jobs[0].Errors[0].Error != "boom" {
		t.Errorf("the second attempt is %d with errors %v", jobs[0].Attempt, jobs[0].Errors)
	}
	if err := client.Complete(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	job, err := client.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if job.State != pawlstate.Completed || note(t, job).N != 7 || string(job.Data) != "data" || job.Channel != "c" || job.Priority != 3 ||
		job.Attempt != 2 || job.MaxAttempts != 5 || job.Fingerprint != "f" || job.Headers["trace"] != "1" || len(job.Errors) != 1 || job.FinishedAt.IsZero() {
		t.Errorf("the archived job is %+v", job)
	}
	keep := value[float64](t, pool, "select extract(epoch from expires_at - finished_at)::float8 from pawl.archive")
	if keep != 24*3600 {
		t.Errorf("it is kept for %v s, want a day", keep)
	}
	if n := value[int](t, pool, "select count(*) from pawl.archive where waited_ms is null or ran_ms is null"); n != 0 {
		t.Error("how long it waited and ran is not kept")
	}
	if err := client.Complete(t.Context(), jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("completing it again returned %v", err)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	put := func(completed, cancelled, dead time.Duration) {
		t.Helper()
		if err := client.PutQueue(t.Context(), pawl.Queue{Name: "default", RetainCompleted: completed, RetainCancelled: cancelled, RetainDead: dead}); err != nil {
			t.Fatal(err)
		}
	}
	finish := func() (completed, archived, cancelled, removed, dead pawl.ID) {
		t.Helper()
		if _, err := client.InsertMany(t.Context(), notes(5)); err != nil {
			t.Fatal(err)
		}
		jobs := claim(t, client, 5)
		jobs[1].Keep = true
		for _, err := range []error{
			client.Complete(t.Context(), jobs[0]), client.Complete(t.Context(), jobs[1]),
			client.Fail(t.Context(), jobs[2], pawl.Cancel(nil)), client.Fail(t.Context(), jobs[4], pawl.Dead(nil)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if n, err := client.Cancel(t.Context(), jobs[3].ID); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		return jobs[0].ID, jobs[1].ID, jobs[2].ID, jobs[3].ID, jobs[4].ID
	}
	put(-1, -1, -1)
	completed, archived, cancelled, removed, dead := finish()
	for _, id := range []pawl.ID{completed, cancelled, removed, dead} {
		if _, err := client.Get(t.Context(), id); !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("retention zero: Get(%d) returned %v, want ErrNotFound", id, err)
		}
	}
	if job, err := client.Get(t.Context(), archived); err != nil || job.State != pawlstate.Completed {
		t.Errorf("retention zero, Archive: got %+v, %v", job, err)
	}
	// A retention that needs partitions nobody had made.
	put(40*24*time.Hour, 50*24*time.Hour, time.Hour)
	completed, archived, cancelled, removed, dead = finish()
	for id, want := range map[pawl.ID]pawlstate.State{
		completed: pawlstate.Completed, archived: pawlstate.Completed, cancelled: pawlstate.Cancelled, removed: pawlstate.Cancelled, dead: pawlstate.Dead,
	} {
		if job, err := client.Get(t.Context(), id); err != nil || job.State != want {
			t.Errorf("got %+v, %v, want it %s", job, err, want)
		}
	}
	exec(t, pool, "update pawl.dead set expires_at = clock_timestamp()")
	if _, err := client.Get(t.Context(), dead); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("a dead job past its retention: %v", err)
	}
}

// Nobody tended for longer than partitions were made ahead: completions make the partition they need.
func TestMissingPartitionIsMade(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var drop []string
	for _, name := range values[string](t, pool, "select inhrelid::regclass::text from pg_inherits where inhparent = 'pawl.archive'::regclass") {
		drop = append(drop, "drop table "+name)
	}
	for _, statement := range drop {
		exec(t, pool, statement)
	}
	ids := make([]pawl.ID, 3)
	for i := range ids {
		ids[i] = insert(t, client, Note{i})
	}
	jobs := claim(t, client, 3)
	if err := client.Complete(t.Context(), jobs[:2]); err != nil {
		t.Errorf("Complete: %v", err)
	}
	for _, statement := range drop {
		exec(t, pool, statement)
	}
	if n, err := client.Cancel(t.Context(), jobs[2].ID); n != 1 || err != nil {
		t.Errorf("Cancel: %d, %v", n, err)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	if _, err := client.InsertMany(t.Context(), notes(3)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 3)
	dead, cancelled, running := jobs[0].ID, jobs[1].ID, jobs[2].ID
	if err := client.Fail(t.Context(), jobs[0], pawl.Dead(errBoom)); err != nil {
		t.Fatal(err)
	}
	if err := client.Fail(t.Context(), jobs[1], pawl.Cancel(errBoom)); err != nil {
		t.Fatal(err)
	}
	ready := insert(t, client, pawl.JobSpec{Args: Note{10}, Queue: "other"})
	scheduled := insert(t, client, pawl.JobSpec{Args: Note{11}, Delay: time.Hour})
	spent := insert(t, client, pawl.JobSpec{Args: Note{12}, MaxAttempts: 1})
	if err := client.Fail(t.Context(), claim(t, client, 1), errBoom); err != nil {
		t.Fatal(err)
	}
	await(t, client, spent, pawlstate.Dead)
	n, err := client.Retry(t.Context(), pawl.Filter{IDs: []pawl.ID{dead, cancelled, running, ready, scheduled, spent, 999}})
	if n != 4 || err != nil {
		t.Errorf("Retry changed %d, %v; want 4: what is ready, running or unknown is left", n, err)
	}
	for _, job := range jobs[:2] {
		if err := client.Complete(t.Context(), job); !errors.Is(err, pawl.ErrLeaseLost) {
			t.Errorf("who held the job before it was retried completed it: %v", err)
		}
	}
	again := claim(t, client, 10)
	var got []pawl.ID
	for _, job := range again {
		got = append(got, job.ID)
		if job.ID == spent && (job.Attempt != 2 || job.MaxAttempts != 2) {
			t.Errorf("a job out of attempts is tried again as %d of %d, want 2 of 2", job.Attempt, job.MaxAttempts)
		}
		if job.ID == dead && len(job.Errors) != 1 {
			t.Errorf("its errors are %v", job.Errors)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []pawl.ID{dead, cancelled, scheduled, spent}) {
		t.Errorf("claimed %v after Retry", got)
	}
	if err := client.Complete(t.Context(), again); err != nil {
		t.Error(err)
	}
}

func TestDeleteAndCancel(t *testing.T) {
	states := map[pawlstate.State]func(t *testing.T, c *pawl.Client) pawl.ID{
		pawlstate.Ready: func(t *testing.T, c *pawl.Client) pawl.ID { return insert(t, c, Note{1}) },
		pawlstate.Scheduled: func(t *testing.T, c *pawl.Client) pawl.ID {
			return insert(t, c, pawl.JobSpec{Args: Note{1}, Delay: time.Hour})
		},
		pawlstate.Running: func(t *testing.T, c *pawl.Client) pawl.ID { insert(t, c, Note{1}); return claim(t, c, 1)[0].ID },
		pawlstate.Completed: func(t *testing.T, c *pawl.Client) pawl.ID {
			insert(t, c, Note{1})
			jobs := claim(t, c, 1)
			if err := c.Complete(t.Context(), jobs); err != nil {
				t.Fatal(err)
			}
			return jobs[0].ID
		},
		pawlstate.Dead: func(t *testing.T, c *pawl.Client) pawl.ID {
			insert(t, c, Note{1})
			jobs := claim(t, c, 1)
			if err := c.Fail(t.Context(), jobs, pawl.Dead(nil)); err != nil {
				t.Fatal(err)
			}
			return jobs[0].ID
		},
	}
	for state, reach := range states {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := reach(t, client)
			finished := state == pawlstate.Completed || state == pawlstate.Dead
			want := int64(1)
			if finished {
				want = 0
			}
			if n, err := client.Cancel(t.Context(), id); n != want || err != nil {
				t.Errorf("Cancel: %d, %v", n, err)
			}
			job, err := client.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if !finished && job.State != pawlstate.Cancelled || finished && job.State != state {
				t.Errorf("after Cancel it is %s", job.State)
			}
			if n, err := client.Delete(t.Context(), id); n != 1 || err != nil {
				t.Errorf("Delete: %d, %v", n, err)
			}
			if _, err := client.Get(t.Context(), id); !errors.Is(err, pawl.ErrNotFound) {
				t.Errorf("after Delete: %v", err)
			}
			id = reach(t, client)
			if n, err := client.Delete(t.Context(), id); n != 1 || err != nil {
				t.Errorf("Delete: %d, %v", n, err)
			}
			if n := live(t, pool); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
}

// A job named twice is one job.
func TestAJobNamedTwice(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 2)
	if err := client.Complete(t.Context(), pawl.Jobs{jobs[0], jobs[0]}); err != nil {
		t.Errorf("Complete: %v", err)
	}
	if n := value[int](t, pool, "select count(*) from pawl.archive"); n != 1 {
		t.Errorf("the archive has the job %d times", n)
	}
	if err := client.Fail(t.Context(), pawl.Jobs{jobs[1], jobs[1]}, pawl.RetryAfter(time.Hour, errBoom)); err != nil {
		t.Errorf("Fail: %v", err)
	}
	if job, err := client.Get(t.Context(), jobs[1].ID); err != nil || job.Attempt != 1 || len(job.Errors) != 1 {
		t.Errorf("got %+v, %v", job, err)
	}
}
