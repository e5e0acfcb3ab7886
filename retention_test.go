package pawl_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestTheArchiveKeepsAFinishedJobWhole(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, pawl.JobSpec{
		Args: Note{7}, Data: []byte("data"), Channel: "c", Priority: 3, MaxAttempts: 5, Fingerprint: "f",
		Headers: map[string]string{"trace": "1"}, Backoff: pawl.Backoff{Base: time.Hour},
	})
	jobs := claim(t, client, 1)
	must(t, client.Fail(t.Context(), jobs, pawl.RetryAfter(0, errBoom)))
	jobs = claim(t, client, 1)
	if jobs[0].Attempt != 2 || len(jobs[0].Errors) != 1 || jobs[0].Errors[0].Error != "boom" {
		t.Errorf("the second attempt is %d with errors %v", jobs[0].Attempt, jobs[0].Errors)
	}
	must(t, client.Complete(t.Context(), jobs))
	job, err := client.Get(t.Context(), id)
	must(t, err)
	if job.State != pawlstate.Completed || note(t, job).N != 7 || string(job.Data) != "data" ||
		job.Channel != "c" || job.Priority != 3 || job.Attempt != 2 || job.MaxAttempts != 5 ||
		job.Fingerprint != "f" || job.Headers["trace"] != "1" || len(job.Errors) != 1 || job.FinishedAt.IsZero() {
		t.Errorf("the archived job is %+v", job)
	}
	keep := value[float64](t, pool, "select extract(epoch from expires_at - finished_at)::float8 from pawl.archive")
	if keep != 24*3600 {
		t.Errorf("the job is kept for %v s, want a day", keep)
	}
	const untimed = "select count(*) from pawl.archive where waited_ms is null or ran_ms is null"
	if n := value[int](t, pool, untimed); n != 0 {
		t.Error("the archive has no times of waiting and running")
	}
	if err := client.Complete(t.Context(), jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("completing the job again returned %v, want ErrLeaseLost", err)
	}
}

func TestAQueueKeepsFinishedJobsForItsRetention(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	put := func(completed, cancelled, dead time.Duration) {
		t.Helper()
		queue := pawl.Queue{
			Name: "default", RetainCompleted: completed, RetainCancelled: cancelled, RetainDead: dead,
		}
		if err := client.PutQueue(t.Context(), queue); err != nil {
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
		t.Errorf("retention zero, Keep: got %+v, %v", job, err)
	}
	// This retention needs partitions that do not exist yet.
	put(40*24*time.Hour, 50*24*time.Hour, time.Hour)
	completed, archived, cancelled, removed, dead = finish()
	for id, want := range map[pawl.ID]pawlstate.State{
		completed: pawlstate.Completed, archived: pawlstate.Completed,
		cancelled: pawlstate.Cancelled, removed: pawlstate.Cancelled, dead: pawlstate.Dead,
	} {
		if job, err := client.Get(t.Context(), id); err != nil || job.State != want {
			t.Errorf("got %+v, %v, want the state %s", job, err, want)
		}
	}
	exec(t, pool, "update pawl.dead set expires_at = clock_timestamp()")
	if _, err := client.Get(t.Context(), dead); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("a dead job past its retention: %v", err)
	}
}

// No process did maintenance for longer than partitions were made ahead. Then finishes make the partition that they
// need.
func TestAFinishMakesAMissingPartition(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var drop []string
	const partitions = "select inhrelid::regclass::text from pg_inherits where inhparent = 'pawl.archive_chunk'::regclass"
	for _, name := range values[string](t, pool, partitions) {
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
