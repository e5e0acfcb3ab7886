package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A result that the database refuses becomes a failed attempt, whatever its neighbours in the lease do. The job is
// never left running without a lease.
func TestARefusedResultIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	neighbour := make(chan struct{})
	pawl.HandleResult(mux, func(_ context.Context, job *pawl.Job[Note]) (json.RawMessage, error) {
		if job.Args.N == 1 {
			return json.RawMessage("{}"), nil
		}
		<-neighbour
		return json.RawMessage("1"), nil
	})
	// The check of results in Go is one guard, and this is about the other: the database refuses this one.
	exec(t, pool, `create function pawl.no_object() returns trigger language plpgsql as $$
		begin
			if '{}' = any (new.result) then raise exception 'value overflows numeric format' using errcode = '22003'; end if;
			return new;
		end $$`)
	exec(t, pool, "create trigger no_object before insert on pawl.archive_chunk for each row "+
		"execute function pawl.no_object()")
	results, err := client.InsertMany(t.Context(), []pawl.JobSpec{{Args: Note{1}, MaxAttempts: 1}, {Args: Note{2}}})
	must(t, err)
	start(t, client, mux, pawl.RunnerConfig{})
	job := await(t, client, results[0].ID, pawlstate.Dead)
	if len(job.Errors) != 1 || !strings.Contains(job.Errors[0].Error, "overflows numeric format") {
		t.Errorf("its errors are %+v, want what the database said", job.Errors)
	}
	close(neighbour)
	await(t, client, results[1].ID, pawlstate.Completed)
}

// A number that jsonb cannot store, or that takes megabytes when it is written out, is found before it is sent.
func TestResultsOfHugeNumbersAreRefused(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	numbers := []string{
		"1e200000",
		"-1e-200000",
		"[" + strings.TrimSuffix(strings.Repeat("1e131071,", 20), ",") + "]",
		"1e999999999999999999999",
	}
	pawl.HandleResult(mux, func(_ context.Context, job *pawl.Job[Note]) (json.RawMessage, error) {
		return json.RawMessage(numbers[job.Args.N]), nil
	})
	for n := range numbers {
		insert(t, client, pawl.JobSpec{Args: Note{n}, MaxAttempts: 1})
	}
	start(t, client, mux, pawl.RunnerConfig{})
	for n := range numbers {
		id := pawl.ID(n + 1)
		job := await(t, client, id, pawlstate.Dead)
		if len(job.Errors) != 1 || !strings.Contains(job.Errors[0].Error, "number") {
			t.Errorf("%.20s: its errors are %+v", numbers[n], job.Errors)
		}
	}
	for n, number := range numbers {
		if _, err := client.Insert(t.Context(), pawl.Raw("note", []byte(number))); !isInvalid(err, "Args") {
			t.Errorf("%.20s as args, number %d: %v", number, n, err)
		}
	}
	for _, fine := range []string{"1e400", "-0.5e-300", "12345678901234567890123456789.5", "0e999999999"} {
		spec := pawl.JobSpec{Args: pawl.Raw("note", []byte(fine)), Queue: "fine"}
		if _, err := client.Insert(t.Context(), spec); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
}

// A backoff that cannot be computed fails nothing: the attempt fails, and the job waits for a bounded time.
func TestABackoffOutOfRangeFailsTheAttempt(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return context.DeadlineExceeded })
	for _, backoff := range []string{
		`{"base": 1e400}`, `{"base": 1e300, "max": 1e300}`, `{"base": "x"}`, `{"growth": -1}`, `{"power": 1e9}`,
		`{"jitter": 1e308}`, `[]`,
		`{"max": 0}`,
	} {
		id := insert(t, client, Note{1})
		exec(
			t,
			pool,
			"update pawl.job set opts = jsonb_build_object('backoff', $1::text::jsonb) where id = $2",
			backoff,
			int64(id),
		)
		stop := start(t, client, mux, pawl.RunnerConfig{})
		job := await(t, client, id, pawlstate.Scheduled)
		if wait := time.Until(job.RunAt); wait > 111*366*24*time.Hour {
			t.Errorf("%s: it waits for %v, more than 100 years and their jitter", backoff, wait)
		}
		must(t, stop())
		wantCount(t, 1)(client.Delete(t.Context(), id))
	}
}

// refuse makes the database refuse to insert rows of job 1 into a table, or to update them.
func refuse(t testing.TB, pool *pgxpool.Pool, event, table string) {
	t.Helper()
	exec(t, pool, `create or replace function pawl.refuse() returns trigger language plpgsql as $$
		begin
			if '1' in (to_jsonb(new) ->> 'id', to_jsonb(new) ->> 'min_id') then
				raise exception 'value overflows numeric format' using errcode = '22003';
			end if;
			return new;
		end $$`)
	exec(t, pool, "create trigger refuse before "+event+" on pawl."+table+" for each row execute function pawl.refuse()")
}

