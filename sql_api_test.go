package pawl_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// Go runs jobs that SQL inserted, and a SQL session runs jobs that Go inserted.
func TestTheSQLFunctions(t *testing.T) {
	t.Parallel()
	client, pool := install(t)

	id := value[int64](t, pool, `select pawl.insert('note', '{"n": 7}',
		'{"queue": "q", "channel": "c", "priority": -3, "max_attempts": 4, "fingerprint": "f",
		"headers": {"trace": "1"}, "delay": 3600, "data": "aGk=",
		"backoff": {"base": 2, "max": 60, "growth": 3, "power": 0, "jitter": 0},
		"unique": {"key": "k", "global": true}}')`)
	job, err := client.Get(t.Context(), pawl.ID(id))
	must(t, err)
	if job.Queue != "q" || job.Channel != "c" || job.Priority != -3 || job.MaxAttempts != 4 || job.Fingerprint != "f" ||
		job.Headers["trace"] != "1" ||
		string(job.Data) != "hi" || job.UniqueKey != "k" || job.State != pawlstate.Scheduled ||
		string(job.Args) != `{"n": 7}` {
		t.Errorf("the job is %+v", job)
	}
	if again := value[int64](t, pool, `select pawl.insert('note', null,
		'{"queue": "other", "unique": {"key": "k", "global": true}}')`); again != id {
		t.Errorf("a duplicate of %d is %d", id, again)
	}
	for _, wrong := range []string{`select pawl.insert('')`, `select pawl.insert('x', null, '{"prio": 1}')`,
		`select pawl.insert('x', null, '{"ordered": true, "priority": 1}')`,
		`select pawl.insert_many('{}')`, `select pawl.insert('x', null, '{"delay": 1, "run_at": "2030-01-01"}')`,
		`select pawl.insert('x', null, '[1]')`,
		`select pawl.insert('x', null, '{"queue": ""}')`, `select pawl.insert('x', null, '{"queue": 5}')`,
		`select pawl.insert('x', null, '{"max_attempts": 0}')`,
		`select pawl.insert('x', null, '{"unique": {"keys": "a"}}')`,
		`select pawl.insert('x', null, '{"unique": {"global": true}}')`,
		`select pawl.insert('x', null, '{"headers": {"a": 5}}')`, `select pawl.insert('x', null, '{"headers": "a"}')`,
		`select pawl.insert(repeat('x', 256))`,
		`select pawl.insert('x', null, '{"backoff": {"growth": 0}}')`,
		`select pawl.insert('x', null, '{"backoff": {"base": "1 s"}}')`,
		`select pawl.insert('x', null, '{"reserve": 0}')`, `select pawl.insert('x', null, '{"delay": -1}')`,
		`select pawl.insert('x', null, '{"priority": 40000}')`,
		`select pawl.insert('x', null, '{"after": [{"id": 1, "on": "sometimes"}]}')`, `select * from pawl.claim(null)`,
		`select * from pawl.claim('')`,
		`select * from pawl.claim('x', null)`, `select * from pawl.claim('x', 0)`, `select * from pawl.claim('x', 1, '-1 s')`,
		`select pawl.insert('x', null, '{"priority": 1.5}')`, `select pawl.insert('x', null, '{"max_attempts": 2.5}')`,
		`select pawl.insert('x', null, '{"unique": {"key": 5}}')`,
		`select pawl.insert('x', null, '{"unique": {"key": "a", "period": "1 hour"}}')`,
		`select pawl.insert('x', null, '{"unique": {"key": "a", "replace": "yes"}}')`,
		`select pawl.insert('x', null, '{"after": [5]}')`,
		`select pawl.insert('x', null, '{"after": [{"id": 1.5}]}')`,
		`select pawl.insert('x', null, '{"after": [{"id": 1, "keep_waiting": "x"}]}')`,
		`select pawl.insert('x', null, '{"after": [{"id": 1, "when": "ok"}]}')`,
		`select pawl.insert('x', null, '{"after": [{"id": 1e30}]}')`,
		`select pawl.insert_many('[{"kind": "x", "arg": {}}]')`, `select pawl.insert_many('[5]')`,
		`select pawl.insert_many('[null]')`,
		`select pawl.extend(1, 1, gen_random_uuid(), '0')`, `select pawl.fail(1, 1, 'x', outcome => 'sometimes')`} {
		var refused *pgconn.PgError
		if _, err := pool.Exec(t.Context(), wrong); !errors.As(err, &refused) ||
			!strings.HasPrefix(refused.Message, "pawl: ") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	wantCount(t, 1)(client.Cancel(t.Context(), pawl.ID(id)))

	// A SQL session works what Go inserted.
	ids := map[string]pawl.ID{}
	for _, name := range []string{"complete", "fail", "die", "cancel", "release", "extend", "lose"} {
		ids[name] = insert(t, client, pawl.JobSpec{Args: pawl.Raw(name, []byte(`{"n": 1}`)), Queue: "sql"})
	}
	type claimedJob struct {
		epoch int
		lease string
	}
	claimed := map[string]claimedJob{}
	rows, err := pool.Query(t.Context(), "select kind, epoch, lease::text, attempt from pawl.claim('sql', 10, '1 minute')")
	must(t, err)
	for rows.Next() {
		var kind string
		var h claimedJob
		var attempt int
		must(t, rows.Scan(&kind, &h.epoch, &h.lease, &attempt))
		if claimed[kind] = h; attempt != 1 {
			t.Errorf("attempt %d of %s", attempt, kind)
		}
	}
	must(t, rows.Err())
	if len(claimed) != 7 {
		t.Fatalf("claimed %v", claimed)
	}
	yes := func(want bool, text, name string, args ...any) {
		t.Helper()
		if got := value[bool](t, pool, text, append([]any{int64(ids[name]), claimed[name].epoch}, args...)...); got != want {
			t.Errorf("%s of %s says %t", text, name, got)
		}
	}
	yes(true, `select pawl.complete($1, $2, '{"ok": true}')`, "complete")
	yes(false, "select pawl.complete($1, $2)", "complete")
	if got, _ := client.Get(t.Context(), ids["complete"]); got.State != pawlstate.Completed ||
		string(got.Result) != `{"ok": true}` {
		t.Errorf("completed, it is %s with %s", got.State, got.Result)
	}
	yes(true, "select pawl.fail($1, $2, 'boom', 60) = 'scheduled'", "fail")
	if got, _ := client.Get(t.Context(), ids["fail"]); len(got.Errors) != 1 || got.Errors[0].Error != "boom" {
		t.Errorf("its errors are %v", got.Errors)
	}
	yes(true, "select pawl.fail($1, $2, 'boom', outcome => 'dead') = 'dead'", "die")
	yes(true, "select pawl.fail($1, $2, null, outcome => 'cancel') = 'cancelled'", "cancel")
	yes(true, "select pawl.release($1, $2)", "release")
	yes(true, "select pawl.extend($1, $2, $3::uuid, '1 hour')", "extend", claimed["extend"].lease)
	exec(t, pool, "update pawl.lease set expires_at = expires_at - interval '30 minutes'")
	again := values[string](t, pool, "select kind from pawl.claim('sql', 10, '1 minute')")
	if len(again) != 2 || again[0] == "extend" || again[1] == "extend" {
		t.Errorf("claimed again: %v, want what was released and what was lost", again)
	}
	yes(false, "select pawl.complete($1, $2)", "lose")
	yes(true, "select pawl.complete($1, $2)", "extend")
	if n := value[int](t, pool, "select pawl.cancel($1, $2)", int64(ids["lose"]), int64(ids["release"])); n != 2 {
		t.Errorf("cancelled %d, want 2", n)
	}
}

// A trigger inserts a job, and a Go handler runs it. If the transaction is rolled back, there is no job.
func TestATriggerInserts(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, `create table users (id int primary key);
		create function welcome() returns trigger language plpgsql as $$
		begin
			perform pawl.insert('note', jsonb_build_object('n', new.id));
			return new;
		end $$;
		create trigger welcome after insert on users for each row execute function welcome()`)
	ran := make(chan int, 10)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error { ran <- job.Args.N; return nil })
	start(t, client, mux, pawl.RunnerConfig{})
	tx := begin(t, pool)
	exec(t, tx, "insert into users values (1)")
	must(t, tx.Rollback(t.Context()))
	exec(t, pool, "insert into users values (42)")
	if n := receive(t, "the job", ran); n != 42 {
		t.Errorf("ran %d, want 42", n)
	}
}

