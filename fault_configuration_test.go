package pawl_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// No default limits the size of a batch. RateError.RetryAfter is the true wait.
func TestFault10ALargeBatchIsInserted(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const many = 3000
	results, err := client.InsertMany(t.Context(), notes(many))
	if err != nil || len(results) != many {
		t.Errorf("by default: %d inserted, %v", len(results), err)
	}
	limited, err := pawl.New(pool, pawl.Config{InsertRate: pawl.Rate{N: 60, Per: time.Hour, Burst: 5}})
	must(t, err)
	if _, err := limited.InsertMany(t.Context(), notes(8)); err != nil { // More than the burst.
		t.Errorf("a batch larger than the burst: %v", err)
	}
	_, one := limited.Insert(t.Context(), Note{1})
	_, three := limited.InsertMany(t.Context(), notes(3))
	for _, test := range []struct {
		err  error
		want time.Duration
	}{{one, 4 * time.Minute}, {three, 6 * time.Minute}} {
		if d := wantRateError(t, test.err); d > test.want || d < test.want-time.Minute/2 {
			t.Errorf("RetryAfter is %v, want %v", d, test.want)
		}
	}
}

// Only objects and arrays count as depth, keys have a documented maximum length, arrays do not pass where keys are
// required, and a refused job takes no tokens.
func TestFault11ValidationIsAsDocumented(t *testing.T) {
	t.Parallel()
	client, _ := install(t, func(c *pawl.Config) {
		c.MaxDepth, c.MaxStringBytes, c.RequiredKeys, c.MaxArgsBytes = 2, 8, []string{"a"}, 200
		c.InsertRate = pawl.Rate{N: 1, Per: time.Hour, Burst: 2}
	})
	for args, want := range map[string]string{
		`{"a":[1,"s",null]}`:    "", // Scalars are in it and not below it.
		`{"a":[{}]}`:            "deeper than 2",
		`{"a":1,"longer12":1}`:  "",
		`{"a":1,"longer123":1}`: "key of 9 bytes", // It says that it is the key.
		`{"a":"longer123"}`:     "string of 9 bytes",
		`["a"]`:                 "not an object",
		`"a"`:                   "not an object",
		`{"a":[` + strings.Repeat("1,", 200) + `1]}`: "bytes of JSON", // The size, which is looked at last elsewhere.
	} {
		for range 3 { // More often than the rate allows.
			err := client.Validate(pawl.JobSpec{Args: pawl.Raw("k", []byte(args))})
			if want == "" {
				must(t, err)
				continue
			}
			_, inserted := client.Insert(t.Context(), pawl.Raw("k", []byte(args)))
			_, many := client.InsertMany(t.Context(), []pawl.JobSpec{{Args: pawl.Raw("k", []byte(`{"a":1}`))},
				{Args: pawl.Raw("k", []byte(args))}})
			for i, err := range []error{err, inserted, many} {
				invalid, ok := errors.AsType[*pawl.InvalidError](err)
				if !ok || !strings.Contains(invalid.Reason, want) || invalid.Index != i/2 {
					t.Errorf("%s: got %v, want %q of job %d", args, err, want, i/2)
				}
			}
		}
	}
	// Nothing of the rate is gone.
	_, err := client.InsertMany(t.Context(), []pawl.JobSpec{{Args: pawl.Raw("k", []byte(`{"a":1}`))},
		{Args: pawl.Raw("k", []byte(`{"a":2}`))}})
	must(t, err)
}

// A wrong setting is an error and is not replaced by a default. A setting that is set takes effect.
func TestFault12SettingsAreCheckedAndMerged(t *testing.T) {
	t.Parallel()
	t.Run("wrong values", func(t *testing.T) {
		t.Parallel()
		for name, config := range map[string]pawl.Config{
			"Schema":     {Schema: "no schema's name"},
			"ListenURL":  {ListenURL: "postgres://:no port"},
			"MaxDepth":   {MaxDepth: -1},
			"InsertRate": {InsertRate: pawl.Rate{N: -1}},
		} {
			if _, err := pawl.New(nil, config); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
	t.Run("each source counts for what it says", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t, func(c *pawl.Config) {
			c.Defaults = pawl.JobSpec{Queue: "config's", Channel: "config's", MaxAttempts: 3}
		})
		// Invoice has defaults, too.
		job, err := client.Get(t.Context(), insert(t, client, pawl.JobSpec{Args: Invoice{Number: "1"}, MaxAttempts: 4}))
		must(t, err)
		if job.MaxAttempts != 4 || job.Queue != "billing" || job.Channel != "config's" {
			t.Errorf("attempts %d, queue %q, channel %q; want the call's, the kind's, the client's", job.MaxAttempts, job.Queue,
				job.Channel)
		}
	})
	t.Run("a queue's lease and attempts count", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", Lease: time.Hour, MaxAttempts: 7}))
		insert(t, client, Note{1})
		if job := claim(t, client, 1)[0]; job.MaxAttempts != 7 {
			t.Errorf("%d attempts", job.MaxAttempts)
		}
		if left := value[float64](t, pool, "select extract(epoch from expires_at - clock_timestamp())::float8 from "+
			"pawl.lease"); left < 3500 {
			t.Errorf("the lease lasts %v s", left)
		}
	})
	// Files, variables and flags are the command's: cmd/pawl/testdata/script/settings.txtar.
}

