package pawltest_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

type note struct{ N int }

func (note) Kind() string { return "note" }

type other struct{}

func (*other) Kind() string { return "other" }

// install is New, with the invariant checked at the end.
func install(t *testing.T) *pawl.Client {
	t.Helper()
	client := pawltest.New(t)
	t.Cleanup(func() {
		findings, err := client.Verify(context.Background())
		if err != nil || len(findings) > 0 {
			t.Errorf("verify: %v, %v", findings, err)
		}
	})
	return client
}

func insert(t *testing.T, client *pawl.Client, jobs ...pawl.JobSpec) (ids []pawl.ID) {
	t.Helper()
	results, err := client.InsertMany(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		ids = append(ids, r.ID)
	}
	return ids
}

// ended is a test that somebody else's code may end.
type ended struct {
	testing.TB
	text string
}

func (e *ended) Helper()           {}
func (e *ended) Fatal(args ...any) { e.Fatalf("%s", fmt.Sprint(args...)) }
func (e *ended) Fatalf(format string, args ...any) {
	e.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// ends says why do ended the test.
func ends(t *testing.T, do func(t testing.TB)) string {
	t.Helper()
	e := &ended{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(e)
	}()
	<-done
	if e.text == "" {
		t.Error("it did not end the test")
	}
	return e.text
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in: %s", w, text)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("a database of its own", func(t *testing.T) {
		a, b := install(t), install(t)
		insert(t, a, pawl.JobSpec{Args: note{1}})
		pawltest.RequireNotInserted[note](t, b, pawl.Filter{})
		url = pgtest.Direct(t, pawltest.Pool(t, a).Config().ConnString())
	})
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		conn.Close(t.Context())
		t.Error("the database is still there after its test")
	}
	client, err := pawl.New(nil, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.Pool(t, client) }), "no pool")
}

const childEnv = "PAWLTEST_CHILD"

// A given server is left as it was found, and the private one ends with the process.
func TestGivenServer(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		client := pawltest.New(t)
		insert(t, client, pawl.JobSpec{Args: note{1}})
		fmt.Println("url:", pawltest.Pool(t, client).Config().ConnString())
		if os.Getenv(childEnv) == "killed" {
			process, err := os.FindProcess(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			process.Kill()
			<-t.Context().Done()
		}
		return
	}
	t.Parallel()
	child := func(env ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGivenServer$")
		cmd.Env = append(append(os.Environ(), pgtest.EnvPgBouncer+"="), env...)
		out, err := cmd.Output()
		_, url, _ := strings.Cut(string(out), "url: ")
		url, _, _ = strings.Cut(url, "\n")
		return url, err
	}

	server := pgtest.Server(t)
	if out, err := child(childEnv+"=given", pgtest.EnvURL+"="+server.URL("postgres")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), "select datname::text from pg_database where datname like 'pawl%'")
	if left, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(left) > 0 {
		t.Errorf("databases left: %v, %v", left, err)
	}

	url, err := child(childEnv+"=killed", pgtest.EnvURL+"=")
	if err == nil || url == "" {
		t.Fatalf("the child was not killed: %q, %v", url, err)
	}
	pgtest.Wait(t, "the private server to end with its process", func() bool {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			conn.Close(t.Context())
		}
		return err != nil
	})
}

