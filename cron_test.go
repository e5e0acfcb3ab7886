package pawl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestCronKeepsAllOfAJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	job := pawl.JobSpec{
		Args: pawl.Raw("report", []byte(`{"text": "<a & ☕>", "n": 12345678901234567890}`)), Data: []byte{0, 255, 'x'},
		Queue: "reports", Channel: "acme", Priority: -3,
		Delay: 90 * time.Minute, MaxAttempts: 7, Backoff: pawl.Backoff{Base: 2 * time.Second, Max: time.Minute, Growth: 3,
			Power: 1, NoJitter: true},
		Fingerprint: "f", Headers: map[string]string{"trace": "1", "cron": "a user's"},
		Unique: pawl.Unique{Key: "reports", Period: time.Hour, Global: true, UntilStart: true, Replace: true,
			Reschedule: true},
		AfterOK: []pawl.ID{1}, AfterAny: []pawl.ID{2}, AfterNotOK: []pawl.ID{3}, KeepWaiting: true,
		Attempt: 2, Errors: []pawl.AttemptError{{Attempt: 2, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Error: "no",
			Stack: "here"}},
	}
	exec(t, pool, "select setval('pawl.pos', 10)") // The jobs it comes after have been.
	put := pawl.Cron{Name: "reports ☕", Spec: "30 2 * * mon", Zone: "Europe/Berlin", Job: job,
		Jitter: 1500 * time.Millisecond, CatchUp: 2, Version: 4}
	putCron(t, client, put)
	cron := oneCron(t, client, put.Name)
	if want, err := put.Next(value[time.Time](t, pool, "select clock_timestamp()"), 1); err != nil ||
		!cron.NextAt.Equal(want[0]) {
		t.Errorf("the next tick is %v, want %v (%v)", cron.NextAt, want, err)
	}
	if !cron.LastAt.IsZero() || cron.Paused {
		t.Errorf("new: %+v", cron)
	}
	// A field that JobSpec has got and crons do not keep is found here.
	spec := reflect.ValueOf(cron.Job)
	for i := range spec.NumField() {
		if name := spec.Type().Field(i).Name; spec.Field(i).IsZero() && name != "RunAt" && name != "Reserve" &&
			name != "Ordered" && name != "Undo" {
			t.Errorf("JobSpec.%s was not kept, or is not set by this test", name)
		}
	}
	want := put
	want.NextAt, want.Job.Args, cron.Job.Args = cron.NextAt, nil, nil
	if !reflect.DeepEqual(cron, want) {
		t.Errorf("got\n\t%+v, want\n\t%+v", cron, want)
	}
	cron.Job.Args = job.Args
	putCron(t, client, cron) // What was read can be put.
	if again := oneCron(t, client, put.Name); !again.NextAt.Equal(cron.NextAt) {
		t.Errorf("the same spec again moved the next tick from %v to %v", cron.NextAt, again.NextAt)
	}

	makeCronsLate(t, pool, "1 second")
	tick := value[time.Time](t, pool, "select next_at from pawl.cron")
	tickCrons(t, client)
	id := value[int64](t, pool, "select id from pawl.job")
	got, err := client.Get(t.Context(), pawl.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != "report" || got.Queue != "reports" || got.Channel != "acme" || got.Priority != -3 ||
		got.MaxAttempts != 7 || got.Fingerprint != "f" ||
		!bytes.Equal(got.Data, job.Data) || got.State != pawlstate.Waiting {
		t.Errorf("the job is %+v", got)
	}
	if after := got.RunAt.Sub(tick); after < job.Delay || after > job.Delay+put.Jitter {
		t.Errorf("due %v after its tick, want %v and at most %v more", after, job.Delay, put.Jitter)
	}
	if got.Headers["trace"] != "1" || got.Headers["cron"] != put.Name ||
		got.Headers["tick"] != tick.UTC().Format(time.RFC3339) {
		t.Errorf("headers: %v", got.Headers)
	}
	if !value[bool](t, pool, `select args = '{"text": "<a & ☕>", "n": 12345678901234567890}' and opts -> 'backoff' =
		(select job -> 'backoff' from pawl.cron) from pawl.job`) {
		t.Error("args or backoff are not what was put")
	}
	if last := oneCron(t, client, put.Name).LastAt; !last.Equal(tick) {
		t.Errorf("LastAt is %v, want %v", last, tick)
	}
}

