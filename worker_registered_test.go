package pawl_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestAWorkerThatIsNotRegisteredCannotClaim(t *testing.T) {
	t.Parallel()
	worker := &pawl.Worker{Name: "w"}
	_, err := worker.Claim(t.Context(), "default", 1, 0)
	if err == nil || !strings.Contains(err.Error(), "RegisterWorker") {
		t.Errorf("Claim: %v, want an error that says RegisterWorker", err)
	}
	if _, err := worker.Heartbeat(t.Context()); err == nil || !strings.Contains(err.Error(), "RegisterWorker") {
		t.Errorf("Heartbeat: %v, want an error that says RegisterWorker", err)
	}
}

func TestAWrongWorkerIsNotRegistered(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	for _, wrong := range []pawl.Worker{
		{}, {Name: "w", StaleAfter: -1}, {Name: "w\x00"}, {Name: "w", Queues: []string{strings.Repeat("q", 256)}},
	} {
		if _, err := client.RegisterWorker(t.Context(), wrong); err == nil {
			t.Errorf("%+v was registered", wrong)
		}
	}
}

func TestARegisteredWorkerClaimsInItsName(t *testing.T) {
	t.Parallel()
	client, pool, worker := registerWorker(t, pawl.Worker{
		Name: "anna", Host: "h", Queues: []string{"default"}, StaleAfter: time.Hour, PID: 7, State: "stopped",
	}, 6)
	jobs := claim(t, worker, 2)
	w := theWorker(t, client)
	if w.Name != "anna" || w.PID != 0 || w.State != "ready" || w.Running != 2 || w.StaleAfter != time.Hour ||
		!slices.Equal(w.Queues, worker.Queues) {
		t.Errorf("the worker is %+v", w)
	}
	claimed := mustValue(client.Claimed(t.Context(), jobs[0].ID))
	if len(claimed) != 1 || claimed[0].LeaseUntil.IsZero() || claimed[0].Worker != "anna" {
		t.Errorf("the claimed jobs are %+v", claimed)
	}
	must(t, client.Complete(t.Context(), jobs[0]))
	if job := await(t, client, jobs[0].ID, pawlstate.Completed); job.Worker != "anna" {
		t.Errorf("the job was completed by %q, want anna", job.Worker)
	}
	state, err := worker.Heartbeat(t.Context())
	if running := theWorker(t, client).Running; state != "ready" || err != nil || running != 1 {
		t.Errorf("the heartbeat returned %q, %v, and the worker runs %d jobs; want ready and one job",
			state, err, running)
	}
	tx := begin(t, pool)
	workers, err := client.With(tx).Workers(t.Context())
	must(t, err)
	if jobs := claim(t, &workers[0], 1); jobs[0].Worker != "anna" {
		t.Errorf("in a transaction the job was claimed by %q, want anna", jobs[0].Worker)
	}
	must(t, tx.Rollback(t.Context()))
	expireLeases(t, pool) // The lease expires although the worker lives.
	if err := client.Complete(t.Context(), jobs[1]); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("completed after the lease: %v, want ErrLeaseLost", err)
	}
}

func TestASuspendedRegisteredWorkerClaimsNothing(t *testing.T) {
	t.Parallel()
	client, _, worker := registerWorker(t, pawl.Worker{Name: "anna"}, 1)
	must(t, client.SuspendWorker(t.Context(), worker.ID))
	if state, _ := worker.Heartbeat(t.Context()); state != "suspended" {
		t.Errorf("the heartbeat returned %q, want suspended", state)
	}
	if jobs, err := worker.Claim(t.Context(), "default", 1, 0); len(jobs) > 0 || err != nil {
		t.Errorf("a suspended worker claimed %d jobs, %v", len(jobs), err)
	}
	must(t, client.ResumeWorker(t.Context(), worker.ID))
	claim(t, worker, 1)
}

func TestAStaleRegisteredWorkerLosesItsJobs(t *testing.T) {
	t.Parallel()
	client, pool, worker := registerWorker(t, pawl.Worker{Name: "anna", StaleAfter: time.Hour}, 2)
	jobs := claim(t, worker, 1)
	exec(t, pool, "update pawl.worker set stale_after = '0'")
	pgtest.Wait(t, "the rescue", func() bool {
		return value[int](t, pool, "select jobs from pawl.rescue(10, true, true)") == 1
	})
	if err := client.Complete(t.Context(), jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("a lost worker completed its job: %v, want ErrLeaseLost", err)
	}
	if _, err := worker.Heartbeat(t.Context()); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("heartbeat of a lost worker: %v, want ErrNotFound", err)
	}
	if _, err := worker.Claim(t.Context(), "default", 1, 0); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("claim of a lost worker: %v, want ErrNotFound", err)
	}
	n, err := client.PurgeWorkers(t.Context(), time.Hour, worker.ID)
	if n != 0 || err == nil || errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("purged %d workers that have not been gone for an hour: %v", n, err)
	}
	wantCount(t, 1)(client.PurgeWorkers(t.Context(), 0, worker.ID))
	if n, err := client.PurgeWorkers(t.Context(), 0, worker.ID); n != 0 || !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("purged %d workers a second time: %v, want ErrNotFound", n, err)
	}
}

func TestAStoppedRegisteredWorkerGivesItsJobsBackWithoutACrash(t *testing.T) {
	t.Parallel()
	client, pool, worker := registerWorker(t, pawl.Worker{Name: "bert"}, 1)
	job := claim(t, worker, 1)[0]
	n, err := client.PurgeWorkers(t.Context(), 0, worker.ID)
	if n != 0 || err == nil || !strings.Contains(err.Error(), "StopWorker") {
		t.Errorf("purged %d workers that live: %v", n, err)
	}
	must(t, client.StopWorker(t.Context(), worker.ID))
	if w := theWorker(t, client); w.State != "stopped" || w.GoneAt.IsZero() || w.StaleAfter != 9*time.Second {
		t.Errorf("the stopped worker is %+v", w)
	}
	await(t, client, job.ID, pawlstate.Ready)
	if n := value[int](t, pool, "select crashes from pawl.job where id = $1", int64(job.ID)); n != 0 {
		t.Errorf("the job has %d crashes, want none", n)
	}
}

func TestAWorkerWithJobsToRescueIsNotPurged(t *testing.T) {
	t.Parallel()
	client, pool, worker := registerWorker(t, pawl.Worker{Name: "bert"}, 1)
	claim(t, worker, 1)
	exec(t, pool, "update pawl.worker set gone_at = clock_timestamp(), state = 'lost'")
	n, err := client.PurgeWorkers(t.Context(), 0, worker.ID)
	if n != 0 || err == nil || !strings.Contains(err.Error(), "ReleaseWorker") {
		t.Errorf("purged %d workers whose jobs are not rescued: %v", n, err)
	}
}