func TestRequireInserted(t *testing.T) {
	t.Parallel()
	client := install(t)
	pool := pawltest.Pool(t, client)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	insert(t, client.With(tx),
		pawl.JobSpec{Args: note{1}, Queue: "a", Channel: "acme", Fingerprint: "f", Unique: pawl.Unique{Key: "k"}},
		pawl.JobSpec{Args: note{2}, Queue: "b", Delay: time.Hour},
		pawl.JobSpec{Args: &other{}})

	for name, filter := range map[string]pawl.Filter{
		"queue": {Queue: "a"}, "channel": {Channel: "acme"}, "fingerprint": {Fingerprint: "f"}, "key": {UniqueKey: "k"},
		"args": {Args: json.RawMessage(`{"N": 1}`)}, "state": {States: []pawlstate.State{pawlstate.Ready}},
		"due":   {RunBefore: time.Now().Add(time.Minute)},
		"since": {Queue: "a", CreatedAfter: time.Now().Add(-time.Hour), CreatedBefore: time.Now().Add(time.Hour)},
	} {
		if job := pawltest.RequireInserted[note](t, client.With(tx), filter); job.Args.N != 1 {
			t.Errorf("by %s: note %d", name, job.Args.N)
		}
	}
	if job := pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{}); job.Args.N != 2 || job.State != pawlstate.Scheduled {
		t.Errorf("the newest is note %d, %s", job.Args.N, job.State)
	}
	pawltest.RequireInserted[*other](t, client.With(tx), pawl.Filter{})
	if job := pawltest.RequireInserted[pawl.RawArgs](t, client.With(tx), pawl.Filter{Kind: "note", Queue: "b"}); string(job.Args.JSON) != `{"N": 2}` || job.Args.Kind() != "note" {
		t.Errorf("raw args are %s of %q", job.Args.JSON, job.Args.Kind())
	}
	pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"})
	pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{Worker: "nobody"})
	pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{States: []pawlstate.State{pawlstate.Completed}})
	pawltest.RequireNotInserted[note](t, client, pawl.Filter{}) // Not committed.

	contains(t, ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"}) }),
		`kind "note", queue c`, `kind "note", queue "a", channel "acme", ready, args {"N": 1}`, `scheduled until`, `kind "other"`)
	if text := ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"}) }); !regexp.MustCompile(`, in (1h0m0s|59m\d+s), args`).MatchString(text) {
		t.Errorf("it does not say when it is due: %s", text)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{}) }), "should not have been", `"a"`, `"b"`)
	contains(t, ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client, pawl.Filter{}) }), "no live job at all")

	many := make([]pawl.JobSpec, 20)
	for i := range many {
		many[i] = pawl.JobSpec{Args: pawl.Raw("long", []byte(`"`+strings.Repeat("x", 5000)+`"`))}
	}
	insert(t, client.With(tx), many...)
	text := ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"}) })
	if len(text) > 5000 || !strings.Contains(text, "and more") {
		t.Errorf("of many long jobs the message has %d bytes", len(text))
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Kind: "long"}) }), "do not decode")
}

func TestRequireInsertedDatabaseSQL(t *testing.T) {
	t.Parallel()
	client := install(t)
	db := stdlib.OpenDBFromPool(pawltest.Pool(t, client))
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	insert(t, client.WithSQL(tx), pawl.JobSpec{Args: note{7}})
	if job := pawltest.RequireInserted[note](t, client.WithSQL(tx), pawl.Filter{Args: json.RawMessage(`{"N":7}`)}); job.Args.N != 7 {
		t.Errorf("note %d", job.Args.N)
	}
	pawltest.RequireNotInserted[note](t, client.WithSQL(db), pawl.Filter{})
}

// Another schema is found through its client.
func TestRequireInsertedSchema(t *testing.T) {
	t.Parallel()
	client, err := pawl.New(pawltest.Pool(t, pawltest.New(t)), pawl.Config{Schema: "jobs"})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	insert(t, client, pawl.JobSpec{Args: note{1}, Delay: time.Minute})
	pawltest.RequireInserted[note](t, client, pawl.Filter{})
	pawltest.RequireNotInserted[note](t, client, pawl.Filter{Queue: "none"})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	pawltest.Advance(t, client, time.Minute)
	pawltest.RunOne(t, client, mux)
}

