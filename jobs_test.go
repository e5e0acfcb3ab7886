package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// Note is the args of most tests.
type Note struct {
	N int `json:"n"`
}

func (Note) Kind() string { return "note" }

func notes(n int) []pawl.JobSpec {
	jobs := make([]pawl.JobSpec, n)
	for i := range jobs {
		jobs[i].Args = Note{i}
	}
	return jobs
}

// note is a job's args.
func note(t testing.TB, job *pawl.JobInfo) (n Note) {
	t.Helper()
	if err := json.Unmarshal(job.Args, &n); err != nil {
		t.Fatalf("args of job %d: %v", job.ID, err)
	}
	return n
}

func described(t testing.TB, client *pawl.Client, id pawl.ID) string {
	t.Helper()
	job, err := client.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(job.Kind, " ", job.Queue, " ", job.Priority, " ", job.Fingerprint, " ", job.Headers["by"], " ", job.State)
}

// insert puts in one job that must be accepted.
func insert(t testing.TB, client *pawl.Client, job pawl.Args) pawl.ID {
	t.Helper()
	result, err := client.Insert(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return result.ID
}

// claim takes up to n jobs of the default queue, at least one.
func claim(t testing.TB, claimer interface {
	Claim(ctx context.Context, queue string, n int, lease time.Duration, kinds ...string) (pawl.Jobs, error)
}, n int) pawl.Jobs {
	t.Helper()
	jobs, err := claimer.Claim(t.Context(), "default", n, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) == 0 {
		t.Fatal("there was nothing to claim")
	}
	return jobs
}

// claimAll claims what there is, sweeping until a claim finds nothing.
func claimAll(t testing.TB, client *pawl.Client) pawl.Jobs {
	t.Helper()
	var all pawl.Jobs
	for {
		jobs, err := client.Claim(t.Context(), "default", 100, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == 0 {
			return all
		}
		all = append(all, jobs...)
	}
}

// numbers are the args of jobs.
func numbers(t testing.TB, jobs pawl.Jobs) []int {
	t.Helper()
	list := make([]int, len(jobs))
	for i, job := range jobs {
		list[i] = note(t, job).N
	}
	return list
}

// live counts the rows of everything a job that is not finished has, but leases.
func live(t testing.TB, pool *pgxpool.Pool) int {
	t.Helper()
	return value[int](t, pool, "select (select count(*) from pawl.job) + (select count(*) from pawl.ready) + (select count(*) from pawl.scheduled)")
}

// runFollowups runs the followups, which maintenance does within a second.
func runFollowups(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, "select * from pawl.run_followups(1000)")
}

const hour = 60 * time.Minute

var errBoom = errors.New("boom")
