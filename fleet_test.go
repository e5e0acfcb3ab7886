package pawl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A fleet sends the statements of a kept version's binary in their order: producers, workers with heartbeats,
// maintenance.
type fleet struct {
	*ledger
	texts []frozenStatement
}

// A ledger records outside of the queue which numbers were accepted for work, by any producer.
type ledger struct {
	t    testing.TB
	pool *pgxpool.Pool

	number atomic.Int32
	mu     sync.Mutex
	due    map[int]string // The producer of each number.
}

// Work is the args of a job: its handler writes effect N after it has failed Fail times.
type Work struct {
	N    int `json:"n"`
	Fail int `json:"fail"`
}

func (Work) Kind() string { return "work" }

// effects is the table to which handlers write, in the transaction of the completion. Writing a number twice is an
// error.
const effects = "create table effect (n integer primary key, job bigint not null, lane text not null, " +
	"at bigint generated always as identity, by text not null)"

const writeEffect = "insert into effect (n, job, lane, by) values ($1, $2, $3, $4)"

func (l *ledger) next() int { return int(l.number.Add(1)) }

// accept records numbers whose effects must be written.
func (l *ledger) accept(by string, numbers ...int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range numbers {
		l.due[n] = by
	}
}

// find returns the only statement with this beginning.
func (f *fleet) find(part string) frozenStatement {
	var found []frozenStatement
	for _, s := range f.texts {
		if strings.HasPrefix(s.text, part) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		panic(fmt.Sprintf("%d statements begin with %q", len(found), part))
	}
	return found[0]
}

// say runs the only statement with this beginning.
func (f *fleet) say(ctx context.Context, db queryer, part string, args ...any) ([]map[string]any, error) {
	s := f.find(part)
	rows, err := db.Query(ctx, s.text, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err == nil {
		var list []map[string]any
		if list, err = pgx.CollectRows(rows, pgx.RowToMap); err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", part, err)
}

func (f *fleet) must(part string, args ...any) []map[string]any {
	f.t.Helper()
	list, err := f.say(f.t.Context(), f.pool, part, args...)
	must(f.t, err)
	return list
}

// insert inserts jobs without constraints by the statement of Insert, and returns the id of the last.
func (f *fleet) insert(
	ctx context.Context, queue, channel string, priority int16, delay *float64, jobs ...Work,
) (id int64, err error) {
	n := len(jobs)
	args, numbers := make([]*string, n), make([]int, n)
	for i, job := range jobs {
		b, _ := json.Marshal(job)
		s := string(b)
		args[i], numbers[i] = &s, job.N
	}
	rows, err := f.say(ctx, f.pool, "select pawl.insert(", slices.Repeat([]string{queue}, n),
		slices.Repeat([]string{channel}, n), slices.Repeat([]int16{priority}, n),
		slices.Repeat([]string{"work"}, n), args, make([][]byte, n), slices.Repeat([]*float64{delay}, n),
		make([]*time.Time, n), make([]*int16, n), make([]*string, n), make([]*string, n))
	if err != nil {
		return 0, err
	}
	f.accept("old insert", numbers...)
	return rows[n-1]["insert"].(int64), nil
}

// constrained inserts a job with constraints by the statement of Insert. The fields of spec override those of the job.
func (f *fleet) constrained(ctx context.Context, db queryer, job Work, spec map[string]any) (id int64, err error) {
	all := map[string]any{"kind": "work", "args": job}
	maps.Copy(all, spec)
	if all["ordered"] == true {
		all["opts"] = map[string]any{"ordered": true}
	}
	b, _ := json.Marshal([]any{all})
	rows, err := f.say(ctx, db, "select * from pawl.insert_constrained(", string(b))
	if err != nil {
		return 0, err
	}
	return rows[0]["id"].(int64), nil
}

// copy inserts jobs by COPY, as InsertMany does from 2,000 jobs on.
func (f *fleet) copy(ctx context.Context, queue string, n int) error {
	numbers := make([]int, n)
	err := pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		var now time.Time
		const begin = "select clock_timestamp() from (select pg_current_xact_id()) x (id) where x.id is not null"
		if err := tx.QueryRow(ctx, begin).Scan(&now); err != nil {
			return err
		}
		drawn, err := f.say(ctx, tx, "select case when has_table_privilege(", n)
		if err != nil {
			return err
		}
		var job, ready [][]any
		for i, id := range drawn[0]["case"].([]any) {
			numbers[i] = f.next()
			args, _ := json.Marshal(Work{N: numbers[i]})
			job = append(job, []any{id, now, nil, int32(7), int16(0), nil, queue, "", "work", args, nil, nil, nil})
			ready = append(ready, []any{id, id, int32(7), int32(0), queue, ""})
		}
		for table, rows := range map[string][][]any{"job": job, "ready": ready} {
			parts := regexp.MustCompile(`\((.*)\)`).FindStringSubmatch(f.find("copy pawl." + table + " (").text)
			if _, err := tx.CopyFrom(ctx, pgx.Identifier{"pawl", table}, strings.Split(parts[1], ", "),
				pgx.CopyFromRows(rows)); err != nil {
				return err
			}
		}
		_, err = f.say(ctx, tx, "select pawl.wake($1::text[])", []string{queue})
		return err
	})
	if err == nil {
		f.accept("old copy", numbers...)
	}
	return err
}

