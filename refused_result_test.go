package pawl_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
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
	exec(t, pool, "create trigger no_object before insert on pawl.archive_chunk for each row execute function pawl.no_object()")
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
