package pawlimport_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlimport"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestMain(m *testing.M) { pgtest.Main(m, migrate) }

func migrate(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		return err
	}
	return client.Migrate(ctx)
}

type importer func(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, options pawlimport.Options) (pawlimport.Report, error)

var importers = map[string]importer{
	"river":           pawlimport.River,
	"pg-boss":         pawlimport.PgBoss,
	"graphile-worker": pawlimport.GraphileWorker,
}

// load puts what a source has left into a database.
func load(t testing.TB, url, source string) *pgxpool.Pool {
	t.Helper()
	text, err := os.ReadFile("testdata/" + source + ".sql")
	must(t, err)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.PgConn().Exec(t.Context(), "set check_function_bodies = off;"+string(text)).ReadAll()
	must(t, err)
	return pgtest.Pool(t, url)
}

// install is a client on a database with Pawl; in the end its invariant must hold.
func install(t testing.TB, url string) *pawl.Client {
	t.Helper()
	client, err := pawl.New(pgtest.Pool(t, url), pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(t, err)
	t.Cleanup(func() {
		findings, err := client.Verify(context.Background())
		for _, f := range findings {
			t.Errorf("verify: %s: %s", f.Check, f.Problem)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return client
}

// together is a source and Pawl in one database.
func together(t testing.TB, source string) (*pgxpool.Pool, *pawl.Client) {
	t.Helper()
	url := pgtest.Database(t)
	return load(t, url, source), install(t, url)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, pool *pgxpool.Pool, text string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func value[T any](t testing.TB, pool *pgxpool.Pool, text string, args ...any) (v T) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), text, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// imported are the jobs in Pawl by the id they had.
func imported(t testing.TB, client *pawl.Client) map[string]*pawl.JobInfo {
	t.Helper()
	found, err := client.List(t.Context(), pawl.Filter{Limit: 100_000})
	must(t, err)
	jobs := map[string]*pawl.JobInfo{}
	for _, job := range found {
		_, id, _ := strings.Cut(job.Headers["import.from"], "/")
		if jobs[id] != nil {
			t.Errorf("job %s is there twice", id)
		}
		jobs[id] = job
	}
	return jobs
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// noted fails the test unless a note with this text is about these jobs.
func noted(t testing.TB, notes []pawlimport.Note, text string, jobs int64, ids ...string) {
	t.Helper()
	for _, n := range notes {
		if strings.Contains(n.What, text) {
			if n.Jobs != jobs {
				t.Errorf("%q is said of %d jobs, want %d", n.What, n.Jobs, jobs)
			}
			for _, id := range ids {
				if !slices.Contains(n.IDs, id) {
					t.Errorf("%q is said of %v, want %s among them", n.What, n.IDs, id)
				}
			}
			return
		}
	}
	t.Errorf("nothing is said about %q", text)
}

func left(r pawlimport.Report) map[string]int64 {
	states := map[string]int64{}
	for _, l := range r.Left {
		states[l.State] = l.Jobs
	}
	return states
}

// alike are JSON values that are the same value, whatever their spelling.
func alike(t testing.TB, pool *pgxpool.Pool, a, b string) bool {
	t.Helper()
	return value[bool](t, pool, "select $1::text::jsonb = $2::text::jsonb", a, b)
}

var later = time.Date(2100, 1, 2, 3, 4, 5, 678_901_000, time.UTC)

func TestRiver(t *testing.T) {
	t.Parallel()
	pool, client := together(t, "river")
	exec(t, pool, "update river_queue set paused_at = now() where name = 'work'")
	var args string
	must(t, pool.QueryRow(t.Context(), "select args::text from river_job where id = 2").Scan(&args))
	wantErrors := value[string](t, pool, "select to_json(errors)::text from river_job where id = 16")
	report, err := pawlimport.River(t.Context(), pool, client, pawlimport.Options{})
	must(t, err)
	t.Log(report)
	jobs := imported(t, client)
	if report.Imported != 12 || len(jobs) != 12 || report.Version != 8 {
		t.Fatalf("%d jobs imported, %d there, version %d; want 12 and version 8", report.Imported, len(jobs), report.Version)
	}
	same(
		t,
		"left",
		left(report),
		map[string]int64{"pending": 1, "running": 1, "completed": 1, "cancelled": 1, "discarded": 1},
	)
	same(
		t,
		"states at the source",
		value[int](t, pool, "select count(*) from river_job where state in ('available', 'scheduled', 'retryable')"),
		0,
	)

	bob := jobs["2"]
	if bob.Kind != "email" || bob.Queue != "mail" || bob.Priority != 3 || bob.MaxAttempts != 3 || bob.Attempt != 0 ||
		bob.State != pawlstate.Ready ||
		!alike(t, pool, string(bob.Args), args) {
		t.Errorf("job 2 is %+v", bob)
	}
	same(t, "tags", bob.Headers["import.tags"], `["bulk","two-words"]`)
	if !alike(t, pool, bob.Headers["import.metadata"], `{"n": 1, "trace": "4bf92f35"}`) ||
		bob.Headers["import.from"] != "river/2" ||
		bob.Headers["import.created_at"] == "" {
		t.Errorf("headers: %v", bob.Headers)
	}
	same(t, "priority of the default", jobs["1"].Priority, 0)
	if j := jobs["4"]; j.State != pawlstate.Scheduled || !j.RunAt.Equal(later) || j.MaxAttempts != 7 {
		t.Errorf("job 4 is %s at %v with %d attempts", j.State, j.RunAt, j.MaxAttempts)
	}
	// Three attempts of four are used, and their errors are kept.
	j := jobs["16"]
	if j.Attempt != 3 || j.MaxAttempts != 4 || j.State != pawlstate.Scheduled || !j.RunAt.Equal(later) || j.Priority != 2 {
		t.Errorf("job 16 is %+v", j)
	}
	var want []struct {
		At      time.Time
		Attempt int
		Error   string
	}
	must(t, json.Unmarshal([]byte(wantErrors), &want))
	if len(j.Errors) != 3 || len(want) != 3 {
		t.Fatalf("%d errors of %d", len(j.Errors), len(want))
	}
	for i, e := range j.Errors {
		if e.Attempt != want[i].Attempt || e.Error != want[i].Error || !e.At.Equal(want[i].At) ||
			!strings.Contains(e.Error, "«naïve» \"quoted\"") {
			t.Errorf("error %d is %+v, want %+v", i, e, want[i])
		}
	}
	if e := jobs["11"].Errors; len(e) != 1 || e[0].Error != "no way out" || !strings.Contains(e[0].Stack, "Work") {
		t.Errorf("the panic's errors are %+v", e)
	}
	if j := jobs["12"]; j.Attempt != 0 || j.State != pawlstate.Scheduled {
		t.Errorf("the snoozed job has used %d attempts and is %s", j.Attempt, j.State)
	}
	// Unique keys.
	for id, n := range map[string]string{"6": "1", "7": "2", "8": "3", "9": "4"} {
		if j := jobs[id]; !strings.HasPrefix(j.UniqueKey, "river:") || len(j.UniqueKey) != 70 ||
			string(j.Args) != `{"n": `+n+`}` {
			t.Errorf("job %s has the key %q and args %s", id, j.UniqueKey, j.Args)
		}
	}
	noted(t, report.Changed, "free again when the job ends", 3, "6", "7", "8")
	noted(t, report.Changed, "waits for a retry, too", 1, "9")
	noted(t, report.Changed, "tags", 2, "2", "16")
	queues, err := client.Queues(t.Context())
	must(t, err)
	if i := slices.IndexFunc(queues, func(q pawl.Queue) bool { return q.Name == "work" }); i < 0 || !queues[i].Paused {
		t.Errorf("the queue work is not paused: %+v", queues)
	}

	// The order is that of the urgency there: by priority, by time, by id.
	claimed, err := client.Claim(t.Context(), "default", 10, time.Minute)
	must(t, err)
	var ids []string
	for _, job := range claimed {
		ids = append(ids, strings.TrimPrefix(job.Headers["import.from"], "river/"))
	}
	same(t, "order", ids, []string{"1", "6", "8", "9"})

	// Again: nothing.
	report, err = pawlimport.River(t.Context(), pool, client, pawlimport.Options{})
	must(t, err)
	same(t, "imported again", report.Imported, int64(0))
}

func TestPgBoss(t *testing.T) {
	t.Parallel()
	pool, client := together(t, "pg-boss")
	ids := map[string]string{}
	rows, err := pool.Query(
		t.Context(),
		"select name || ' ' || coalesce(data ->> 'to', data ->> 'what', data ->> 'n', ''), id::text from pgboss.job",
	)
	must(t, err)
	var what, id string
	_, err = pgx.ForEachRow(rows, []any{&what, &id}, func() error { ids[what] = id; return nil })
	must(t, err)
	args := value[string](
		t,
		pool,
		"select data::text from pgboss.job where id = $1::text::uuid",
		ids["email bob@example.com"],
	)
	report, err := pawlimport.PgBoss(t.Context(), pool, client, pawlimport.Options{Schedules: true})
	must(t, err)
	t.Log(report)
	jobs := imported(t, client)
	if report.Imported != 23 || len(jobs) != 23 || report.Version != 43 {
		t.Fatalf("%d jobs imported, %d there, version %d; want 23 and version 43", report.Imported, len(jobs), report.Version)
	}
	same(t, "left", left(report), map[string]int64{"active": 1, "flow": 2, "completed": 1, "cancelled": 1, "failed": 2})
	job := func(what string) *pawl.JobInfo {
		t.Helper()
		j := jobs[ids[what]]
		if j == nil {
			t.Fatalf("%s was not imported", what)
		}
		return j
	}
	bob := job("email bob@example.com")
	if bob.Kind != "email" || bob.Queue != "email" || bob.Priority != -5 || bob.MaxAttempts != 8 || bob.Attempt != 0 ||
		bob.State != pawlstate.Ready ||
		!alike(t, pool, string(bob.Args), args) {
		t.Errorf("bob is %+v", bob)
	}
	same(t, "dead letter", bob.Headers["import.dead_letter"], "rest")
	noted(t, report.Changed, "dead letter queue rest", 7)
	if j := job("email "); j.Args != nil || j.Priority != 32767 {
		t.Errorf("without data: args %s, priority %d", j.Args, j.Priority)
	}
	noted(t, report.Changed, "priority: cut", 1, ids["email "])
	if j := job("email later@example.com"); j.State != pawlstate.Scheduled ||
		!j.RunAt.Equal(later.Truncate(time.Millisecond)) {
		t.Errorf("later is %s at %v", j.State, j.RunAt)
	}
	if j := job("work fail"); j.Attempt != 1 || j.MaxAttempts != 5 || j.State != pawlstate.Scheduled ||
		len(j.Errors) != 1 ||
		j.Errors[0].Error != `attempt 1 went wrong: «naïve» "quoted"` ||
		!strings.Contains(j.Errors[0].Stack, "boom") {
		t.Errorf("failed once: %+v", j)
	}
	if j := job("work fail twice"); j.Attempt != 3 || j.MaxAttempts != 5 || j.State != pawlstate.Ready ||
		j.Errors[0].Error != "attempt 2" {
		t.Errorf("failed twice, and cancelled: %+v", j)
	}
	if j := job("rest dead@example.com"); j.Attempt != 0 || j.Priority != -9999 ||
		!strings.HasPrefix(j.Headers["import.dead_of"], "email/") {
		t.Errorf("the dead letter: %+v", j)
	}
	if j := job("big 2"); j.Channel != "tenant-1" || j.Headers["import.group_tier"] != "gold" {
		t.Errorf("the group: channel %q, headers %v", j.Channel, j.Headers)
	}
	for what, want := range map[string][3]string{ // Key, channel, ordered.
		"short 1": {"short", "", "false"}, "short 2": {"a", "", "false"}, "singleton 1": {"", "a", "false"}, "singleton 2": {"", "a", "false"},
		"stately 1": {"", "a", "false"}, "stately 2": {"a", "a", "false"}, "exclusive 1": {"exclusive", "", "false"}, "exclusive 2": {"a", "", "false"},
		"key_strict_fifo 1": {"", "a", "true"}, "key_strict_fifo 2": {"", "a", "true"}, "key_strict_fifo 3": {"", "b", "true"},
		"email key@example.com": {"", "", "false"},
	} {
		j := job(what)
		same(t, what, [3]string{j.UniqueKey, j.Channel, fmt.Sprint(j.Ordered)}, want)
	}
	if result, err := client.Insert(t.Context(), pawl.JobSpec{Args: pawl.Raw("short", nil), Queue: "short", Unique: pawl.Unique{Key: "a"}}); err != nil ||
		!result.Duplicate {
		t.Errorf("another short one: %+v, %v", result, err)
	}
	first, second := job("key_strict_fifo 1"), job("key_strict_fifo 2")
	if first.State != pawlstate.Ready || second.State != pawlstate.Waiting || first.ID > second.ID {
		t.Errorf("strict order: %s %d, %s %d", first.State, first.ID, second.State, second.ID)
	}
	noted(t, report.Changed, "singletonSeconds", 1, ids["email slot@example.com"])
	noted(t, report.Changed, "heartbeatSeconds", 1, ids["email beats@example.com"])
	noted(t, report.Changed, "expireInSeconds 60", 1, ids["email bob@example.com"])

	// Schedules.
	slices.Sort(report.Crons)
	same(t, "crons", report.Crons, []string{"email/digest", "work"})
	crons, err := client.Crons(t.Context())
	must(t, err)
	if len(crons) != 2 || crons[0].Spec != "30 8 * * 1-5" || crons[0].Zone != "Europe/Berlin" ||
		crons[0].Job.Priority != -3 ||
		crons[0].Job.MaxAttempts != 5 ||
		crons[0].Job.Queue != "email" ||
		crons[1].Job.MaxAttempts != 5 {
		t.Errorf("crons: %+v", crons)
	}
	same(t, "schedules left", value[string](t, pool, "select string_agg(name, ',') from pgboss.schedule"), "big")
	if !slices.ContainsFunc(
		report.Remarks,
		func(s string) bool { return strings.Contains(s, "big/rule") && strings.Contains(s, "recurrence rule") },
	) {
		t.Errorf("remarks: %q", report.Remarks)
	}
}

func TestGraphileWorker(t *testing.T) {
	t.Parallel()
	pool, client := together(t, "graphile-worker")
	report, err := pawlimport.GraphileWorker(
		t.Context(),
		pool,
		client,
		pawlimport.Options{RenameQueues: map[string]string{"default": "node"}},
	)
	must(t, err)
	t.Log(report)
	jobs := imported(t, client)
	if report.Imported != 15 || len(jobs) != 15 || report.Version != 20 {
		t.Fatalf("%d jobs imported, %d there, version %d; want 15 and version 20", report.Imported, len(jobs), report.Version)
	}
	// Left: one with a zero byte, one that failed for good, two that run, one behind a running one.
	same(t, "left", left(report), map[string]int64{"available": 1, "failed": 1, "running": 2, "serial": 1})
	noted(t, report.Refused, `\u0000`, 1, "13")
	bob := jobs["7"]
	if bob.Kind != "email" || bob.Queue != "node" || bob.Priority != -5 || bob.MaxAttempts != 3 || bob.Attempt != 0 ||
		bob.State != pawlstate.Ready ||
		!alike(
			t,
			pool,
			string(bob.Args),
			`{"to":"bob@example.com","text":"Grüße, 世界 😀 </script> \"\\\n","deep":[1.5e-7,null,true,[]]}`,
		) {
		t.Errorf("bob is %+v", bob)
	}
	if !alike(t, pool, bob.Headers["import.flags"], `{"bulk": true, "slow": true}`) {
		t.Errorf("headers: %v", bob.Headers)
	}
	if !alike(t, pool, string(jobs["12"].Args), `{"b": 1.50, "a": 12345678901234567890.123}`) ||
		string(jobs["14"].Args) != "null" ||
		!alike(t, pool, string(jobs["11"].Args), `[1, "two", {"three": 3}]`) {
		t.Errorf("args: %s, %s, %s", jobs["12"].Args, jobs["14"].Args, jobs["11"].Args)
	}
	if j := jobs["2"]; j.Attempt != 1 || j.MaxAttempts != 5 || j.Priority != 3 || j.State != pawlstate.Scheduled || !j.RunAt.Equal(later.Truncate(time.Millisecond)) ||
		len(j.Errors) != 1 ||
		j.Errors[0].Attempt != 1 ||
		j.Errors[0].Error != `it went wrong: «naïve» "quoted"` ||
		!j.Errors[0].At.IsZero() {
		t.Errorf("failed once: %+v", j)
	}
	if j := jobs["5"]; string(j.Args) != "[1, 3]" || j.Attempt != 1 {
		t.Errorf("the rest of an array: %+v", j)
	}
	// The serial queue, in its order: priority, then time.
	serial := []string{"16", "15", "3", "17"}
	for i, id := range serial {
		j := jobs[id]
		if j.Channel != "serial" || !j.Ordered || j.Priority != 0 {
			t.Errorf("%s is in channel %q, ordered %t, priority %d", id, j.Channel, j.Ordered, j.Priority)
		}
		if i > 0 && j.ID <= jobs[serial[i-1]].ID {
			t.Errorf("%s is before %s", id, serial[i-1])
		}
		if want := map[bool]pawlstate.State{true: pawlstate.Ready, false: pawlstate.Waiting}[i == 0]; j.State != want {
			t.Errorf("%s is %s, want %s", id, j.State, want)
		}
	}
	same(t, "attempts in the serial queue", jobs["3"].Attempt, 3)
	noted(t, report.Changed, "priority in a serial queue", 1, "16")
	noted(t, report.Changed, "serial queue: an ordered channel", 5)
	// A key keeps others out until the job starts, in every queue.
	same(t, "key", jobs["9"].UniqueKey, "welcome:42")
	if result, err := client.Insert(t.Context(), pawl.JobSpec{Args: pawl.Raw("email", nil), Unique: pawl.Unique{Key: "welcome:42", Global: true}}); err != nil ||
		!result.Duplicate {
		t.Errorf("another of the key: %+v, %v", result, err)
	}
	if !slices.ContainsFunc(report.Remarks, func(s string) bool { return strings.Contains(s, "nightly") }) {
		t.Errorf("remarks: %q", report.Remarks)
	}
}