// queues are the queues of the jobs. The queue "limited" has a limit.
var queues = []string{"plain", "fair", "ordered", "limited"}

// produce inserts jobs until ctx ends, in every way in turn.
func (f *fleet) produce(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		var err error
		switch i % 5 {
		case 0:
			_, err = f.insert(context.WithoutCancel(ctx), "plain", "", 0, nil, Work{N: f.next(), Fail: i / 5 % 3 / 2},
				Work{N: f.next()})
		case 1:
			soon := 0.05
			_, err = f.insert(context.WithoutCancel(ctx), "fair", fmt.Sprint("tenant ", i%7), int16(i%3), &soon,
				Work{N: f.next()})
		case 2:
			job := Work{N: f.next(), Fail: i / 5 % 2}
			if _, err = f.constrained(context.WithoutCancel(ctx), f.pool, job,
				map[string]any{"queue": "ordered", "channel": fmt.Sprint("line ", i%3), "ordered": true}); err == nil {
				f.accept("old constrained", job.N)
			}
		case 3:
			err = f.copy(context.WithoutCancel(ctx), "plain", 10)
		case 4:
			n := f.next()
			const insert = `select pawl.insert('work', jsonb_build_object('n', $1::integer), '{"queue": "limited"}')`
			if _, err = f.pool.Exec(context.WithoutCancel(ctx), insert, n); err == nil {
				f.accept("SQL", n)
			}
		}
		if err != nil {
			f.t.Errorf("an old producer: %v", err)
			return
		}
	}
}

