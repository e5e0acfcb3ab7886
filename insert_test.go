package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestInsertManyKeepsTheOrder(t *testing.T) {
	for _, n := range []int{1, 3, 1999, 2000, 5000} { // COPY from 2,000 on
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			jobs := notes(n)
			for i := range jobs {
				jobs[i].Priority, jobs[i].Channel, jobs[i].Data = i%3, fmt.Sprint(i%7), []byte{byte(i), 0}
				switch i % 5 {
				case 3:
					jobs[i].Delay = time.Hour
				case 4:
					jobs[i].RunAt = time.Now().Add(-time.Hour)
				}
			}
			results, err := client.InsertMany(t.Context(), jobs)
			if err != nil {
				t.Fatal(err)
			}
			if len(results) != n {
				t.Fatalf("%d results for %d jobs", len(results), n)
			}
			rows, err := pool.Query(t.Context(), `select j.id, (j.args ->> 'n')::int, j.priority, j.channel, j.data, s.job_id is
				not null,
				exists (select from pawl.ready t where t.job_id = j.id)
				from pawl.job j left join pawl.scheduled s on s.job_id = j.id`)
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			for rows.Next() {
				var id pawl.ID
				var i, priority int
				var channel string
				var data []byte
				var scheduled, ready bool
				if err := rows.Scan((*int64)(&id), &i, &priority, &channel, &data, &scheduled, &ready); err != nil {
					t.Fatal(err)
				}
				if id != results[i].ID || priority != i%3 || channel != fmt.Sprint(i%7) || len(data) != 2 || data[0] != byte(i) {
					t.Errorf("job %d at %d: id %d, priority %d, channel %q, data %v", results[i].ID, i, id, priority, channel, data)
				}
				if scheduled != (i%5 == 3) || ready == scheduled {
					t.Errorf("job at %d: scheduled is %t, ready is %t", i, scheduled, ready)
				}
				seen++
			}
			if rows.Err() != nil || seen != n {
				t.Errorf("%d jobs in the table, want %d (%v)", seen, n, rows.Err())
			}
		})
	}
}

// A job from another system keeps its attempts and errors.
func TestInsertAfterAttemptsElsewhere(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	ctx := t.Context()
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var errs []pawl.AttemptError
	for i := range 12 {
		errs = append(errs, pawl.AttemptError{Attempt: i + 1, At: when, Error: fmt.Sprint("error ", i+1, "\x00"),
			Stack: strings.Repeat("x", 10_000)})
	}
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Attempt: 12, MaxAttempts: 14, Errors: errs})
	if liveRows(t, pool) != 2 || value[bool](t, pool, "select constrained from pawl.job") {
		t.Error("it is not a plain job")
	}
	for attempt := 13; attempt <= 14; attempt++ {
		jobs := claim(t, client, 1)
		if jobs[0].Attempt != attempt || jobs[0].MaxAttempts != 14 {
			t.Errorf("attempt %d of %d, want %d of 14", jobs[0].Attempt, jobs[0].MaxAttempts, attempt)
		}
		must(t, client.Fail(ctx, jobs[0], pawl.RetryAfter(0, errors.New("here too"))))
	}
	job := await(t, client, id, pawlstate.Dead)
	if job.Attempt != 14 || job.Reason != "attempts" || len(job.Errors) != 10 {
		t.Errorf("dead after attempt %d (%s) with %d errors, want 14, attempts and 10", job.Attempt, job.Reason,
			len(job.Errors))
	}
	if e := job.Errors[0]; e.Attempt != 5 || e.Error != "error 5\uFFFD" || !e.At.Equal(when) || len(e.Stack) > 8200 {
		t.Errorf("the oldest error is of attempt %d at %v, %q, with a stack of %d bytes", e.Attempt, e.At, e.Error,
			len(e.Stack))
	}

	// Used up: it runs once all the same. With a key and in order it is kept too, and by SQL.
	for i, spec := range []pawl.JobSpec{
		{Args: Note{2}, Attempt: 5, MaxAttempts: 5},
		{Args: Note{3}, Attempt: 5, MaxAttempts: 5, Ordered: true, Channel: "c", Unique: pawl.Unique{Key: "k"}},
	} {
		insert(t, client, spec)
		if job := claim(t, client, 1)[0]; job.Attempt != 6 {
			t.Errorf("%d: attempt %d, want 6", i, job.Attempt)
		}
	}
	exec(t, pool, `select pawl.insert('note', '{"n": 4}', '{"attempt": 7}')`)
	if job := claim(t, client, 1)[0]; job.Attempt != 8 {
		t.Errorf("by SQL: attempt %d, want 8", job.Attempt)
	}
	if _, err := pool.Exec(ctx, `select pawl.insert('note', null, '{"attempt": 32767}')`); err == nil {
		t.Error("SQL takes attempt 32767")
	}
	for _, spec := range []pawl.JobSpec{{Args: Note{}, Attempt: -1}, {Args: Note{}, Attempt: 32767},
		{Args: Note{}, Errors: []pawl.AttemptError{{At: time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC)}}}} {
		if invalid, ok := errors.AsType[*pawl.InvalidError](client.Validate(spec)); !ok || invalid.Field != "Attempt" &&
			invalid.Field != "Errors" {
			t.Errorf("%+v: %v", spec, client.Validate(spec))
		}
	}
}

