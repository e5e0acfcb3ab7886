package pawltest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func TestAdvance(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	var ran []int
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[note]) error {
		ran = append(ran, job.Args.N)
		return nil
	})
	ctx := t.Context()
	insert(t, client, pawl.JobSpec{Args: note{3}, Delay: 3 * time.Hour}, pawl.JobSpec{Args: note{2}, Delay: 2 * time.Hour},
		pawl.JobSpec{Args: note{1}, Delay: time.Hour}, pawl.JobSpec{Args: note{0}})
	pawltest.Drain(t, client, mux, "default")
	pawltest.Advance(t, client, 59*time.Minute)
	pawltest.Drain(t, client, mux, "default")
	if !slices.Equal(ran, []int{0}) {
		t.Fatalf("too early: %v", ran)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	pawltest.Drain(t, client, mux, "default")
	if !slices.Equal(ran, []int{0, 1, 2}) {
		t.Fatalf("after two hours: %v", ran)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	pawltest.Drain(t, client, mux, "default")
	if !slices.Equal(ran, []int{0, 1, 2, 3}) {
		t.Fatalf("after three hours: %v", ran)
	}

	reserved := insert(t, client, pawl.JobSpec{Args: note{8}, Reserve: time.Hour})[0]
	pawltest.Advance(t, client, 30*time.Minute)
	if job, err := client.Get(ctx, reserved); err != nil || job.State != pawlstate.Reserved {
		t.Errorf("half its time later a reservation is %v, %v", job, err)
	}
	pawltest.Advance(t, client, 31*time.Minute)
	if err := client.CommitReserved(ctx, reserved); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("commit of an expired reservation: %v", err)
	}

	key := pawl.JobSpec{Args: note{9}, Unique: pawl.Unique{Key: "k", Period: time.Hour}}
	insert(t, client, key)
	pawltest.RunOne(t, client, mux)
	if again, err := client.Insert(ctx, key); err != nil || !again.Duplicate {
		t.Errorf("within the key's period: %+v, %v", again, err)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	if again, err := client.Insert(ctx, key); err != nil || again.Duplicate {
		t.Errorf("after the key's period: %+v, %v", again, err)
	}
	jobs, err := client.Claim(ctx, "default", 1, time.Hour)
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	if err := client.Complete(ctx, jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("complete after the lease's end: %v", err)
	}
	pawltest.RunOne(t, client, mux)
	contains(t, ends(t, func(t testing.TB) { pawltest.Advance(t, client, 0) }), "positive")
}

// A waiting job's due time passes too.
func TestAdvanceWaiting(t *testing.T) {
	t.Parallel()
	client := install(t)
	first := insert(t, client, pawl.JobSpec{Args: note{1}})
	second := insert(t, client, pawl.JobSpec{Args: note{2}, Delay: time.Hour, AfterOK: first})[0]
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	pawltest.Advance(t, client, time.Hour)
	pawltest.RunOne(t, client, mux)
	if job := pawltest.RunOne(t, client, mux); job.ID != second || job.State != pawlstate.Completed {
		t.Errorf("job %d is %s", job.ID, job.State)
	}
}

// A consumer that has promoted before finds what Advance made due: its floor is not above it.
func TestAdvanceBesideConsumer(t *testing.T) {
	t.Parallel()
	client := install(t)
	for n := range 5 {
		insert(t, client, pawl.JobSpec{Args: note{n}, Delay: time.Hour})
		if jobs, err := client.Claim(t.Context(), "default", 10, time.Minute); err != nil || len(jobs) > 0 {
			t.Fatal(jobs, err)
		}
		pawltest.Advance(t, client, 2*time.Hour)
		jobs, err := client.Claim(t.Context(), "default", 10, time.Minute)
		if err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		if err := client.Complete(t.Context(), jobs); err != nil {
			t.Fatal(err)
		}
	}
}