func TestCronAppliesDefaults(t *testing.T) {
	t.Parallel()
	client, _ := install(t, func(c *pawl.Config) { c.Defaults = pawl.JobSpec{Queue: "unused", Channel: "all"} })
	putCron(t, client, pawl.Cron{Name: "a", Spec: "@daily", Job: pawl.JobSpec{Args: Invoice{Number: "1"}}})
	job := oneCron(t, client, "a").Job
	if job.Queue != "billing" || job.MaxAttempts != 10 || job.Channel != "all" || job.Backoff.Base != 5*time.Second {
		t.Errorf("%+v", job)
	}
}

func TestCronJobWithoutArgs(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	putCron(t, client, pawl.Cron{Name: "none", Spec: "@hourly", Job: pawl.JobSpec{Args: pawl.Raw("x", nil)}},
		pawl.Cron{Name: "null", Spec: "@hourly", Job: pawl.JobSpec{Args: pawl.Raw("x", []byte("null"))}})
	makeCronsLate(t, pool, "1 second")
	tickCrons(t, client)
	got := values[*string](t, pool, "select args::text from pawl.job order by opts -> 'headers' ->> 'cron'")
	if len(got) != 2 || got[0] != nil || got[1] == nil || *got[1] != "null" {
		t.Errorf("args: %v", got)
	}
}