// work is a worker: until ctx ends it sends heartbeats, claims jobs, runs them and reports their results.
func (f *fleet) work(ctx context.Context, name string) error {
	all := context.WithoutCancel(ctx)
	rows, err := f.say(all, f.pool, "select pawl.register_worker(", name, "host", 1, "old", nil, "9 seconds", "ready")
	if err != nil {
		return err
	}
	worker := rows[0]["register_worker"].(int64)
	beaten := time.Now()
	for round := 0; ctx.Err() == nil; round++ {
		if time.Since(beaten) > time.Second {
			beaten = time.Now()
			rows, err := f.say(all, f.pool, "select b.*, pawl.worker_started_at(", worker, 0, []int64{}, []int32{})
			if err != nil {
				return err
			}
			if rows[0]["state"] != "ready" {
				return fmt.Errorf("%s was told to be %v", name, rows[0]["state"])
			}
		}
		n, err := f.round(all, name, worker, round)
		if err != nil {
			return err
		}
		if n == 0 {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	_, err = f.say(all, f.pool, "select pawl.unregister_worker(", worker)
	return err
}

// round claims once and runs the claimed jobs. Every tenth round it also does maintenance, as a runner does.
func (f *fleet) round(ctx context.Context, name string, worker int64, round int) (n int, err error) {
	if round%10 == 0 {
		for part, args := range map[string][]any{
			"select * from pawl.rescue(":        {100, true, round%50 == 0},
			"select * from pawl.run_followups(": {100},
			"select pawl.expire(":               {100}, "select pawl.drop_stale_permits(": {},
			"select pawl.due_cron(": {[]string{}, []string{}, []string{}}, "select id::text from pawl.worker_leases(": {worker},
			"select name, weights::text from pawl.queue": {},
		} {
			if _, err := f.say(ctx, f.pool, part, args...); err != nil {
				return 0, err
			}
		}
	}
	if _, err := f.say(ctx, f.pool, "select * from pawl.promote(", queues,
		slices.Repeat([]time.Time{time.Unix(0, 0)}, len(queues)), 100); err != nil {
		return 0, err
	}
	found, err := f.say(ctx, f.pool, "select * from pawl.discover_lanes(", []string{""}, []int32{-1 << 31},
		[]string{""}, []string{"\U0010FFFF"}, []int32{1<<31 - 1}, []string{""}, queues, true)
	if err != nil {
		return 0, err
	}
	var lanes, channels []string
	var priorities []int32
	for _, lane := range found {
		if lane["priority"] != nil && lane["priority"].(int32) != -32769 {
			lanes = append(lanes, lane["queue"].(string))
			priorities = append(priorities, lane["priority"].(int32))
			channels = append(channels, lane["channel"].(string))
		}
	}
	if len(lanes) == 0 {
		return 0, nil
	}
	stretches := len(lanes)
	if _, err := f.say(ctx, f.pool, "select m.ord, m.low_pos, ", lanes, priorities, channels, make([]int64, stretches),
		make([]int64, stretches), queues,
		slices.Repeat([]time.Time{time.Unix(0, 0)}, len(queues)), make([]int64, len(queues))); err != nil {
		return 0, err
	}
	lease := value[string](f.t, f.pool, "select gen_random_uuid()::text")
	claimed, err := f.say(ctx, f.pool, "select * from pawl.claim(", lease, worker, nil, 16, lanes, priorities,
		channels, make([]int64, stretches),
		slices.Repeat([]int64{1<<63 - 1}, stretches), slices.Repeat([]int32{4}, stretches))
	if err != nil {
		return 0, err
	}
	for _, job := range claimed {
		if job["found"] != true {
			continue
		}
		n++
		if err := f.handle(ctx, name, lease, job); err != nil {
			return n, err
		}
	}
	if n > 0 {
		_, err = f.say(ctx, f.pool, "select pawl.complete(", []int64{}, []int32{}, []int64{}, []int64{}, []*string{},
			name, []int64{}, []string{lease})
	}
	return n, err
}

func (f *fleet) handle(ctx context.Context, name, lease string, job map[string]any) error {
	var args Work
	b, _ := json.Marshal(job["args"])
	if err := json.Unmarshal(b, &args); err != nil {
		return err
	}
	ids, epochs := []int64{job["id"].(int64)}, []int32{job["epoch"].(int32)}
	if int(job["attempt"].(int16)) < args.Fail {
		soon, said := 0.01, `{"error": "not yet"}`
		if _, err := f.say(ctx, f.pool, "select * from pawl.fail(", ids, epochs, []string{"retry"}, []*float64{&soon},
			[]*string{nil}, []*string{&said}, []int64{1}, []int64{1}, name); err != nil {
			return err
		}
	} else {
		if err := pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, writeEffect, args.N, ids[0], lane(job["queue"].(string), job["channel"].(string)),
				name); err != nil {
				return err
			}
			if _, err := f.say(ctx, tx, "select pawl.lock_jobs(", ids, epochs); err != nil {
				return err
			}
			done, err := f.say(ctx, tx, "select pawl.complete(", ids, epochs, []int64{1}, []int64{1}, []*string{nil}, name,
				[]int64{}, []string{})
			if err == nil && len(done) == 0 {
				err = pawl.ErrLeaseLost
			}
			return err
		}); err != nil {
			return err
		}
	}
	if job["permit"] == true {
		if _, err := f.say(ctx, f.pool, "select pawl.free_permits($1::bigint[]", ids, []string{lease}); err != nil {
			return err
		}
	}
	if job["constrained"] == true {
		_, err := f.say(ctx, f.pool, "select * from pawl.run_followups(", 100)
		return err
	}
	return nil
}

func lane(queue, channel string) string { return queue + " " + channel }

// claim claims a job of a queue for a worker or, as a consumer does, for a time.
func (f *fleet) claim(queue string, worker *int64, lasting *string) (ids []int64, epochs []int32) {
	f.t.Helper()
	lease := value[string](f.t, f.pool, "select gen_random_uuid()::text")
	rows := f.must("select * from pawl.claim(", lease, worker, lasting, 1, []string{queue}, []int32{0}, []string{""},
		[]int64{0}, []int64{1<<63 - 1}, []int32{1})
	if len(rows) != 1 {
		f.t.Fatalf("claimed %v", rows)
	}
	return []int64{rows[0]["id"].(int64)}, []int32{rows[0]["epoch"].(int32)}
}

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
	constrained(child, map[string]any{"queue": "plain", "after": []any{map[string]any{"id": parent, "on": "ok"}}}) // waiting,
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
	f.must("select pawl.insert_batch(", l.batch, 1, string(follow), nil, nil)
	constrained(part, map[string]any{"queue": "plain", "opts": map[string]any{"batch": l.batch}})
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

