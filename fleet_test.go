package pawl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
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
	rows, err := f.say(ctx, db, "select * from pawl.insert_constrained(", string(b), []*string(nil), [][]byte(nil))
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

// produce inserts jobs until ctx ends, in every way in rotation.
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
			rows, err := f.say(all, f.pool, "select b.*, pawl.worker_started_at(", worker, 0, []int64{}, []int32{},
				[]string(nil), (*string)(nil))
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
		[]string{""}, []string{"\U0010FFFF"}, []int32{1<<31 - 1}, []string{""}, queues, true, 1000)
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