func TestWork(t *testing.T) {
	t.Parallel()
	var around []string
	around1 := func(name string) pawl.Middleware {
		return func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
			err := next(ctx)
			around = append(around, fmt.Sprintf("%s: %v", name, err))
			return err
		}
	}
	failure := errors.New("no")
	mux := new(pawl.Mux)
	mux.Use(around1("mux"))
	type key struct{}
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		if pawl.JobFromContext(ctx) != job.JobInfo {
			t.Error("FromContext is another job")
		}
		switch job.Args.N {
		case 1:
			if job.Attempt != 1 || job.MaxAttempts != 20 || job.Queue != "q" || job.Headers["h"] != "v" || string(job.Data) != "d" {
				t.Errorf("the job is %+v", job.JobInfo)
			}
			if err := job.Progress(ctx, 50, "half"); err != nil {
				t.Error(err)
			}
			for range 2 {
				if n, err := pawl.Step(ctx, "one", func(context.Context) (int, error) { return 3, nil }); n != 3 || err != nil {
					t.Errorf("Step: %d, %v", n, err)
				}
			}
			return nil
		case 2:
			return failure
		case 3:
			panic("aside")
		case 4:
			<-ctx.Done()
			return context.Cause(ctx)
		case 5:
			return fmt.Errorf("attempt %d, %v, %s", job.Attempt, ctx.Value(key{}), job.Checkpoint)
		}
		return pawl.ErrSkip
	}, pawl.KindOptions{Timeout: 20 * time.Millisecond, Use: []pawl.Middleware{around1("kind")}})

	if err := pawltest.Work(t, mux, pawl.JobSpec{Args: note{1}, Queue: "q", Headers: map[string]string{"h": "v"}, Data: []byte("d")}); err != nil {
		t.Error(err)
	}
	if err := pawltest.Work(t, mux, note{2}); !errors.Is(err, failure) {
		t.Errorf("an error came out as %v", err)
	}
	if want := []string{"kind: <nil>", "mux: <nil>", "kind: no", "mux: no"}; !slices.Equal(around, want) {
		t.Errorf("middleware saw %q, want %q", around, want)
	}
	if p, ok := errors.AsType[*pawl.PanicError](pawltest.Work(t, mux, note{3})); !ok || p.Value != "aside" {
		t.Errorf("a panic came out as %v", p)
	}
	if err := pawltest.Work(t, mux, note{4}); !errors.Is(err, pawl.ErrTimeout) {
		t.Errorf("past its timeout: %v", err)
	}
	err := pawltest.Work(t, mux, note{5}, pawltest.WorkOptions{
		Context: context.WithValue(t.Context(), key{}, "shared"),
		Prepare: func(job *pawl.JobInfo) { job.Attempt, job.Checkpoint = 3, json.RawMessage(`"here"`) },
	})
	if err == nil || err.Error() != `attempt 3, shared, "here"` {
		t.Errorf("prepared: %v", err)
	}
	if err := pawltest.Work(t, mux, pawl.Raw("note", []byte(`[]`))); err == nil || !strings.Contains(err.Error(), "do not decode") {
		t.Errorf("args that do not decode: %v", err)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.Work(t, mux, &other{}) }), `no handler for kind "other"`, `"note"`)
	contains(t, ends(t, func(t testing.TB) { pawltest.Work(t, mux, nil) }), "Args", "nil")
	contains(t, ends(t, func(t testing.TB) { pawltest.Work(t, mux, pawl.JobSpec{Args: note{1}, MaxAttempts: -1}) }), "MaxAttempts")
}

func TestRunOne(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		switch job.Args.N {
		case 2:
			return errors.New("no luck")
		case 3:
			return pawl.Dead(errors.New("hopeless"))
		case 4:
			return pawl.Snooze(time.Minute)
		case 5:
			panic("aside")
		}
		if err := job.Progress(ctx, 100, "done"); err != nil {
			return err
		}
		_, err := pawl.Step(ctx, "one", func(context.Context) (int, error) { return 1, nil })
		return err
	})
	for _, test := range []struct {
		n       int
		state   pawlstate.State
		attempt int
		failure string
	}{{1, pawlstate.Completed, 1, ""}, {2, pawlstate.Scheduled, 1, "no luck"}, {3, pawlstate.Dead, 1, "hopeless"},
		{4, pawlstate.Scheduled, 0, ""}, {5, pawlstate.Scheduled, 1, "panic: aside"}} {
		id := insert(t, client, pawl.JobSpec{Args: note{test.n}})[0]
		job := pawltest.RunOne(t, client, mux)
		if job.ID != id || job.State != test.state || job.Attempt != test.attempt {
			t.Errorf("note %d: job %d is %s after %d attempts, want job %d %s after %d", test.n, job.ID, job.State, job.Attempt, id, test.state, test.attempt)
		}
		if test.failure != "" && (len(job.Errors) != 1 || job.Errors[0].Error != test.failure) {
			t.Errorf("note %d: errors %v", test.n, job.Errors)
		}
	}
	text := ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) })
	contains(t, text, "no job can be run", "scheduled until", `{"N": 2}`, `{"N": 4}`, `{"N": 5}`)

	id := insert(t, client, pawl.JobSpec{Args: &other{}, Queue: "a"})[0]
	contains(t, ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) }), `no handler for kind "other"`)
	if job, err := client.Get(t.Context(), id); err != nil || job.State != pawlstate.Ready || job.Attempt != 0 {
		t.Errorf("the job without handler is %+v, %v", job, err)
	}
}