func TestAPausedCronInsertsNothing(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	cron := hourly("a")
	cron.CatchUp = 9
	putCron(t, client, cron)
	for range 2 { // Twice is as well as once.
		if err := client.PauseCron(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	makeCronsLate(t, pool, "5 hours")
	tickCrons(t, client)
	putCron(t, client, cron)
	if got := oneCron(t, client, "a"); !got.Paused {
		t.Error("PutCron ended a pause")
	}
	tickCrons(t, client)
	for range 2 {
		if err := client.ResumeCron(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	tickCrons(t, client)
	if n := liveRows(t, pool); n != 0 {
		t.Errorf("%d rows of a paused cron", n)
	}
	resumed := oneCron(t, client, "a")
	if resumed.Paused || !value[bool](t, pool, "select next_at > clock_timestamp() from pawl.cron") {
		t.Errorf("resumed: %+v", resumed)
	}
	makeCronsLate(t, pool, "1 second")
	if err := client.ResumeCron(t.Context(), "a"); err != nil { // Not paused: loses no tick.
		t.Fatal(err)
	}
	tickCrons(t, client)
	if n := countCronJobs(t, pool, "a"); n != 1 {
		t.Errorf("%d jobs after the pause", n)
	}
	if err := client.DeleteCron(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if crons, err := client.Crons(t.Context()); err != nil || len(crons) != 0 {
		t.Errorf("after DeleteCron: %v, %v", crons, err)
	}
	for verb, do := range map[string]func(context.Context, string) error{
		"pause cron": client.PauseCron, "resume cron": client.ResumeCron, "delete cron": client.DeleteCron,
		"run cron": func(ctx context.Context, name string) error { _, err := client.RunCron(ctx, name); return err },
	} {
		if err := do(t.Context(), "a"); !errors.Is(err, pawl.ErrNotFound) || !strings.Contains(err.Error(), verb) {
			t.Errorf("%s that does not exist: %v, want ErrNotFound", verb, err)
		}
	}
}

func TestRunCronInsertsAJobNow(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	put := hourly("a")
	put.Job.Delay = time.Hour
	putCron(t, client, put)
	if err := client.PauseCron(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	before := oneCron(t, client, "a")
	result, err := client.RunCron(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	job, err := client.Get(t.Context(), result.ID)
	if err != nil {
		t.Fatal(err)
	}
	tick, err := time.Parse(time.RFC3339, job.Headers["tick"])
	if late := job.CreatedAt.Sub(tick); err != nil || late < 0 || late > time.Minute || job.Headers["cron"] != "a" {
		t.Errorf("headers %v of a job of %v (%v)", job.Headers, job.CreatedAt, err)
	}
	if job.State != pawlstate.Scheduled {
		t.Errorf("its Delay is forgotten: %s", job.State)
	}
	if after := oneCron(t, client, "a"); !reflect.DeepEqual(before, after) {
		t.Errorf("RunCron changed the cron from\n\t%+v to\n\t%+v", before, after)
	}
	if n := countCronJobs(t, pool, "a"); n != 1 {
		t.Errorf("%d jobs", n)
	}
}

func TestPutCronKeepsTheNewerVersion(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	put := hourly("a")
	put.Version = 5
	putCron(t, client, put)
	makeCronsLate(t, pool, "1 second")
	tickCrons(t, client)
	first := oneCron(t, client, "a")

	older := put
	older.Version, older.Spec, older.CatchUp = 4, "@daily", 3
	putCron(t, client, older, hourly("b")) // The other one is put all the same.
	if got := oneCron(t, client, "a"); !reflect.DeepEqual(got, first) {
		t.Errorf("a lower version changed\n\t%+v to\n\t%+v", first, got)
	}
	oneCron(t, client, "b")

	same := put
	same.CatchUp, same.Job.Queue = 7, "other"
	putCron(t, client, same)
	got := oneCron(t, client, "a")
	if got.CatchUp != 7 || got.Job.Queue != "other" || !got.LastAt.Equal(first.LastAt) || !got.NextAt.Equal(first.NextAt) {
		t.Errorf("an equal version with another job: %+v", got)
	}
	for _, change := range []func(*pawl.Cron){
		func(c *pawl.Cron) { c.Spec = "0 0 1 1 *" },
		func(c *pawl.Cron) { c.Zone = "Australia/Lord_Howe" },
	} {
		change(&same)
		same.Version++
		putCron(t, client, same)
		got = oneCron(t, client, "a")
		want, err := same.Next(value[time.Time](t, pool, "select clock_timestamp()"), 1)
		if err != nil || !got.NextAt.Equal(want[0]) || !got.LastAt.Equal(first.LastAt) || got.Version != same.Version {
			t.Errorf("%+v; want the next tick at %v (%v)", got, want, err)
		}
	}
}

// Many processes put the same crons and tick at the same time. No tick is lost, and none becomes two jobs.
func TestPutCronConcurrently(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const n = 20
	for i := range n {
		putCron(t, client, hourly(fmt.Sprint(i)))
	}
	makeCronsLate(t, pool, "1 second")
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			var crons []pawl.Cron
			for k := range n {
				cron := hourly(fmt.Sprint((7*k + i) % n)) // Each in another order.
				cron.Version = i
				crons = append(crons, cron)
			}
			if err := client.PutCron(t.Context(), crons...); err != nil {
				t.Error(err)
			}
			if err := client.TickCrons(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	tickCrons(t, client)
	if n := value[int](t, pool, "select count(*) from pawl.cron where version = 5"); n != 20 {
		t.Errorf("%d of 20 crons are of the highest version", n)
	}
	if jobs := value[int](t, pool, "select count(*) from pawl.job"); jobs != n {
		t.Errorf("%d jobs of %d ticks", jobs, n)
	}
}

func TestPutCronRefuses(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	good := hourly("good")
	for part, change := range map[string]func(*pawl.Cron){
		"has 0 bytes: want 1 to 255":   func(c *pawl.Cron) { c.Name = "" },
		"has 256 bytes: want 1 to 255": func(c *pawl.Cron) { c.Name = strings.Repeat("☕", 85) + "x" },
		"UTF-8":                        func(c *pawl.Cron) { c.Name = "a\xff" },
		"zero byte":                    func(c *pawl.Cron) { c.Name = "a\x00b" },
		"given twice":                  func(c *pawl.Cron) { c.Name = "good" },
		"never":                        func(c *pawl.Cron) { c.Spec = "0 0 30 2 *" },
		"4 fields":                     func(c *pawl.Cron) { c.Spec = "* * * *" },
		"empty spec":                   func(c *pawl.Cron) { c.Spec = "" },
		"Mars/Olympus":                 func(c *pawl.Cron) { c.Zone = "Mars/Olympus" },
		"machine to machine":           func(c *pawl.Cron) { c.Zone = "Local" },
		"Jitter":                       func(c *pawl.Cron) { c.Jitter = -1 },
		"CatchUp":                      func(c *pawl.Cron) { c.CatchUp = 1001 },
		"CatchUp is -1":                func(c *pawl.Cron) { c.CatchUp = -1 },
		"Version":                      func(c *pawl.Cron) { c.Version = -1 },
		"RunAt":                        func(c *pawl.Cron) { c.Job.RunAt = time.Unix(1, 0) },
		"Args":                         func(c *pawl.Cron) { c.Job.Args = nil },
		"Queue":                        func(c *pawl.Cron) { c.Job.Queue = strings.Repeat("q", 256) },
		`\u0000`:                       func(c *pawl.Cron) { c.Job.Args = pawl.Raw("x", []byte(`"\u0000"`)) },
	} {
		bad := hourly("bad")
		change(&bad)
		if err := client.PutCron(t.Context(), good, bad); err == nil || !strings.Contains(err.Error(), part) ||
			!strings.Contains(err.Error(), "put cron") {
			t.Errorf("got %v, want it to say %q", err, part)
		}
		if part == "given twice" {
			continue
		}
		_, err := bad.Next(time.Now(), 1)
		if wrong := part == "never" || part == "4 fields" || part == "empty spec" || part == "Mars/Olympus" ||
			part == "machine to machine"; (err != nil) != wrong {
			t.Errorf("%s: Next says %v", part, err)
		}
	}
	invalid := hourly("bad")
	invalid.Job.Priority = 1 << 20
	err := client.PutCron(t.Context(), good, invalid)
	if e, ok := errors.AsType[*pawl.InvalidError](err); !ok || e.Index != 1 || e.Field != "Priority" {
		t.Errorf("got %v, want an *InvalidError", err)
	}
	if n := value[int](t, pool, "select count(*) from pawl.cron"); n != 0 {
		t.Errorf("%d crons beside a refused one were put", n)
	}
	longest := hourly(strings.Repeat("☕", 85))
	putCron(t, client, longest)
	if _, err := client.RunCron(t.Context(), longest.Name); err != nil {
		t.Error(err)
	}
}

// The methods for crons work in a transaction of pgx and of database/sql: a rollback undoes all of them.
func TestCronInTransactions(t *testing.T) {
	for _, door := range []string{"pgx", "database/sql"} {
		for _, end := range []string{"rollback", "commit"} {
			t.Run(door+" "+end, func(t *testing.T) {
				t.Parallel()
				client, pool := install(t)
				putCron(t, client, hourly("old"), hourly("paused"), hourly("gone"))
				if err := client.PauseCron(t.Context(), "paused"); err != nil {
					t.Fatal(err)
				}
				before, err := client.Crons(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var in *pawl.Client
				var finish func() error
				if door == "pgx" {
					tx := begin(t, pool)
					in, finish = client.With(tx), func() error { return tx.Rollback(t.Context()) }
					if end == "commit" {
						finish = func() error { return tx.Commit(t.Context()) }
					}
				} else {
					tx := stdTx(t, pool)
					in, finish = client.WithSQL(tx), tx.Rollback
					if end == "commit" {
						finish = tx.Commit
					}
				}
				cron := hourly(`new "ü\{}`)
				cron.Zone, cron.Jitter, cron.CatchUp, cron.Version = "America/New_York", 3*time.Second, 4, 5
				cron.Job.Data, cron.Job.Headers = []byte{0, 1, '\\', 255}, map[string]string{"a": `"\`}
				putCron(t, in, cron)
				got := oneCron(t, in, cron.Name)
				if got.Jitter != cron.Jitter || got.CatchUp != 4 || got.Version != 5 || !bytes.Equal(got.Job.Data, cron.Job.Data) ||
					got.Job.Headers["a"] != `"\` {
					t.Errorf("%+v", got)
				}
				if err := errors.Join(in.PauseCron(t.Context(), "old"), in.ResumeCron(t.Context(), "paused"),
					in.DeleteCron(t.Context(), "gone")); err != nil {
					t.Fatal(err)
				}
				if err := in.PauseCron(t.Context(), "nobody"); !errors.Is(err, pawl.ErrNotFound) {
					t.Errorf("got %v, want ErrNotFound", err)
				}
				result, err := in.RunCron(t.Context(), cron.Name)
				if err != nil {
					t.Fatal(err)
				}
				if job, err := in.Get(t.Context(), result.ID); err != nil || job.Headers["cron"] != cron.Name {
					t.Errorf("%+v, %v", job, err)
				}
				if err := finish(); err != nil {
					t.Fatal(err)
				}
				after, err := client.Crons(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if end == "rollback" {
					if !reflect.DeepEqual(before, after) || liveRows(t, pool) != 0 {
						t.Errorf("rolled back, and yet\n\t%+v is\n\t%+v, with %d rows of jobs", before, after, liveRows(t, pool))
					}
					return
				}
				if len(after) != 3 || after[0].Name != cron.Name || !after[1].Paused || after[2].Paused || liveRows(t, pool) != 2 {
					t.Errorf("committed: %+v", after)
				}
			})
		}
	}
}