// Waits, attempts and the archive are as documented.
func TestFault17WaitsAndAttemptsAreAsDocumented(t *testing.T) {
	t.Parallel()
	t.Run("waits and attempts", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		exact := func(b pawl.Backoff) pawl.Backoff { b.NoJitter = true; return b }
		exponential := exact(pawl.Backoff{Base: 10 * time.Second})
		for _, test := range []struct {
			name    string
			backoff pawl.Backoff
			outcome func() error
			used    []int // Attempts after each run,
			wait    []time.Duration
		}{
			{"exponential", exponential, func() error { return errBoom }, []int{1, 2, 3},
				[]time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second}},
			{"capped", exact(pawl.Backoff{Base: 10 * time.Second, Max: 15 * time.Second}), func() error { return errBoom },
				[]int{1, 2}, []time.Duration{10 * time.Second, 15 * time.Second}},
			{"linear", exact(pawl.Backoff{Base: 10 * time.Second, Growth: 1, Power: 1}), func() error { return errBoom },
				[]int{1, 2, 3}, []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}},
			{"constant", exact(pawl.Backoff{Base: 10 * time.Second, Growth: 1}), func() error { return errBoom }, []int{1, 2, 3},
				[]time.Duration{10 * time.Second, 10 * time.Second, 10 * time.Second}},
			{"RetryAfter, below the backoff", exponential, func() error {
				return pawl.RetryAfter(5*time.Second, errBoom)
			}, []int{1, 2}, []time.Duration{5 * time.Second, 5 * time.Second}},
			{"Snooze, below the backoff", exponential, func() error {
				return pawl.Snooze(5 * time.Second)
			}, []int{0, 0}, []time.Duration{5 * time.Second, 5 * time.Second}},
		} {
			id := insert(t, client, pawl.JobSpec{Args: Note{1}, Backoff: test.backoff})
			for i, want := range test.wait {
				claimed := claim(t, client, 1)
				before := value[time.Time](t, pool, "select clock_timestamp()")
				must(t, client.Fail(t.Context(), claimed, test.outcome()))
				job := await(t, client, id, pawlstate.Scheduled)
				if d := job.RunAt.Sub(before); d < want-100*time.Millisecond || d > want+3*time.Second ||
					job.Attempt != test.used[i] {
					t.Errorf("%s: after run %d it waits %v with %d attempts used, want %v and %d", test.name, i+1, d, job.Attempt,
						want, test.used[i])
				}
				makeDue(t, pool)
			}
			must(t, client.Complete(t.Context(), claim(t, client, 1)))
		}
	})
	t.Run("a permit that says later uses no attempt", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		mux := new(pawl.Mux)
		pawl.Handle(mux, newGate().handle, pawl.KindOptions{Permit: func(context.Context, *pawl.JobInfo) (func(), error) {
			return nil, pawl.Snooze(time.Hour)
		}})
		start(t, client, mux, pawl.RunnerConfig{})
		if job := await(t, client, insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1}),
			pawlstate.Scheduled); job.Attempt != 0 {
			t.Errorf("%d attempts used", job.Attempt)
		}
	})
	t.Run("no handler is no failure", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		mux := new(pawl.Mux)
		pawl.Handle(mux, newGate().handle)
		start(t, client, mux, pawl.RunnerConfig{})
		await(t, client, insert(t, client, pawl.JobSpec{Args: pawl.Raw("unknown", nil), MaxAttempts: 1}),
			pawlstate.Scheduled)
	})
	t.Run("the archive and the dead need no janitor", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		jobs := notes(2)
		_, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
		claimed := claim(t, client, 2)
		must(t, client.Complete(t.Context(), claimed[0]))
		must(t, client.Fail(t.Context(), claimed[1], pawl.Dead(errBoom)))
		if n := value[int](t, pool, "select (select count(*) from pawl.archive) * 10 + (select count(*) from "+
			"pawl.dead)"); n != 11 || liveRows(t, pool) != 0 {
			t.Errorf("archived and dead are %02d, and %d rows are live", n, liveRows(t, pool))
		}
	})
}
