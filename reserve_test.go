package pawl_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestTwoPhase(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	reserve := func(n int) pawl.ID {
		return insert(t, client, pawl.JobSpec{Args: Note{n}, Reserve: time.Minute})
	}
	a, b, c, d := reserve(1), reserve(2), reserve(3), reserve(4)
	await(t, client, a, pawlstate.Reserved)
	if jobs := claimAll(t, client); len(jobs) != 0 {
		t.Fatalf("claimed %v, which are reserved", numbers(t, jobs))
	}
	must(t, client.CommitReserved(t.Context(), a))
	if err := client.CommitReserved(t.Context(), a); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("committed twice: %v", err)
	}
	must(t, client.AbortReserved(t.Context(), b))
	if _, err := client.Get(t.Context(), b); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("after the abort: %v", err)
	}
	must(t, client.ExtendReserved(t.Context(), time.Hour, c))
	exec(t, pool, "update pawl.blocked set expires_at = expires_at - interval '30 minutes'")
	if err := client.CommitReserved(t.Context(), c, d); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("one of them had expired: %v", err)
	}
	exec(t, pool, "select pawl.expire(10)")
	if _, err := client.Get(t.Context(), d); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	must(t, client.CommitReserved(t.Context(), c))
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("claimed %v", got)
	}
}

// A reserved head keeps its place, and its channel waits for it.
func TestTwoPhaseInAnOrderedChannel(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	spec := ordered("c", 0)
	spec.Reserve = time.Minute
	head := insert(t, client, spec)
	insert(t, client, ordered("c", 1))
	if jobs := claimAll(t, client); len(jobs) != 0 {
		t.Fatalf("claimed %v behind a reserved head", numbers(t, jobs))
	}
	must(t, client.CommitReserved(t.Context(), head))
	jobs := claimAll(t, client)
	if got := numbers(t, jobs); !slices.Equal(got, []int{0}) {
		t.Fatalf("claimed %v", got)
	}
	must(t, client.Complete(t.Context(), jobs))
	runFollowups(t, pool)
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
		t.Errorf("claimed %v", got)
	}
}

// A commit wakes a runner that sleeps.
func TestCommitWakes(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	g, mux := newGate(), new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Reserve: time.Minute})
	start(t, client, mux, pawl.RunnerConfig{PollInterval: time.Hour, Queues: map[string]pawl.RunnerQueue{"default": {}}})
	awaitSleepers(t, pool, 1)
	must(t, client.CommitReserved(t.Context(), id))
	receive(t, "the committed job", g.running)
	close(g.leave)
	await(t, client, id, pawlstate.Completed)
}
