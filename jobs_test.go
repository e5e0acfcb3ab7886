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
	"github.com/pawlhq/pawl/pawlstate"
)

// Note is the args type of most tests.
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

// note returns the args of a job.
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
	return fmt.Sprint(job.Kind, " ", job.Queue, " ", job.Priority, " ", job.Fingerprint, " ", job.Headers["by"], " ",
		job.State)
}

// insert inserts one job and returns its id.
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

// claimAll claims until a claim finds no job, and returns the jobs.
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

// numbers returns the numbers in the args of jobs.
func numbers(t testing.TB, jobs pawl.Jobs) []int {
	t.Helper()
	list := make([]int, len(jobs))
	for i, job := range jobs {
		list[i] = note(t, job).N
	}
	return list
}

// liveRows counts the rows of unfinished jobs and of their tickets. It does not count leases.
func liveRows(t testing.TB, pool *pgxpool.Pool) int {
	t.Helper()
	return value[int](t, pool, "select (select count(*) from pawl.job) + (select count(*) from pawl.ready) + (select "+
		"count(*) from pawl.scheduled)")
}

// runFollowups runs the followups, which maintenance does within a second.
func runFollowups(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, "select * from pawl.run_followups(1000)")
}

const hour = 60 * time.Minute

var errBoom = errors.New("boom")

// jobInEachState inserts one job in each state and returns their ids by state. The jobs differ in their fields.
func jobInEachState(t testing.TB, client *pawl.Client) map[pawlstate.State]pawl.ID {
	t.Helper()
	ids := map[pawlstate.State]pawl.ID{}
	for _, state := range []pawlstate.State{pawlstate.Completed, pawlstate.Dead, pawlstate.Running} {
		ids[state] = insert(t, client, pawl.JobSpec{Args: Note{1}, Fingerprint: "f"})
		jobs := claim(t, client, 1)
		switch state {
		case pawlstate.Completed:
			must(t, client.Complete(t.Context(), jobs))
		case pawlstate.Dead:
			must(t, client.Fail(t.Context(), jobs, pawl.Dead(errBoom)))
		}
	}
	ids[pawlstate.Cancelled] = insert(t, client, Note{2})
	wantCount(t, 1)(client.Cancel(t.Context(), ids[pawlstate.Cancelled]))
	ids[pawlstate.Reserved] = insert(t, client, pawl.JobSpec{Args: Note{3}, Reserve: time.Hour})
	ids[pawlstate.Waiting] = insert(t, client, pawl.JobSpec{Args: Note{4}, AfterOK: []pawl.ID{ids[pawlstate.Running]}})
	ids[pawlstate.Scheduled] = insert(t, client,
		pawl.JobSpec{Args: Note{5}, Delay: time.Hour, Unique: pawl.Unique{Key: "k"}})
	ids[pawlstate.Ready] = insert(t, client, pawl.JobSpec{Args: Note{6}, Queue: "other", Channel: "c"})
	return ids
}

func ordered(channel string, n int) pawl.JobSpec {
	return pawl.JobSpec{Args: Note{n}, Channel: channel, Ordered: true}
}