func TestInsertManyOfNothing(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	if results, err := client.InsertMany(t.Context(), nil); len(results) != 0 || err != nil {
		t.Errorf("got %v, %v", results, err)
	}
}

func TestInsertInATransaction(t *testing.T) {
	begins := map[string]func(testing.TB, *pawl.Client, *pgxpool.Pool) (in *pawl.Client, commit, rollback func() error){
		"pgx": func(t testing.TB, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error, func() error) {
			tx := begin(t, pool)
			return client.With(tx), func() error {
				return tx.Commit(t.Context())
			}, func() error { return tx.Rollback(t.Context()) }
		},
		"database/sql": func(t testing.TB, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error,
			func() error) {
			tx := stdTx(t, pool)
			return client.WithSQL(tx), tx.Commit, tx.Rollback
		},
	}
	inserts := map[string]func(ctx context.Context, c *pawl.Client) (int, error){
		"one": func(ctx context.Context, c *pawl.Client) (int, error) {
			_, err := c.Insert(ctx, Note{0})
			return 1, err
		},
		"many": func(ctx context.Context, c *pawl.Client) (int, error) {
			jobs := notes(10)
			jobs[1].Delay, jobs[2].RunAt, jobs[3].Data = time.Hour, time.Now().Add(time.Hour), []byte{0, '"', '\\', 255}
			jobs[4].Headers = map[string]string{`"quoted"`: `back\slash, {brace} ü`}
			jobs[5].Channel = `a "b", {c} \d`
			_, err := c.InsertMany(ctx, jobs)
			return 10, err
		},
		"copy": func(ctx context.Context, c *pawl.Client) (int, error) {
			_, err := c.InsertMany(ctx, notes(2500))
			return 2500, err
		},
	}
	for driver, open := range begins {
		for how, insert := range inserts {
			t.Run(driver+" "+how, func(t *testing.T) {
				t.Parallel()
				client, pool := install(t)
				in, _, rollback := open(t, client, pool)
				if _, err := insert(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				if n := liveRows(t, pool); n != 0 {
					t.Errorf("%d rows are seen before the commit", n)
				}
				if err := rollback(); err != nil {
					t.Fatal(err)
				}
				if n := liveRows(t, pool); n != 0 {
					t.Errorf("%d rows are left after the rollback", n)
				}
				in, commit, _ := open(t, client, pool)
				n, err := insert(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				if err := commit(); err != nil {
					t.Fatal(err)
				}
				if got := liveRows(t, pool); got != 2*n {
					t.Errorf("%d rows after the commit, want %d", got, 2*n)
				}
				if how == "many" {
					makeDue(t, pool)
					for _, job := range claim(t, client, 20) {
						switch note(t, job).N {
						case 3:
							if string(job.Data) != "\x00\"\\\xff" {
								t.Errorf("Data is %q", job.Data)
							}
						case 4:
							if job.Headers[`"quoted"`] != `back\slash, {brace} ü` {
								t.Errorf("Headers are %q", job.Headers)
							}
						case 5:
							if job.Channel != `a "b", {c} \d` {
								t.Errorf("Channel is %q", job.Channel)
							}
						}
					}
				}
			})
		}
	}
}

func TestWithPanicsOnNil(t *testing.T) {
	t.Parallel()
	client, err := pawl.New(nil, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, with := range map[string]func(){
		"With": func() { client.With(nil) }, "WithSQL": func() { client.WithSQL(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s(nil) did not panic", name)
				}
			}()
			with()
		}()
	}
	if _, err := client.Insert(t.Context(), Note{1}); err == nil {
		t.Error("Insert without a pool and without With returned no error")
	}
}

type bad struct{ F float64 }

func (bad) Kind() string { return "bad" }

func TestInsertRefusesInvalidJobs(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) { c.MaxArgsBytes = 1000 })
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		name, field string
		job         pawl.JobSpec
	}{
		{"nil args", "Args", pawl.JobSpec{}},
		{"spec in a spec", "Args", pawl.JobSpec{Args: pawl.JobSpec{Args: Note{1}}}},
		{"no kind", "Kind", pawl.JobSpec{Args: pawl.Raw("", nil)}},
		{"long kind", "Kind", pawl.JobSpec{Args: pawl.Raw(long, nil)}},
		{"kind not UTF-8", "Kind", pawl.JobSpec{Args: pawl.Raw("\xff", nil)}},
		{"long queue", "Queue", pawl.JobSpec{Args: Note{1}, Queue: long}},
		{"zero byte in queue", "Queue", pawl.JobSpec{Args: Note{1}, Queue: "a\x00b"}},
		{"channel not UTF-8", "Channel", pawl.JobSpec{Args: Note{1}, Channel: "a\xc3"}},
		{"long channel", "Channel", pawl.JobSpec{Args: Note{1}, Channel: long}},
		{"long fingerprint", "Fingerprint", pawl.JobSpec{Args: Note{1}, Fingerprint: long}},
		{"args not JSON", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte(`{"a":`))}},
		{"empty args", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte{})}},
		{"args not UTF-8", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte("\"\xff\""))}},
		{"args with \\u0000", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte(`"a\u0000"`))}},
		{"first half of a surrogate pair", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte(`"\ud83d"`))}},
		{"first half and a character", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte(`"\uD83Dx"`))}},
		{"two first halves", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte(`"\ud83d\ud83d\ude00"`))}},
		{"second half of a surrogate pair", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte(`"\ude00"`))}},
		{"args that do not marshal", "Args", pawl.JobSpec{Args: bad{math.NaN()}}},
		{"large args", "Args", pawl.JobSpec{Args: pawl.Raw("k", []byte(`"`+strings.Repeat("x", 1000)+`"`))}},
		{"large data", "Data", pawl.JobSpec{Args: pawl.Raw("k", nil), Data: make([]byte, 1001)}},
		{"Delay and RunAt", "RunAt", pawl.JobSpec{Args: Note{1}, Delay: 1, RunAt: time.Now()}},
		{"negative delay", "Delay", pawl.JobSpec{Args: Note{1}, Delay: -1}},
		{"far RunAt", "RunAt", pawl.JobSpec{Args: Note{1}, RunAt: time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{"priority too low", "Priority", pawl.JobSpec{Args: Note{1}, Priority: -32769}},
		{"priority too high", "Priority", pawl.JobSpec{Args: Note{1}, Priority: 32768}},
		{"negative attempts", "MaxAttempts", pawl.JobSpec{Args: Note{1}, MaxAttempts: -1}},
		{"too many attempts", "MaxAttempts", pawl.JobSpec{Args: Note{1}, MaxAttempts: 32768}},
		{"negative backoff", "Backoff", pawl.JobSpec{Args: Note{1}, Backoff: pawl.Backoff{Base: -1}}},
		{"zero byte in a header", "Headers", pawl.JobSpec{Args: Note{1}, Headers: map[string]string{"k": "\x00"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, one := client.Insert(t.Context(), test.job)
			_, many := client.InsertMany(t.Context(), []pawl.JobSpec{{Args: Note{1}}, {Args: Note{2}}, test.job})
			dry := client.Validate(pawl.JobSpec{Args: Note{1}}, test.job)
			for i, err := range map[int]error{0: one, 1: dry, 2: many} {
				invalid, ok := errors.AsType[*pawl.InvalidError](err)
				if !ok || invalid.Field != test.field || invalid.Index != i || invalid.Reason == "" {
					t.Errorf("got %v, want an *InvalidError of job %d, field %s", err, i, test.field)
				}
			}
		})
	}
	if n := liveRows(t, pool); n != 0 {
		t.Errorf("%d rows after inserts that were all refused", n)
	}
}

func TestInsertAcceptsTheLimits(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	edge := strings.Repeat("ü", 127) + "x" // 255 bytes
	for _, job := range []pawl.JobSpec{
		{Args: pawl.Raw("k", nil)},
		{Args: pawl.Raw("k", []byte("null"))},
		{Args: pawl.Raw("k", []byte(`"\ud83d\ude00 \\u0000 \\ud83d"`))},
		{Args: Note{1}, Queue: edge, Channel: edge, Fingerprint: edge},
		{Args: Note{1}, Priority: -32768, MaxAttempts: 32767},
		{Args: Note{1}, Priority: 32767, Data: []byte{}},
		{Args: Note{1}, RunAt: time.Date(-3000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Args: Note{1}, RunAt: time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Args: Note{1}, Delay: math.MaxInt64},
	} {
		if _, err := client.Insert(t.Context(), job); err != nil {
			t.Errorf("%+v: %v", job, err)
		}
	}
}

// Distant times reach the database unchanged, also as text through another driver.
func TestDistantTimesOnDatabaseSQL(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := stdTx(t, pool)
	for _, year := range []int{-3000, 0, 1, 20_000} {
		at := time.Date(year, 3, 4, 5, 6, 7, 0, time.UTC)
		result, err := client.WithSQL(tx).Insert(t.Context(), pawl.JobSpec{Args: Note{1}, RunAt: at})
		if err != nil {
			t.Fatalf("year %d: %v", year, err)
		}
		var got int
		if err := tx.QueryRow("select extract(year from run_at at time zone 'UTC')::int from pawl.job where id = $1",
			int64(result.ID)).Scan(&got); err != nil {
			t.Fatal(err)
		}
		// 1 BC is Go's year 0 and PostgreSQL's -1
		if want := map[bool]int{true: year - 1, false: year}[year < 1]; got != want {
			t.Errorf("year %d was stored as %d", year, got)
		}
	}
}

// A job that only the database refuses fails alone, although concurrent inserts share a statement.
func TestBadJobFailsAlone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const n = 60
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			var job pawl.Args = Note{i}
			if i%20 == 7 {
				job = pawl.Raw("note", []byte(`{"n": 1e400000}`))
			}
			_, errs[i] = client.Insert(t.Context(), job)
		})
	}
	all.Wait()
	for i, err := range errs {
		if (err != nil) != (i%20 == 7) {
			t.Errorf("insert %d returned %v", i, err)
		}
	}
	if got := liveRows(t, pool); got != 2*(n-3) {
		t.Errorf("%d rows, want %d", got, 2*(n-3))
	}
}

