package pawl_test

import (
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// left has the jobs that the old binary leaves in states that only a call changes.
type left struct{ far, reserved, abort, dead, cancelled, unique, completed, batch int64 }

// fill inserts jobs of every state, for the workers of both versions.
func (f *fleet) fill() (l left) {
	t, ctx := f.t, f.t.Context()
	t.Helper()
	work := func() Work { return Work{N: f.next()} }
	constrained := func(job Work, spec map[string]any) int64 {
		t.Helper()
		id, err := f.constrained(ctx, f.pool, job, spec)
		must(t, err)
		return id
	}
	put := func(queue string, halting bool, running *int32) {
		t.Helper()
		f.must("insert into pawl.queue as q (name", queue, nil, nil, nil, nil, nil, nil, halting, running, nil,
			nil, nil, nil)
	}
	plain := func(queue string, delay *float64) int64 {
		t.Helper()
		id, err := f.insert(ctx, queue, "", 0, delay, work())
		must(t, err)
		return id
	}
	three, hour, soon := int32(3), 3600.0, 0.5
	put("limited", false, &three)
	put("halting", true, nil)

	for range 20 {
		plain("plain", nil) // Ready,
		plain("limited", nil)
		plain("plain", &soon) // scheduled,
	}
	l.far = plain("plain", &hour)
	l.reserved = constrained(Work{N: -1}, map[string]any{"reserve": 600}) // reserved,
	l.abort = constrained(Work{N: -2}, map[string]any{"reserve": 600})
	f.accept("reserved", -1)
	parent := plain("plain", &soon)
	child := work()
	// waiting,
	constrained(child, map[string]any{"queue": "plain", "after": []any{map[string]any{"id": parent, "on": "ok"}}})
	f.accept("waiting", child.N)

	plain("held", nil)
	short := "1 second"
	f.claim("held", nil, &short) // claimed by a consumer that never returns,
	plain("held", nil)
	silent := f.must("select pawl.register_worker(", "silent", "host", 1, "old", nil, "1 second",
		"ready")[0]["register_worker"].(int64)
	f.claim("held", &silent, nil) // and by a worker that sends no heartbeat.

	said := `{"error": "no"}`
	l.dead = plain("ends", nil)
	ids, epochs := f.claim("ends", nil, nil)
	f.must("select * from pawl.fail(", ids, epochs, []string{"dead"}, []*float64{nil}, []*string{nil},
		[]*string{&said}, []int64{1}, []int64{1}, "old")
	l.cancelled = plain("ends", nil)
	f.must("select pawl.remove(", []int64{l.cancelled}, []*int32{nil}, true)
	if l.completed, _ = f.insert(ctx, "ends", "", 0, nil, Work{N: -3}); l.completed == 0 {
		t.Fatal("nothing to complete")
	}
	ids, epochs = f.claim("ends", nil, nil)
	f.must("select pawl.checkpoint(", ids[0], epochs[0], `{"value": {"page": 7}}`)
	f.must("select pawl.complete(", ids, epochs, []int64{1}, []int64{1}, []*string{nil}, "old", []int64{}, []string{})
	f.mu.Lock()
	delete(f.due, -3)
	f.mu.Unlock()

	constrained(Work{N: -4}, map[string]any{"queue": "halting",
		"ordered": true}) // An ordered channel whose first job died,
	second := work()
	constrained(second, map[string]any{"queue": "halting", "ordered": true})
	f.accept("halted", second.N)
	ids, epochs = f.claim("halting", nil, nil)
	f.must("select * from pawl.fail(", ids, epochs, []string{"dead"}, []*float64{nil}, []*string{nil},
		[]*string{&said}, []int64{1}, []int64{1}, "old")
	f.must("select * from pawl.run_followups(", 100)
	if n := value[int](t, f.pool, "select count(*) from pawl.halted_channel"); n != 1 {
		t.Fatalf("%d channels are halted", n)
	}

	keyed := work()
	l.unique = constrained(keyed, map[string]any{"queue": "plain", "key": "only one", "delay": 3600}) // a unique key,
	f.accept("unique", keyed.N)

	l.batch = f.must("select nextval(")[0]["nextval"].(int64) // a batch,
	after, part := work(), work()
	follow, _ := json.Marshal([]any{map[string]any{"kind": "work", "queue": "plain", "args": after}})
	must(t, pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		if _, err := f.say(ctx, tx, "select pawl.insert_batch(", l.batch, string(follow), nil, nil); err != nil {
			return err
		}
		_, err := f.constrained(ctx, tx, part, map[string]any{"queue": "plain", "opts": map[string]any{"batch": l.batch}})
		return err
	}))
	f.accept("batch", after.N, part.N)

	tick := work() // and a schedule.
	job, _ := json.Marshal(map[string]any{"kind": "work", "queue": "plain", "args": tick})
	f.must("select pawl.put_cron(", []string{"hourly"}, []string{"@every 1h"}, []string{"UTC"}, []string{string(job)},
		[]string{"0 seconds"}, []int32{1}, []int32{0},
		[]time.Time{value[time.Time](t, f.pool, "select clock_timestamp() + interval '1 second'")})
	f.accept("cron", tick.N)
	return l
}

// partitions makes the archive's partitions, as the old binary's maintenance does.
func (f *fleet) partitions() {
	f.t.Helper()
	f.must("select pawl.make_partitions(", 7)
}
