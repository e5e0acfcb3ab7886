package pawl_test

import (
	"fmt"
	"testing"

	"github.com/pawlhq/pawl"
)

func TestSemaphoreLimitsRunningJobs(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	permit := client.Semaphore(2, func(job *pawl.JobInfo) []string { return []string{"b", "a " + job.Channel, "b"} })
	jobs := notes(4)
	for i := range jobs {
		jobs[i].Channel = fmt.Sprint(i % 2)
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	claimed := claimAll(t, client)
	var releases []func()
	for i, job := range claimed {
		release, err := permit(t.Context(), job)
		if (err != nil) != (i >= 2) {
			t.Fatalf("job %d: %v", i, err)
		}
		if release != nil {
			releases = append(releases, release)
		}
	}
	if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 4 {
		t.Errorf("%d permits, want two keys of two jobs", n)
	}
	releases[0]()
	if _, err := permit(t.Context(), claimed[3]); err != nil {
		t.Errorf("after a release: %v", err)
	}
	exec(t, pool, "delete from pawl.lease") // A crash.
	exec(t, pool, "select pawl.drop_stale_permits()")
	if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 0 {
		t.Errorf("%d permits are left of the lost worker", n)
	}
	returnTickets(t, pool)
}