func TestInsertManyIsAllOrNothing(t *testing.T) {
	for _, n := range []int{10, 2500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			jobs := notes(n)
			jobs[n-1].Args = pawl.Raw("note", []byte(`{"n": 1e400000}`))
			if _, err := client.InsertMany(t.Context(), jobs); err == nil {
				t.Error("a number no jsonb can hold was accepted")
			}
			if got := liveRows(t, pool); got != 0 {
				t.Errorf("%d rows are left", got)
			}
		})
	}
}

func TestInsertReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Insert(ctx, Note{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// The statement waits for another transaction's lock, and the context ends: Insert returns.
	tx := begin(t, pool)
	exec(t, tx, "lock table pawl.job in exclusive mode")
	ctx, cancel = context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() { _, err := client.Insert(ctx, Note{2}); answer <- err }()
	awaitBlocked(t, pool, 1)
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "may have been") {
		t.Errorf("got %v; want it to say that the job may have been inserted", err)
	}
	commit(t, tx)
	pgtest.Wait(t, "the insert to be given up", func() bool { return pool.Stat().AcquiredConns() == 0 })
	insert(t, client, Note{3}) // And the next one is not stuck behind it.
}

func TestInsertAllowance(t *testing.T) {
	t.Parallel()
	plain, _ := install(t)
	if n := plain.InsertAllowance(); n != -1 {
		t.Errorf("without a rate: %d, want -1", n)
	}
	client, _ := install(t, func(c *pawl.Config) { c.InsertRate = pawl.Rate{N: 10, Per: time.Hour, Burst: 7} })
	if n := client.InsertAllowance(); n != 7 {
		t.Errorf("unused: %d, want 7", n)
	}
	insert(t, client, Note{1})
	if n := client.InsertAllowance(); n != 6 {
		t.Errorf("after one: %d, want 6", n)
	}
	if _, err := client.InsertMany(t.Context(), make([]pawl.JobSpec, 0)); err != nil {
		t.Fatal(err)
	}
	var refused *pawl.RateError
	if _, err := client.InsertMany(t.Context(), slices.Repeat([]pawl.JobSpec{{Args: Note{2}}}, 7)); !errors.As(err,
		&refused) || client.InsertAllowance() != 6 {
		t.Errorf("refused: %v, and then %d are allowed, want 6", err, client.InsertAllowance())
	}
}