// If the database also refuses the failed attempt, the job is dead at once. Its neighbours complete, and no lease is
// left.
func TestAResultThatIsRefusedTwiceMakesItsJobDead(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	refuse(t, pool, "insert", "archive_chunk")
	refuse(t, pool, "update", "job")
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	results, err := client.InsertMany(t.Context(), notes(40))
	must(t, err)
	start(t, client, mux, pawl.RunnerConfig{})
	for _, r := range results[1:] {
		await(t, client, r.ID, pawlstate.Completed)
	}
	job := await(t, client, results[0].ID, pawlstate.Dead)
	if job.Reason != "unprocessable" || len(job.Errors) != 1 ||
		!strings.Contains(job.Errors[0].Error, "overflows numeric format") {
		t.Errorf("reason %q, errors %+v; want what the database said", job.Reason, job.Errors)
	}
	pgtest.Wait(t, "the leases to be deleted", func() bool {
		return value[int](t, pool, "select count(*) from pawl.lease") == 0
	})
}

// If the database takes no results for a reason that may pass, the results wait and are not lost.
func TestResultsWaitForADatabaseThatTakesNone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	complete := "pawl.complete(bigint[], integer[], bigint[], bigint[], text[], text, bigint[], uuid[])"
	mux := new(pawl.Mux)
	ran := 0
	pawl.HandleResult(mux, func(context.Context, *pawl.Job[Note]) (int, error) {
		ran++
		exec(t, pool, "alter function "+complete+" rename to gone")
		return 5, nil
	})
	log := &book{}
	watched, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))})
	must(t, err)
	id := insert(t, client, Note{1})
	start(t, watched, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "a delivery to fail", func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return strings.Contains(log.text.String(), "results not delivered")
	})
	exec(t, pool, "alter function "+strings.Replace(complete, "complete", "gone", 1)+" rename to complete")
	job := await(t, client, id, pawlstate.Completed)
	if string(job.Result) != "5" || ran != 1 {
		t.Errorf("the result is %s after %d runs, want 5 after one", job.Result, ran)
	}
}

// Numbers at the end of their range overflow in no statement: such jobs end, or run again.
func TestNumbersOutOfRangeStopNoResult(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"attempt":      "attempt = 32767",
		"max_attempts": "attempt = 32766, max_attempts = 32767",
		"crashes":      "crashes = 32767",
		"negative":     "attempt = -32768, crashes = -32768, max_attempts = -32768",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
				if job.Args.N == 0 {
					return errBoom
				}
				return nil
			})
			_, err := client.InsertMany(t.Context(), notes(3))
			must(t, err)
			exec(t, pool, "update pawl.job set "+change)
			exec(t, pool, "update pawl.job set epoch = 2147483647 where id < 3")
			exec(t, pool, "update pawl.ready set epoch = 2147483647 where job_id < 3")
			_, err = client.Claim(t.Context(), "default", 3, time.Minute)
			must(t, err)
			expireLeases(t, pool) // It also gives the jobs back.
			start(t, client, mux, pawl.RunnerConfig{})
			pgtest.Wait(t, "the jobs to end or to wait for a retry", func() bool {
				return value[int](t, pool, "select (select count(*) from pawl.ready) + (select count(*) from pawl.lease)") == 0
			})
			if problems := values[string](t, pool, "select problem from pawl.verify()"); len(problems) > 0 {
				t.Errorf("verify: %v", problems)
			}
		})
	}
}

// Rescue returns the jobs of a lost lease although the database refuses to change one of them. That one is dead.
func TestRescueIsolatesARowThatCannotBeReturned(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	_, err := client.InsertMany(t.Context(), notes(5))
	must(t, err)
	claim(t, client, 5)
	refuse(t, pool, "update", "job")
	expireLeases(t, pool)
	if n := value[int](t, pool, "select count(*) from pawl.ready"); n != 4 {
		t.Errorf("%d jobs are ready again, want 4", n)
	}
	if text := wantUnprocessable(t, pool, 1); !strings.Contains(text, "rescue: value overflows numeric format") {
		t.Errorf("its error is %q", text)
	}
	if findings, err := client.Verify(t.Context()); err != nil || len(findings) > 1 {
		t.Errorf("verify: %+v, %v", findings, err)
	}
}

// Complete of several jobs of which the database refuses one completes the others.
func TestCompleteOfManyOfWhichOneIsRefused(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	_, err := client.InsertMany(t.Context(), notes(9))
	must(t, err)
	jobs := claim(t, client, 9)
	refuse(t, pool, "insert", "archive_chunk")
	err = client.Complete(t.Context(), jobs)
	several, ok := errors.AsType[pawl.JobErrors](err)
	if !ok || len(several) != 1 || !strings.Contains(several[jobs[0].ID].Error(), "overflows numeric format") {
		t.Errorf("got %v, want an error of job %d alone", err, jobs[0].ID)
	}
	if n := value[int](t, pool, "select count(*) from pawl.archive"); n != 8 {
		t.Errorf("%d jobs are completed, want 8", n)
	}
	must(t, client.Fail(t.Context(), jobs[0], pawl.Dead(errBoom)))
}