// Of a paused queue nothing is run; a job that lost two leases is run as any other.
func TestRunOnePaused(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	id := insert(t, client, pawl.JobSpec{Args: note{1}})[0]
	if err := client.PauseQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) }), "paused", "ready")
	if err := client.ResumeQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if jobs, err := client.Claim(t.Context(), "default", 1, time.Minute); err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		pawltest.Advance(t, client, time.Hour)
	}
	if job := pawltest.RunOne(t, client, mux); job.ID != id || job.State != pawlstate.Completed {
		t.Errorf("job %d is %s", job.ID, job.State)
	}
}

// A handler may fail the test; its job is then a failed attempt, as in a runner.
func TestRunOneEnded(t *testing.T) {
	t.Parallel()
	client := install(t)
	id := insert(t, client, pawl.JobSpec{Args: note{1}})[0]
	ends(t, func(t testing.TB) {
		mux := new(pawl.Mux)
		pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error {
			t.Fatal("in the handler")
			return nil
		})
		pawltest.RunOne(t, client, mux)
	})
	if job, err := client.Get(t.Context(), id); err != nil || job.State != pawlstate.Scheduled || job.Attempt != 1 {
		t.Errorf("the job is %+v, %v", job, err)
	}
}

// What the handler, or somebody else, has finished is returned so.
func TestRunOneFinishedElsewhere(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		if job.Args.N == 1 {
			return pgx.BeginFunc(ctx, pawltest.Pool(t, client), func(tx pgx.Tx) error { return client.With(tx).Complete(ctx, job) })
		}
		_, err := client.Cancel(ctx, job.ID)
		return err
	})
	for n, want := range map[int]pawlstate.State{1: pawlstate.Completed, 2: pawlstate.Cancelled} {
		insert(t, client, pawl.JobSpec{Args: note{n}})
		if job := pawltest.RunOne(t, client, mux); job.State != want {
			t.Errorf("note %d is %s, want %s", n, job.State, want)
		}
	}
	if err := client.PutQueue(t.Context(), pawl.Queue{Name: "default", RetainCompleted: -1, RetainCancelled: -1, RetainDead: -1}); err != nil {
		t.Fatal(err)
	}
	insert(t, client, pawl.JobSpec{Args: note{1}})
	if job := pawltest.RunOne(t, client, mux); job.State != pawlstate.Completed {
		t.Errorf("where nothing is kept the job is %s", job.State)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	var ran []int
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		ran = append(ran, job.Args.N)
		switch {
		case job.Args.N == 2 && job.Attempt == 1:
			return errors.New("once")
		case job.Args.N == 3:
			_, err := client.Insert(ctx, note{30})
			return err
		}
		return nil
	})
	ids := insert(t, client, pawl.JobSpec{Args: note{1}}, pawl.JobSpec{Args: note{2}}, pawl.JobSpec{Args: note{3}},
		pawl.JobSpec{Args: note{4}, Delay: time.Hour}, pawl.JobSpec{Args: note{5}, Queue: "other"})
	insert(t, client, pawl.JobSpec{Args: note{6}, AfterOK: ids[:1]})
	if n := pawltest.Drain(t, client, mux, "default"); n != 5 {
		t.Errorf("%d attempts, want 5", n)
	}
	slices.Sort(ran)
	if want := []int{1, 2, 3, 6, 30}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	ran = nil
	pawltest.Advance(t, client, time.Hour)
	if n := pawltest.Drain(t, client, mux, "default"); n != 2 || !slices.Equal(ran, []int{2, 4}) {
		t.Errorf("an hour later %d attempts, of %v", n, ran)
	}
	if n := pawltest.Drain(t, client, mux, "nobody's"); n != 0 {
		t.Errorf("an empty queue had %d", n)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.Drain(t, client, mux, "") }), "name a queue")
}

