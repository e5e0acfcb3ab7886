package pawl_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// hostileCalls are calls that a role may make and that would make calls of other roles fail, or leave rows that Verify
// reports.
var hostileCalls = []struct{ role, what, call string }{
	{"producer", "a batch whose callback is no job", "insert_batch(nextval('pawl.pos'), '5', null, null)"},
	{"producer", "a batch whose callback has no kind", `insert_batch(nextval('pawl.pos'), '[{"args": 1}]', null, null)`},
	{"producer", "a batch whose callback waits for a later job",
		`insert_batch(nextval('pawl.pos'), null, '[{"kind": "x", "after": [{"id": 999999999}]}]', null)`},
	{"producer", "a batch whose callback is reserved",
		`insert_batch(nextval('pawl.pos'), null, null, '[{"kind": "x", "reserve": 5}]')`},
	{"producer", "a batch with an id of the future", "insert_batch(9223372036854775807, null, null, null)"},
	{"producer", "a batch without an id", "insert_batch(null, null, null, null)"},
	{"producer", "a job of another's batch", `insert_constrained('[{"kind": "x", "opts": {"batch": 1}}]')`},
	{"producer", "a job of a batch that is none", `insert_constrained('[{"kind": "x", "opts": {"batch": "y"}}]')`},
	{"producer", "a job due never", `insert_constrained('[{"kind": "x", "run_at": "infinity"}]')`},
	{"producer", "a job whose options no claim reads", `insert_constrained('[{"kind": "x", "opts": {"headers": 5}}]')`},
	{"producer", "a job whose errors no claim reads", `insert_constrained('[{"kind": "x", "errors": [5]}]')`},
	{"producer", "an ordered job without a place", `insert_constrained('[{"kind": "x", "opts": {"ordered": true}}]')`},
	{"producer", "a job that has used too many attempts", `insert_constrained('[{"kind": "x", "attempt": 32767}]')`},
	{"producer", "jobs that are none", `insert_constrained('{"kind": "x"}')`},
	{"producer", "a job due never", `insert('{q}', '{""}', '{0}', '{x}', array['{}'], array[null]::bytea[],
		array[null]::float8[], '{infinity}', array[null]::smallint[], array[null], array[null])`},
	{"producer", "an ordered job without a place", `insert('{q}', '{""}', '{0}', '{x}', array['{}'], array[null]::bytea[],
		array[null]::float8[], array[null]::timestamptz[], array[null]::smallint[], array[null],
		array['{"ordered": true}'])`},
	{"producer", "a job with a long name", `insert(array[repeat('q', 256)], '{""}', '{0}', '{x}', array['{}'],
		array[null]::bytea[], array[null]::float8[], array[null]::timestamptz[], array[null]::smallint[], array[null],
		array[null])`},
	{"producer", "counts that nobody can add up",
		"report_counters(gen_random_uuid(), '{q}', '{9223372036854775807}', '{0}', '{0}')"},
	{"producer", "negative counts", "report_counters(gen_random_uuid(), '{q}', '{-1}', '{0}', '{0}')"},
	{"producer", "counts of fewer queues", "report_counters(gen_random_uuid(), '{q}', '{1,1}', '{0}', '{0}')"},
	{"producer", "a reservation for ever", "extend_reserved('{1}', '170000 years')"},
	{"worker", "a worker that may be silent for ever", "register_worker('w', 'h', 1, 'v', null, '200000 years')"},
	{"worker", "a worker in no state", "register_worker('w', 'h', 1, 'v', null, '9 seconds', 'odd')"},
	{"worker", "a worker of a queue without a name", "register_worker('w', 'h', 1, 'v', array[null], '9 seconds')"},
	{"worker", "a million partitions", "make_partitions(1000000)"},
	{"worker", "a cron that is always due", "tick_cron('hourly', null, '-infinity')"},
	{"worker", "a cron that is never due", "tick_cron('hourly', null, 'infinity')"},
	{"worker", "a checkpoint that no claim reads", `checkpoint(1, 1, '{"percent": "x"}')`},
	{"worker", "a checkpoint that takes attempts away", `checkpoint(1, 1, '{"attempts": -100}')`},
	{"worker", "permits of keys without a name", "acquire_permits(array[null], 1, 1, gen_random_uuid())"},
	{"worker", "a lease for ever", "extend('{1}', '{1}', array[gen_random_uuid()], gen_random_uuid(), '170000 years')"},
	{"admin", "a priority out of range", `update('{1}', '{"priority": 40000}')`},
	{"admin", "a time that is never", `update('{1}', '{"run_at": "infinity"}')`},
	{"admin", "changes that are none", "update('{1}', '5')"},
	{"admin", "a state that is none", "set_worker_state(1, 'odd')"},
}

func TestHostileCallsAreRefused(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	must(t, r.client.PutCron(t.Context(), hourly("hourly")))
	exec(t, r.pool, r.in("update pawl.cron set next_at = clock_timestamp()"))
	pools := map[string]*pgxpool.Pool{}
	for _, kind := range kinds {
		_, pools[kind] = r.as(kind)
	}
	for _, test := range hostileCalls {
		_, err := pools[test.role].Exec(t.Context(), r.in("select pawl."+test.call))
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "22023" {
			t.Errorf("%s, %s: %s: got %v, want SQLSTATE 22023", test.role, test.what, test.call, err)
		}
	}
	checkInvariant(t, r.client)
}

// A permit is of a running job and its lease. A worker that asks for others gets none, so that no permit stays.
func TestPermitsOfOthersAreNotGiven(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	claim(t, client, 1)
	lease := value[string](t, pool, "select id::text from pawl.lease")
	for _, arguments := range []string{"999, '" + lease + "'", "1, gen_random_uuid()", "null, null"} {
		if value[bool](t, pool, "select pawl.acquire_permits('{key}', 1, "+arguments+")") {
			t.Errorf("permits were given to %s", arguments)
		}
	}
	if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 0 {
		t.Errorf("%d permits are left", n)
	}
}

// The jobs of a batch are counted by the database. Another transaction cannot add to them.
func TestOnlyTheInsertOfABatchAddsToIt(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: notes(2), OnFinish: &pawl.JobSpec{Args: Note{9}}})
	must(t, err)
	spec := `[{"kind": "note", "opts": {"batch": ` + value[string](t, pool, "select $1::bigint::text", int64(id)) + `}}]`
	if _, err := pool.Exec(t.Context(), "select pawl.insert_constrained($1::text::jsonb)", spec); err == nil {
		t.Error("a job was added to a batch of another transaction")
	}
	exec(t, pool, "select pawl.close_batch($1)", int64(id))
	if b, err := client.GetBatch(t.Context(), id); err != nil || b.Total != 2 || !b.FinishedAt.IsZero() {
		t.Errorf("the batch is %+v, %v", b, err)
	}
}