// envOldBinaries is the environment variable with the folder of the kept versions' programs, named by number: see
// `make upgrade`.
const envOldBinaries = "PAWL_OLD_BINARIES"

// process runs the program of the kept version, if it was built, until ctx ends.
func (f *fleet) process(ctx context.Context, all *sync.WaitGroup, version int) {
	dir := os.Getenv(envOldBinaries)
	if dir == "" {
		return
	}
	exec(f.t, f.pool, "create table accepted (n integer primary key)")
	process := osexec.CommandContext(ctx, filepath.Join(dir, fmt.Sprintf("%04d", version)), f.pool.Config().ConnString())
	process.Cancel = func() error { return process.Process.Signal(syscall.SIGTERM) }
	process.WaitDelay = 30 * time.Second
	process.Stdout, process.Stderr = f.t.Output(), f.t.Output()
	all.Go(func() {
		if err := process.Run(); err != nil && ctx.Err() == nil {
			f.t.Errorf("the old binary: %v", err)
		} else if code := process.ProcessState.ExitCode(); code != 0 {
			f.t.Errorf("the old binary ended with %d", code)
		}
	})
}

// TestRollingUpgrade upgrades while a kept version's producers and workers are at work, on jobs of every state.
// This binary migrates to its own schema or to a made-up next one, and works beside them. Then the old ones leave.
// No job is lost, none runs twice, and ordered channels keep their order.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	for _, version := range baselines(t) {
		for _, next := range []bool{false, true} {
			t.Run(fmt.Sprintf("from %d, next %t", version, next), func(t *testing.T) {
				t.Parallel()
				roll(t, version, next)
			})
		}
	}
}