// A SQL session alone runs a queue with ordered jobs, limited jobs, due jobs and jobs that another session left.
func TestASQLSessionWorksAQueue(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 2}))
	exec(t, pool, `select
		pawl.insert_many('[{"kind": "a", "opts": {"ordered": true, "channel": "x"}},
			{"kind": "b", "opts": {"ordered": true, "channel": "x"}},
		{"kind": "c"}, {"kind": "d"}, {"kind": "e", "opts": {"delay": 0.001}}]')`)
	if n := value[int](t, pool, "select count(*) from pawl.claim('default', 10, '1 minute')"); n != 2 {
		t.Errorf("claimed %d, want 2: the queue's limit", n)
	}
	exec(t, pool, "update pawl.lease set expires_at = clock_timestamp() - interval '1 second'")
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	exec(t, pool, "select pawl.drop_stale_permits()")
	var order []string
	for range 50 {
		rows := values[string](t, pool, "select kind from pawl.claim('default', 1) c, lateral (select pawl.complete(c.id, "+
			"c.epoch)) done")
		order = append(order, rows...)
		if liveRows(t, pool) == 0 {
			break
		}
	}
	if got := strings.Join(order, ""); len(got) != 5 || strings.Index(got, "a") > strings.Index(got, "b") {
		t.Errorf("worked %q, want all five, and a before b", got)
	}
}

