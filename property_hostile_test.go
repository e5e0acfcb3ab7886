package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// hostileJobs is the environment variable with the number of jobs of TestPropertyHostileRows. From 100,000 on, the test
// also compares the throughput with that of a run without hostile rows.
const hostileJobs = "PAWL_HOSTILE_JOBS"

// A hostileRow is a change of a job's row, and what has to become of such a job: "completed", or the reason of its
// death.
type hostileRow struct{ change, end string }

// The first ones are harmless although a client cannot read such a time. For the results that the database refuses see
// refuseResults.
var hostileRows = []hostileRow{
	{"created_at = 'infinity'", "completed"},
	{"run_at = '-infinity'", "completed"},
	{"attempt = 32767", "completed"},
	{"args = cast('\\x00000000'::bytea as jsonb)", "unprocessable"},
	{"opts = cast('\\x00000000'::bytea as jsonb)", "unprocessable"},
	{"checkpoint = cast('\\x00000000'::bytea as jsonb)", "unprocessable"},
	{"opts = '[]'", "unprocessable"},
	{`opts = '{"headers": 5}'`, "unprocessable"},
	{`errors = '{"a": 1}'`, "unprocessable"},
	{"checkpoint = '7'", "unprocessable"},
	{"args = '[]'", "unprocessable"},
	{"max_attempts = 1, fingerprint = 'refused'", "attempts"},
	{"fingerprint = 'refused twice'", "unprocessable"},
	{`max_attempts = 2, opts = '{"backoff": {"base": -1e400, "growth": 1e400}}', kind = 'fail'`, "attempts"},
	{"max_attempts = -32768, kind = 'fail'", "attempts"},
}

// Fail is the args of jobs whose attempts fail.
type Fail struct{}

func (Fail) Kind() string { return "fail" }

// refuseResults makes the database refuse to finish some jobs, and to change some of these.
func refuseResults(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, "create cast (bytea as jsonb) without function")
	exec(t, pool, `create function public.refuse() returns trigger language plpgsql as $$
		begin raise exception 'value overflows numeric format' using errcode = '22003'; end $$`)
	exec(t, pool, `create trigger refuse before insert on pawl.archive_chunk for each row
		when (array_to_string(new.fingerprint, ',') like '%refused%') execute function public.refuse()`)
	exec(t, pool, `create trigger refuse before update on pawl.job for each row
		when (new.fingerprint = 'refused twice' and new.attempt > old.attempt) execute function public.refuse()`)
}

// runHostile inserts n jobs, makes every nth of them hostile, runs them all, and returns how many ended a second.
func runHostile(t *testing.T, n, every int) float64 {
	t.Helper()
	client, pool := install(t)
	refuseResults(t, pool)
	for part := n; part > 0; part -= 10_000 {
		_, err := client.InsertMany(t.Context(), notes(min(part, 10_000)))
		must(t, err)
	}
	wanted := map[string]int{}
	for i, row := range hostileRows {
		if every == 0 {
			break
		}
		tag, err := pool.Exec(t.Context(), fmt.Sprintf("update pawl.job set %s where id %% %d = 0 and id / %d %% %d = %d",
			row.change, every, every, len(hostileRows), i))
		must(t, err)
		wanted[row.end] += int(tag.RowsAffected())
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	pawl.Handle(mux, func(context.Context, *pawl.Job[Fail]) error { return errors.New("as it should") })
	began := time.Now()
	stop := start(t, client, mux, pawl.RunnerConfig{})
	left := 0
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if left = value[int](t, pool, "select count(*)::int from (select from pawl.job limit 1) j"); left == 0 {
			break
		}
	}
	rate := float64(n) / time.Since(began).Seconds()
	must(t, stop())
	ended := map[string]int{}
	const ends = `select case when every = 0 or id % every <> 0 then 'innocent ' else '' end || e.end
		from (select id, a.state as end from pawl.archive a union all select d.id, d.reason from pawl.dead d) e,
			(values ($1::bigint)) v (every)`
	for _, end := range values[string](t, pool, ends, int64(every)) {
		ended[end]++
	}
	innocent := n
	for end, count := range wanted {
		innocent -= count
		if ended[end] != count {
			t.Errorf("%d hostile jobs are %s, want %d", ended[end], end, count)
		}
	}
	if left > 0 || ended["innocent completed"] != innocent {
		t.Errorf("%d jobs are live; ends are %v; want %d innocent jobs completed", left, ended, innocent)
	}
	const silent = "select count(*)::int from pawl.dead where coalesce(jsonb_array_length(errors), 0) = 0"
	if n := value[int](t, pool, silent); n > 0 {
		t.Errorf("%d dead jobs have no error", n)
	}
	exec(t, pool, "drop function public.refuse() cascade")
	if findings, err := client.Verify(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("verify: %+v, %v", findings, err)
	}
	jobs, err := client.List(t.Context(), pawl.Filter{Limit: n})
	if err != nil || len(jobs) != n {
		t.Errorf("listed %d of %d jobs, %v", len(jobs), n, err)
	}
	return rate
}

// With a hundredth of the rows hostile, all other jobs complete, and each hostile job ends with a reason.
func TestPropertyHostileRows(t *testing.T) {
	t.Parallel()
	n, _ := strconv.Atoi(os.Getenv(hostileJobs))
	if n == 0 {
		runHostile(t, 2000, 20) // Each kind of hostile row several times.
		return
	}
	var rates []string
	var clean, hostile float64
	for range 3 {
		c, h := runHostile(t, n, 0), runHostile(t, n, 100)
		clean, hostile = max(clean, c), max(hostile, h)
		rates = append(rates, fmt.Sprintf("%.0f/%.0f", h, c))
	}
	t.Logf("%d jobs: %.0f jobs/s with hostile rows, %.0f without, %.0f %%; all runs: %s",
		n, hostile, clean, 100*hostile/clean, strings.Join(rates, ", "))
	if hostile < 0.8*clean {
		t.Errorf("the throughput with hostile rows is below 80 %% of that without")
	}
}
