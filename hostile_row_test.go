package pawl_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// What a claim could not read or compute with, SQL refuses in words of ours.
func TestSQLInsertRefusesWhatAClaimCouldNotRead(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	for options, says := range map[string]string{
		`{"run_at": "infinity"}`:                    "run_at is infinity",
		`{"run_at": "-infinity"}`:                   "run_at is -infinity",
		`{"data": "AAE"}`:                           "data is no base64",
		`{"data": "not base64!"}`:                   "data is no base64",
		`{"run_at": "soon"}`:                        "run_at: 'soon' is no time",
		`{"run_at": "294276-01-01"}`:                "1900 to 9999",
		`{"backoff": {"base": 1e400}}`:              "backoff.base",
		`{"backoff": {"max": 1e300}}`:               "backoff.max",
		`{"backoff": {"growth": 1e300}}`:            "backoff.growth",
		`{"delay": 1e300}`:                          "want a delay",
		`{"reserve": 1e300}`:                        "want a reserve",
		`{"unique": {"key": "k", "period": 1e300}}`: "want a unique.period",
		`{"priority": 5.0}`:                         "priority is no whole number",
		`{"priority": 1e3}`:                         "1000",
		`{"max_attempts": 99999999999999999999}`:    "max_attempts is no whole number",
		`{"attempt": -1}`:                           "want attempt",
		`{"headers": {"a": 1}}`:                     "headers are strings",
		`{"backoff": {"base": -1}}`:                 "backoff.base",
		`{"backoff": {"jitter": 1e400}}`:            "backoff.jitter",
	} {
		_, err := pool.Exec(t.Context(), "select pawl.insert('note', '{}', $1::text::jsonb)", options)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "22023") {
			if options == `{"priority": 1e3}` && err == nil {
				continue // 1000, for jsonb.
			}
			t.Errorf("%s: %v, want %q", options, err, says)
		}
	}
}

// Rows may come from anywhere: a restore, an import, another version. One that cannot be read becomes dead and says
// why; the others of its claim run, and lists show all.
func TestAHostileRowStopsNoClaim(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"opts are no object":      `update pawl.job set opts = '[]' where id = $1`,
		"headers are no object":   `update pawl.job set opts = '{"headers": 5}' where id = $1`,
		"batch is no number":      `update pawl.job set opts = '{"batch": "x"}' where id = $1`,
		"errors are no array":     `update pawl.job set errors = '{"a": 1}' where id = $1`,
		"error of another form":   `update pawl.job set errors = '[5]' where id = $1`,
		"checkpoint is no object": `update pawl.job set checkpoint = '7' where id = $1`,
		"steps are no object":     `update pawl.job set checkpoint = '{"steps": 7}' where id = $1`,
		"args of another form":    `update pawl.job set args = '"x"' where id = $1`,
		"created before time":     `update pawl.job set created_at = '-infinity' where id = $1`,
		"created after time":      `update pawl.job set created_at = 'infinity' where id = $1`,
		"due before time":         `update pawl.job set run_at = '-infinity' where id = $1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			ran := make(chan int, 10)
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error { ran <- job.Args.N; return nil })
			results, err := client.InsertMany(t.Context(), notes(3))
			must(t, err)
			hostile := results[1].ID
			exec(t, pool, change, int64(hostile))
			if jobs, err := client.List(t.Context(), pawl.Filter{}); len(jobs) != 3 || err != nil {
				t.Errorf("listed %d of 3, %v", len(jobs), err)
			}
			if job, err := client.Get(t.Context(), results[0].ID); err != nil || !job.RunAt.IsZero() {
				t.Errorf("a job that was due at once is due at %v, %v", job.RunAt, err)
			}
			start(t, client, mux, pawl.RunnerConfig{})
			await(t, client, results[0].ID, pawlstate.Completed)
			await(t, client, results[2].ID, pawlstate.Completed)
			pgtest.Wait(t, "the hostile job to end", func() bool {
				job, err := client.Get(t.Context(), hostile)
				must(t, err)
				return job.State == pawlstate.Completed || job.State == pawlstate.Dead && job.Reason == "unprocessable"
			})
			if jobs, err := client.List(t.Context(), pawl.Filter{}); len(jobs) != 3 || err != nil {
				t.Errorf("listed %d of 3, %v", len(jobs), err)
			}
		})
	}
}

// A job that is due never, or was due for ever, keeps no queue from being promoted.
func TestInfiniteTimesStopNoPromotion(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	for _, when := range []string{"infinity", "-infinity"} {
		id := insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: hour})
		exec(t, pool, "update pawl.job set run_at = $2::text::timestamptz where id = $1", int64(id), when)
		exec(t, pool, "update pawl.scheduled set run_at = $2::text::timestamptz where job_id = $1", int64(id), when)
	}
	start(t, client, mux, pawl.RunnerConfig{})
	await(t, client, insert(t, client, Note{2}), pawlstate.Completed)
	if jobs, err := client.List(t.Context(), pawl.Filter{}); len(jobs) != 3 || err != nil {
		t.Errorf("listed %d of 3, %v", len(jobs), err)
	}
	pgtest.Wait(t, "a claim by hand to be possible", func() bool {
		_, err := client.Claim(t.Context(), "default", 1, 0)
		must(t, err)
		return true
	})
}