func roll(t *testing.T, version int, next bool) {
	url := old(t, version)
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 12 })
	exec(t, pool, effects)
	f := &fleet{ledger: &ledger{t: t, pool: pool, due: map[int]string{}}, texts: frozen(t, version)}
	f.partitions()
	l := f.fill()

	oldOnes, retire := context.WithCancel(t.Context())
	defer retire()
	var all sync.WaitGroup
	defer all.Wait()
	defer retire()
	for i := range 2 {
		all.Go(func() { f.produce(oldOnes) })
		all.Go(func() {
			if err := f.work(oldOnes, fmt.Sprint("old ", i)); err != nil {
				t.Errorf("an old worker: %v", err)
			}
		})
	}
	f.process(oldOnes, &all, version)
	done := func() int { return value[int](t, pool, "select count(*) from effect") }
	pgtest.Wait(t, "the old ones to be at work", func() bool { return done() > 100 })

	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(),
		&slog.HandlerOptions{Level: slog.LevelWarn}))})
	must(t, err)
	must(t, client.Migrate(t.Context()))
	if next {
		up(t, url, following(t))
	}
	between := done()

	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Work]) error {
		if job.Attempt <= job.Args.Fail {
			return pawl.RetryAfter(10*time.Millisecond, errBoom)
		}
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, writeEffect, job.Args.N, int64(job.ID), lane(job.Queue, job.Channel), "new"); err != nil {
				return err
			}
			return client.With(tx).Complete(ctx, job)
		})
	})
	stop := start(t, client, mux, pawl.RunnerConfig{Min: 4, Max: 8, Heartbeat: time.Second,
		OnFailure: func(_ context.Context, job *pawl.JobInfo, err error, _ bool) {
			if strings.Contains(err.Error(), "effect_pkey") {
				t.Errorf("job %d ran twice: %v", job.ID, err)
			}
		}})
	var produced sync.WaitGroup
	producing, enough := context.WithCancel(t.Context())
	defer enough()
	for range 2 {
		produced.Go(func() {
			for i := 0; producing.Err() == nil; i++ {
				one, two := f.next(), f.next()
				results, err := client.InsertMany(context.WithoutCancel(producing), []pawl.JobSpec{
					{Args: Work{N: one, Fail: i % 2}, Queue: "plain"},
					{Args: Work{N: two}, Queue: "ordered", Channel: fmt.Sprint("line ", i%3), Ordered: true},
				})
				if err != nil || len(results) != 2 {
					t.Errorf("a new producer: %v", err)
					return
				}
				f.accept("new", one, two)
			}
		})
	}
	by := func(who string) int { return value[int](t, pool, "select count(*) from effect where by like $1", who) }
	before := by("old%")
	pgtest.Wait(t, "old and new workers to work side by side", func() bool {
		return by("new") > 200 && by("old%") > before+100
	})
	enough()
	produced.Wait()
	retire()
	all.Wait()
	t.Logf("%d done before, %d by the new one, %d by the old ones", between, by("new"), by("old%"))

	// The new binary changes the jobs that the old one left waiting for a call.
	must(t, client.CommitReserved(t.Context(), pawl.ID(l.reserved)))
	must(t, client.AbortReserved(t.Context(), pawl.ID(l.abort)))
	must1(t, 4)(client.Retry(t.Context(), pawl.Filter{IDs: []pawl.ID{pawl.ID(l.far), pawl.ID(l.dead),
		pawl.ID(l.cancelled), pawl.ID(l.unique)}}))
	must(t, client.ResumeChannel(t.Context(), "halting", ""))
	if job, err := client.Get(t.Context(), pawl.ID(l.completed)); err != nil || job.State != pawlstate.Completed {
		t.Errorf("the job that was completed: %+v, %v", job, err)
	}
	for left := live(t, pool); left > 0; { // There may be thousands.
		was := left
		pgtest.Wait(t, fmt.Sprintf("any of the last %d to be done", was),
			func() bool { left = live(t, pool); return left < was })
	}
	must(t, stop())

	if b, err := client.GetBatch(t.Context(), pawl.ID(l.batch)); err != nil || b.Completed != 1 {
		t.Errorf("the batch: %+v, %v", b, err)
	}
	if os.Getenv(envOldBinaries) != "" {
		f.accept("old binary", values[int](t, pool, "select n from accepted")...)
		t.Logf("%d jobs of the old binary's, %d done by it", value[int](t, pool, "select count(*) from accepted"),
			by("old binary"))
	}
	got := map[int]bool{}
	for _, n := range values[int](t, pool, "select n from effect") {
		got[n] = true
	}
	for n, who := range f.due {
		if !got[n] {
			t.Errorf("job %d (%s) is lost", n, who)
		}
		delete(got, n)
	}
	if len(got) > 0 {
		t.Errorf("done, and not inserted: %v", slices.Sorted(maps.Keys(got)))
	}
	if wrong := values[string](t, pool, `select format('%s: job %s after %s', lane, job, before)
		from (select lane, job, lag(job) over (partition by lane order by at) as before
			from effect where lane like 'ordered %') e
		where job < before`); len(wrong) > 0 {
		t.Errorf("out of order: %v", wrong)
	}
	if n := value[int](t, pool, "select count(*) from effect where lane like 'ordered %'"); n < 50 {
		t.Errorf("only %d ordered jobs: the test shows little", n)
	}
	check(t, client)
	must(t, client.Retain(t.Context()))
}

// TestSleepersOfBothVersions checks that an insert of either version wakes sessions of the other that wait for jobs.
func TestSleepersOfBothVersions(t *testing.T) {
	t.Parallel()
	for _, version := range baselines(t) {
		client, pool := install(t, listens)
		f := &fleet{ledger: &ledger{t: t, pool: pool, due: map[int]string{}}, texts: frozen(t, version)}
		listener := connectTo(t, pgtest.Direct(t, pool.Config().ConnString()))
		exec(t, listener, f.find(`listen """pawl"".wake`).text)
		_, err := f.say(t.Context(), listener, "select count(pg_advisory_lock_shared(pawl.sleep_key(",
			[]string{"default"}, int32(listener.PgConn().PID()))
		must(t, err)
		insert(t, client, Note{1})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if n, err := listener.WaitForNotification(ctx); err != nil || n.Payload != "default" {
			t.Errorf("the waiting session of the old version received %v, %v", n, err)
		}
		exec(t, listener, "select pg_advisory_unlock_all()")

		claim(t, client, 1)
		woken := make(chan error, 1)
		go func() { woken <- client.Wait(ctx, "plain") }()
		asleep(t, pool, 1)
		_, err = f.insert(t.Context(), "plain", "", 0, nil, Work{N: f.next()})
		must(t, err)
		if n, err := listener.WaitForNotification(ctx); err != nil || n.Payload != "plain" {
			t.Errorf("the insert of the old version sent %v, %v", n, err)
		}
		must(t, <-woken)
	}
}