// What becomes due while Drain runs stays, however slow the machine.
func TestDrainLeavesRetries(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error {
		return pawl.RetryAfter(time.Millisecond, errors.New("soon"))
	})
	jobs := make([]pawl.JobSpec, 20)
	for n := range jobs {
		jobs[n].Args = note{n}
	}
	insert(t, client, jobs...)
	for range 2 {
		if n := pawltest.Drain(t, client, mux, "default"); n != 20 {
			t.Errorf("%d attempts, want 20", n)
		}
		pawltest.Advance(t, client, time.Second)
	}
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	var ran []int
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[note]) error {
		ran = append(ran, job.Args.N)
		return nil
	})
	ctx := t.Context()
	insert(t, client, pawl.JobSpec{Args: note{3}, Delay: 3 * time.Hour}, pawl.JobSpec{Args: note{2}, Delay: 2 * time.Hour},
		pawl.JobSpec{Args: note{1}, Delay: time.Hour}, pawl.JobSpec{Args: note{0}})
	pawltest.Drain(t, client, mux, "default")
	pawltest.Advance(t, client, 59*time.Minute)
	pawltest.Drain(t, client, mux, "default")
	if !slices.Equal(ran, []int{0}) {
		t.Fatalf("too early: %v", ran)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	pawltest.Drain(t, client, mux, "default")
	if !slices.Equal(ran, []int{0, 1, 2}) {
		t.Fatalf("after two hours: %v", ran)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	pawltest.Drain(t, client, mux, "default")
	if !slices.Equal(ran, []int{0, 1, 2, 3}) {
		t.Fatalf("after three hours: %v", ran)
	}

	reserved := insert(t, client, pawl.JobSpec{Args: note{8}, Reserve: time.Hour})[0]
	pawltest.Advance(t, client, 30*time.Minute)
	if job, err := client.Get(ctx, reserved); err != nil || job.State != pawlstate.Reserved {
		t.Errorf("half its time later a reservation is %v, %v", job, err)
	}
	pawltest.Advance(t, client, 31*time.Minute)
	if err := client.CommitReserved(ctx, reserved); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("commit of an expired reservation: %v", err)
	}

	key := pawl.JobSpec{Args: note{9}, Unique: pawl.Unique{Key: "k", Period: time.Hour}}
	insert(t, client, key)
	pawltest.RunOne(t, client, mux)
	if again, err := client.Insert(ctx, key); err != nil || !again.Duplicate {
		t.Errorf("within the key's period: %+v, %v", again, err)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	if again, err := client.Insert(ctx, key); err != nil || again.Duplicate {
		t.Errorf("after the key's period: %+v, %v", again, err)
	}
	jobs, err := client.Claim(ctx, "default", 1, time.Hour)
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	pawltest.Advance(t, client, 61*time.Minute)
	if err := client.Complete(ctx, jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("complete after the lease's end: %v", err)
	}
	pawltest.RunOne(t, client, mux)
	contains(t, ends(t, func(t testing.TB) { pawltest.Advance(t, client, 0) }), "positive")
}

// A waiting job's due time passes too.
func TestAdvanceWaiting(t *testing.T) {
	t.Parallel()
	client := install(t)
	first := insert(t, client, pawl.JobSpec{Args: note{1}})
	second := insert(t, client, pawl.JobSpec{Args: note{2}, Delay: time.Hour, AfterOK: first})[0]
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	pawltest.Advance(t, client, time.Hour)
	pawltest.RunOne(t, client, mux)
	if job := pawltest.RunOne(t, client, mux); job.ID != second || job.State != pawlstate.Completed {
		t.Errorf("job %d is %s", job.ID, job.State)
	}
}

// A consumer that has promoted before finds what Advance made due: its floor is not above it.
func TestAdvanceBesideConsumer(t *testing.T) {
	t.Parallel()
	client := install(t)
	for n := range 5 {
		insert(t, client, pawl.JobSpec{Args: note{n}, Delay: time.Hour})
		if jobs, err := client.Claim(t.Context(), "default", 10, time.Minute); err != nil || len(jobs) > 0 {
			t.Fatal(jobs, err)
		}
		pawltest.Advance(t, client, 2*time.Hour)
		jobs, err := client.Claim(t.Context(), "default", 10, time.Minute)
		if err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		if err := client.Complete(t.Context(), jobs); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPermit(t *testing.T) {
	t.Parallel()
	snooze := pawl.Snooze(time.Minute)
	for _, test := range []struct{ answers, want []error }{
		{nil, []error{nil, nil}},
		{[]error{snooze}, []error{snooze, snooze}},
		{[]error{snooze, nil}, []error{snooze, nil, nil}},
	} {
		permit := pawltest.Permit(test.answers...)
		for i, want := range test.want {
			release, err := permit(t.Context(), &pawl.JobInfo{})
			if err != want || (release == nil) != (want != nil) {
				t.Errorf("answer %d of %v is %v", i, test.answers, err)
			}
			if release != nil {
				release()
			}
		}
	}
}

// The permit of a kind is asked, with a database and without.
func TestPermitOfKind(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.HandleResult(mux, func(_ context.Context, job *pawl.Job[note]) (int, error) { return job.Args.N, nil },
		pawl.KindOptions{Permit: pawltest.Permit(pawl.ErrSkip, pawl.Snooze(time.Minute), nil)})
	if err := pawltest.Work(t, mux, note{1}); !errors.Is(err, pawl.ErrSkip) {
		t.Errorf("without a database: %v", err)
	}
	insert(t, client, pawl.JobSpec{Args: note{7}})
	if job := pawltest.RunOne(t, client, mux); job.State != pawlstate.Scheduled || job.Attempt != 0 {
		t.Errorf("snoozed by the permit the job is %s after %d attempts", job.State, job.Attempt)
	}
	pawltest.Advance(t, client, time.Minute)
	if job := pawltest.RunOne(t, client, mux); job.State != pawlstate.Completed || string(job.Result) != "7" {
		t.Errorf("with the permit the job is %s, its result %s", job.State, job.Result)
	}
}

func TestChunk(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.HandleChunk(mux, func(ctx context.Context, jobs []*pawl.Job[note]) error {
		if len(jobs) != 1 || pawl.JobFromContext(ctx) != nil {
			t.Errorf("%d jobs, %v", len(jobs), pawl.JobFromContext(ctx))
		}
		if jobs[0].Args.N == 2 {
			return pawl.JobErrors{jobs[0].ID: pawl.Dead(errors.New("no"))}
		}
		return pawl.JobErrors{}
	})
	for n, want := range map[int]pawlstate.State{1: pawlstate.Completed, 2: pawlstate.Dead} {
		insert(t, client, pawl.JobSpec{Args: note{n}})
		if job := pawltest.RunOne(t, client, mux); job.State != want {
			t.Errorf("note %d is %s, want %s", n, job.State, want)
		}
		if err := pawltest.Work(t, mux, note{n}); (err != nil) != (n == 2) {
			t.Errorf("note %d without a database: %v", n, err)
		}
	}
}

// A queue's limits hold, and its rate refills as time passes.
func TestLimits(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	policy := pawl.Queue{Name: "default", MaxRunning: 1, Rate: pawl.Rate{N: 2, Per: time.Hour}}
	if err := client.PutQueue(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	insert(t, client, pawl.JobSpec{Args: note{1}}, pawl.JobSpec{Args: note{2}}, pawl.JobSpec{Args: note{3}}, pawl.JobSpec{Args: note{4}})
	if n := pawltest.Drain(t, client, mux, "default"); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) }), "at a limit")
	pawltest.Advance(t, client, time.Hour)
	if n := pawltest.Drain(t, client, mux, "default"); n != 2 {
		t.Errorf("an hour later %d attempts, want 2", n)
	}
}
