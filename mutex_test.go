package pawl_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
)

// Calls that insert into several ordered channels at once take the channels' mutexes in one order, whatever the order
// of the jobs, and whether the channels are new, in use or idle. So they do not deadlock.
func TestInsertsIntoManyChannelsDoNotDeadlock(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var inserting, pruning sync.WaitGroup
	done := make(chan struct{})
	for seed := range uint64(5) {
		inserting.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			for range 30 {
				var specs []string
				for _, channel := range random.Perm(10)[:5] {
					specs = append(specs, fmt.Sprintf(
						`{"kind": "note", "channel": "c%d", "ordered": true, "opts": {"ordered": true}}`, channel))
				}
				err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					_, err := tx.Exec(t.Context(), `select pawl.remove(array_agg(i.id), array_agg(null::integer), false)
						from pawl.insert_constrained($1::text::jsonb) i`, "["+strings.Join(specs, ", ")+"]")
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	pruned := int64(0)
	pruning.Go(func() {
		for {
			runFollowups(t, pool)
			pruned += value[int64](t, pool, "select pawl.prune_mutexes(1000)")
			select {
			case <-done:
				return
			default:
			}
		}
	})
	inserting.Wait()
	close(done)
	pruning.Wait()
	if pruned == 0 {
		t.Error("no mutex was pruned meanwhile: the test shows little")
	}
	checkInvariant(t, client)
}

// A mutex in use is not pruned. After a mutex was lost, the channel moves on.
func TestMutexesArePrunedWhenIdle(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	names := func() string {
		return value[string](t, pool, `select coalesce(string_agg(concat_ws(' ', kind, queue, name), ', ' order by kind), '')
			from pawl.mutex where kind <> 'duty'`)
	}
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 5}))
	for n := range 2 {
		insert(t, client, ordered("c", n))
	}
	jobs := claim(t, client, 1)
	_, err := client.Semaphore(1, func(*pawl.JobInfo) []string { return []string{"key"} })(t.Context(), jobs[0])
	must(t, err)
	const used = "channel default c, limit default , semaphore  key"
	exec(t, pool, "select pawl.prune_mutexes(1000)")
	if got := names(); got != used {
		t.Errorf("the mutexes are %q, want %q", got, used)
	}
	exec(t, pool, "delete from pawl.mutex where kind = 'channel'")
	must(t, client.Complete(t.Context(), jobs))
	exec(t, pool, "select pawl.prune_mutexes(1000)")
	runFollowups(t, pool)
	must(t, client.Complete(t.Context(), claim(t, client, 1)))
	runFollowups(t, pool)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default"}))
	tx := begin(t, pool)
	exec(t, tx, "select from pawl.mutex where kind = 'channel' for update")
	exec(t, pool, "select pawl.prune_mutexes(1000)")
	if got := names(); got != "channel default c" {
		t.Errorf("beside a transaction that has locked one the mutexes are %q", got)
	}
	commit(t, tx)
	exec(t, pool, "select pawl.prune_mutexes(1000)")
	if got := names(); got != "" {
		t.Errorf("the mutexes are %q, want none", got)
	}
}

// An open transaction that has claimed from a limited queue keeps other claims from the queue. It does not keep anyone
// from pausing it.
func TestAnOpenClaimOfALimitedQueueDelaysNoPause(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 5}))
	for n := range 2 {
		insert(t, client, Note{n})
	}
	tx := begin(t, pool)
	exec(t, tx, "select from pawl.claim('default', 1)")
	if jobs, err := client.Claim(t.Context(), "default", 1, time.Minute); err != nil || len(jobs) > 0 {
		t.Errorf("claimed %d beside an open claim: %v", len(jobs), err)
	}
	other := begin(t, pool)
	exec(t, other, "set local lock_timeout = '5s'")
	must(t, client.With(other).PauseQueue(t.Context(), "default"))
	must(t, client.With(other).ResumeQueue(t.Context(), "default"))
	commit(t, other)
	commit(t, tx)
	claim(t, client, 1)
}

// A queue whose rate or weights cannot be read gives nothing, or has weight 1. Other queues are claimed from.
func TestAPolicyThatCannotBeReadStopsNoOtherQueue(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for _, rate := range []string{
		`{"n": 0, "per": 0, "burst": 0}`, `{"n": "x"}`, `[]`, `{"n": 1, "per": 1e300, "burst": 1}`,
	} {
		exec(t, pool, `insert into pawl.queue (name, rate, channel_rate, weights)
			values ('bad', $1::text::jsonb, $1::text::jsonb, '{"a": "x", "b": -5}')
			on conflict (name) do update set rate = excluded.rate`, rate)
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "bad"})
		insert(t, client, Note{2})
		rows, err := pool.Query(t.Context(), `select id from pawl.claim(gen_random_uuid(), null, '1 minute', 10,
			array['bad', 'default'], array[0, 0], array['', ''], array[0, 0]::bigint[],
			array[9223372036854775807, 9223372036854775807], array[5, 5]) where found`)
		must(t, err)
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || len(ids) != 1 {
			t.Errorf("with the rate %s: claimed %d: %v", rate, len(ids), err)
		}
	}
	if jobs := claimAll(t, client); len(jobs) != 0 {
		t.Errorf("claimed %d more", len(jobs))
	}
}
