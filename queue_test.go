package pawl_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func TestQueuesWithLiveJobs(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "running"})
	if jobs, err := client.Claim(t.Context(), "running", 1, 0); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "reserved", Reserve: time.Hour})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "ready"})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "scheduled", Delay: time.Hour})
	must(t, client.PauseQueue(t.Context(), "a"))
	queues, err := client.Queues(t.Context())
	must(t, err)
	var names []string
	for _, q := range queues {
		names = append(names, q.Name)
	}
	if want := []string{"a", "ready", "reserved", "running", "scheduled"}; !slices.Equal(names, want) {
		t.Errorf("queues are %v, want %v", names, want)
	}
	for _, q := range queues[1:] {
		if err := client.DeleteQueue(t.Context(), q.Name); !errors.Is(err, pawl.ErrQueueInUse) {
			t.Errorf("a queue with a %s job deleted: %v", q.Name, err)
		}
		wantCount(t, 1)(client.PurgeQueue(t.Context(), q.Name))
		if err := client.DeleteQueue(t.Context(), q.Name); !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("nothing was said of queue %s: %v", q.Name, err)
		}
		if _, err := client.PurgeQueue(t.Context(), q.Name); !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("nothing is known of queue %s: %v", q.Name, err)
		}
	}
	wantCount(t, 0)(client.PurgeQueue(t.Context(), "a"))
	must(t, client.DeleteQueue(t.Context(), "a"))
	if queues, err = client.Queues(t.Context()); err != nil || len(queues) != 0 {
		t.Errorf("queues are %+v, %v", queues, err)
	}
}

func TestDeleteQueueThatAWorkerNamed(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "q", MaxAttempts: 3}))
	all := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '1 minute')")
	named := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', '{q}', '1 minute')")
	if err := client.DeleteQueue(t.Context(), "q"); !errors.Is(err, pawl.ErrQueueInUse) {
		t.Errorf("deleted: %v", err)
	}
	exec(t, pool, "select pawl.unregister_worker($1)", named)
	must(t, client.DeleteQueue(t.Context(), "q"))
	exec(t, pool, "select pawl.unregister_worker($1)", all)
}

func TestPutQueueStoresThePolicy(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	policy := pawl.Queue{
		Name: "q", MaxAttempts: 7, Lease: 90 * time.Second, RetainCompleted: time.Hour, RetainCancelled: -1,
		RetainDead: 48 * time.Hour,
		Backoff:    pawl.Backoff{Base: 2 * time.Second, Max: time.Minute, Growth: 3, Power: 1.5, Jitter: 0.25},
	}
	if err := client.PutQueue(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "used"})
	insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "later", Delay: time.Hour})
	queues, err := client.Queues(t.Context())
	if err != nil || len(queues) != 3 || queues[0].Name != "later" || queues[1].Name != "q" || queues[2].Name != "used" {
		t.Fatalf("queues are %+v, %v", queues, err)
	}
	got := queues[1]
	if got.CreatedAt.IsZero() {
		t.Error("CreatedAt is zero")
	}
	got.CreatedAt = time.Time{}
	if !reflect.DeepEqual(got, policy) {
		t.Errorf("policy is %+v, want %+v", got, policy)
	}
	for _, wrong := range []pawl.Queue{{MaxAttempts: -1}, {MaxAttempts: 40_000}, {Lease: -1},
		{Weights: map[string]int{"a": 0}}, {Rate: pawl.Rate{Burst: 1}}, {Backoff: pawl.Backoff{Jitter: 2}}} {
		wrong.Name = "q"
		if err := client.PutQueue(t.Context(), wrong); err == nil {
			t.Errorf("PutQueue accepted %+v", wrong)
		}
	}
}

// Each retention has a default of its own.
func TestPutQueueOfOneRetention(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	finish := func() (completed, cancelled, dead time.Duration) {
		t.Helper()
		if _, err := client.InsertMany(t.Context(), notes(3)); err != nil {
			t.Fatal(err)
		}
		jobs := claim(t, client, 3)
		must(t, client.Complete(t.Context(), jobs[0]))
		must(t, client.Fail(t.Context(), jobs[1], pawl.Cancel(nil)))
		must(t, client.Fail(t.Context(), jobs[2], pawl.Dead(nil)))
		kept := func(id pawl.ID) time.Duration {
			seconds := value[int](t, pool, `select coalesce(max(extract(epoch from e - f)), 0)::int
				from (select expires_at, finished_at from pawl.archive where id = $1
				union all select expires_at, finished_at from pawl.dead where id = $1) x (e, f)`, int64(id))
			return time.Duration(seconds) * time.Second
		}
		return kept(jobs[0].ID), kept(jobs[1].ID), kept(jobs[2].ID)
	}
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		queue                      pawl.Queue
		completed, cancelled, dead time.Duration
	}{
		"defaults":  {pawl.Queue{}, day, day, 30 * day},
		"completed": {pawl.Queue{RetainCompleted: 3 * day}, 3 * day, day, 30 * day},
		"cancelled": {pawl.Queue{RetainCancelled: 3 * day}, day, 3 * day, 30 * day},
		"dead":      {pawl.Queue{RetainDead: 3 * day}, day, day, 3 * day},
		"at once":   {pawl.Queue{RetainCompleted: -1}, 0, day, 30 * day},
	} {
		c.queue.Name = "default"
		must(t, client.PutQueue(t.Context(), c.queue))
		if completed, cancelled, dead := finish(); completed != c.completed || cancelled != c.cancelled || dead != c.dead {
			t.Errorf("%s: kept for %v, %v and %v, want %v, %v and %v", name, completed, cancelled, dead, c.completed,
				c.cancelled, c.dead)
		}
		queues, err := client.Queues(t.Context())
		must(t, err)
		if q := queues[0]; q.RetainCompleted != c.queue.RetainCompleted || q.RetainCancelled != c.queue.RetainCancelled ||
			q.RetainDead != c.queue.RetainDead {
			t.Errorf("%s: Queues has %v, %v and %v", name, q.RetainCompleted, q.RetainCancelled, q.RetainDead)
		}
	}
}
