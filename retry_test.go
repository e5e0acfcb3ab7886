package pawl_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

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