// A SQL session extends one of several claimed jobs again and again.
func TestSQLExtendsAgain(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, "create table held as select * from pawl.claim('default', 2, '1 minute')")
	const extend = "select pawl.extend(id, epoch, lease, $1::interval) from held order by id limit 1"
	if !value[bool](t, pool, extend, "5 minutes") || !value[bool](t, pool, extend, "1 hour") {
		t.Error("the claim is not valid")
	}
	checkInvariant(t, client)
	exec(t, pool, "update pawl.lease set expires_at = expires_at - interval '30 minutes'")
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	if n := value[int](t, pool, "select count(*) from pawl.ready"); n != 1 {
		t.Errorf("%d jobs were rescued, want the one that was not extended", n)
	}
	if !value[bool](t, pool, extend, "2 hours") {
		t.Error("with the first lease gone, the claim is not valid")
	}
	if !value[bool](t, pool, "select pawl.complete(id, epoch) from held order by id limit 1") {
		t.Error("it cannot be completed")
	}
}

// The most urgent job is claimed first.
func TestSQLClaimsByPriority(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for i, p := range []int{5, 0, -5} {
		insert(t, client, pawl.JobSpec{Args: Note{i}, Priority: p})
	}
	if got := values[int](t, pool, "select priority from pawl.claim('default', 10)"); got[0] != -5 || got[2] != 5 {
		t.Errorf("claimed %v, want the lowest first", got)
	}
}

// A session that claims in a long transaction does not keep others from rescuing.
func TestASQLClaimLeavesRescueToOthers(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	insert(t, client, Note{2})
	claim(t, client, 1)
	tx := begin(t, pool)
	if n := value[int](t, tx, "select count(*) from pawl.claim('default')"); n != 1 {
		t.Fatalf("claimed %d", n)
	}
	expireLeases(t, pool)
	if n := value[int](t, pool, "select count(*) from pawl.ready where priority = -32768"); n != 1 {
		t.Errorf("%d jobs were rescued, want 1", n)
	}
}
