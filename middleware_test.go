package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func TestInsertRateLimitsInserts(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) {
		c.InsertRate = pawl.Rate{N: 1, Per: time.Hour, Burst: 3}
		c.RequiredKeys = []string{"n"}
	})
	// An invalid job, or one whose context has ended, takes nothing from the rate.
	bad := pawl.JobSpec{Args: pawl.Raw("note", []byte("{}"))}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5 {
		if _, err := client.Insert(t.Context(), bad); err == nil {
			t.Error("an invalid job was inserted")
		}
		if _, err := client.InsertMany(t.Context(), []pawl.JobSpec{{Args: Note{1}}, bad}); err == nil {
			t.Error("an invalid batch was inserted")
		}
		if _, err := client.Insert(gone, Note{1}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	tx := begin(t, pool)
	if _, err := client.With(tx).Insert(t.Context(), Note{1}); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	_, err := client.Insert(t.Context(), Note{1})
	if wait := wantRateError(t, err); wait > time.Hour || wait < 59*time.Minute {
		t.Errorf("RetryAfter is %v", wait)
	}
	_, err = client.InsertMany(t.Context(), notes(2))
	wantRateError(t, err)
	if n := liveRows(t, pool); n != 2*3 {
		t.Errorf("%d rows, want those of 3 jobs", n)
	}
	bulk, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bulk.InsertMany(t.Context(), notes(10)); err != nil {
		t.Errorf("a client without a rate: %v", err)
	}
}

func TestInsertRateOfALargeBatch(t *testing.T) {
	t.Parallel()
	client, _ := install(t, func(c *pawl.Config) { c.InsertRate = pawl.Rate{N: 1, Per: time.Hour, Burst: 2} })
	if _, err := client.InsertMany(t.Context(), notes(10)); err != nil {
		t.Fatal(err)
	}
	_, err := client.Insert(t.Context(), Note{1})
	if wait := wantRateError(t, err); wait < 8*time.Hour {
		t.Errorf("RetryAfter is %v; ten were taken from a bucket of two", wait)
	}
}

func TestInsertMiddleware(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	mark := func(name string) func(context.Context, []pawl.JobSpec, func(context.Context) error) error {
		return func(ctx context.Context, jobs []pawl.JobSpec, next func(context.Context) error) error {
			mu.Lock()
			seen = append(seen, fmt.Sprintf("%s(%d) %s %s", name, len(jobs), jobs[0].Queue, jobs[0].Headers["by"]))
			mu.Unlock()
			for i := range jobs {
				jobs[i].Headers["by"] += name
			}
			return next(ctx)
		}
	}
	client, pool := install(t, func(c *pawl.Config) {
		c.Defaults = pawl.JobSpec{Queue: "config", Headers: map[string]string{"app": "shop"}}
		c.InsertMiddleware = append(c.InsertMiddleware, mark("a"), mark("b"))
	})
	template := pawl.JobSpec{Args: Note{1}, Headers: map[string]string{"by": "-"}}
	jobs := []pawl.JobSpec{template, {Args: Note{2}}}
	tx := begin(t, pool)
	for _, c := range []*pawl.Client{client, client.With(tx)} {
		seen = nil
		one, err := c.Insert(t.Context(), template)
		if err != nil {
			t.Fatal(err)
		}
		many, err := c.InsertMany(t.Context(), jobs)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(seen, ", "); got != "a(1) config -, b(1) config -a, a(2) config -, b(2) config -a" {
			t.Errorf("the middleware saw %s", got)
		}
		for i, want := range []map[string]string{{"by": "-ab"}, {"by": "-ab"}, {"by": "ab", "app": "shop"}} {
			job, err := c.Get(t.Context(), []pawl.ID{one.ID, many[0].ID, many[min(i, 1)].ID}[i])
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(job.Headers, want) {
				t.Errorf("job %d has the headers %v, want %v", i, job.Headers, want)
			}
		}
	}
	if template.Headers["by"] != "-" || jobs[1].Headers != nil || jobs[1].Queue != "" {
		t.Errorf("the caller's jobs were changed: %v", jobs)
	}
	seen = nil
	if err := client.Validate(template); err != nil || seen != nil {
		t.Errorf("Validate: %v, and the middleware saw %v", err, seen)
	}
	if _, err := client.InsertMany(t.Context(), nil); err != nil || seen != nil {
		t.Errorf("of nothing: %v, and the middleware saw %v", err, seen)
	}
}

func TestInsertMiddlewareDecides(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	type next = func(context.Context) error
	for _, test := range []struct {
		name string
		do   func(ctx context.Context, jobs []pawl.JobSpec, next next) error
		want string // Of the error.
		in   bool   // The job is inserted.
	}{
		{"refuses", func(ctx context.Context, jobs []pawl.JobSpec, next next) error { return refused }, "refused", false},
		{"forgets next", func(ctx context.Context, jobs []pawl.JobSpec, next next) error { return nil }, "did not call next",
			false},
		{"calls it twice", func(ctx context.Context, jobs []pawl.JobSpec, next next) error {
			return errors.Join(next(ctx), next(ctx))
		}, "next twice", true},
		{"fails afterwards", func(ctx context.Context, jobs []pawl.JobSpec, next next) error {
			return errors.Join(next(ctx), refused)
		}, "refused", true},
		{"makes it invalid", func(ctx context.Context, jobs []pawl.JobSpec, next next) error {
			jobs[0].Priority = 1e6
			return next(ctx)
		}, "Priority", false},
		{"hides a failure", func(ctx context.Context, jobs []pawl.JobSpec, next next) error {
			jobs[0].Priority = 1e6
			next(ctx)
			return nil
		}, "Priority", false},
		{"gives another context", func(ctx context.Context, jobs []pawl.JobSpec, next next) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return next(ctx)
		}, "context canceled", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t, func(c *pawl.Config) { c.InsertMiddleware = append(c.InsertMiddleware, test.do) })
			one, err := client.Insert(t.Context(), Note{1})
			if err == nil || !strings.Contains(err.Error(), test.want) || (one.ID != 0) != test.in {
				t.Errorf("got job %d, %v; want %q", one.ID, err, test.want)
			}
			many, err := client.InsertMany(t.Context(), notes(2))
			if err == nil || !strings.Contains(err.Error(), test.want) || (len(many) == 2) != test.in {
				t.Errorf("got jobs %v, %v; want %q", many, err, test.want)
			}
			if n, want := liveRows(t, pool), map[bool]int{true: 2 * 3}[test.in]; n != want {
				t.Errorf("%d rows, want %d", n, want)
			}
		})
	}
}

// Inserts that share a statement each have their own middleware, job and result.
func TestInsertMiddlewareOfConcurrentInserts(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) {
		c.InsertMiddleware = append(c.InsertMiddleware,
			func(ctx context.Context, jobs []pawl.JobSpec, next func(context.Context) error) error {
				n := jobs[0].Args.(Note).N
				if len(jobs) != 1 || n%10 == 3 {
					return fmt.Errorf("no %d", n)
				}
				jobs[0].Fingerprint = fmt.Sprint(n)
				return next(ctx)
			})
	})
	tx := begin(t, pool)
	exec(t, tx, "lock table pawl.job in exclusive mode") // So that they gather.
	var all sync.WaitGroup
	for n := range 60 {
		all.Go(func() {
			result, err := client.Insert(t.Context(), Note{n})
			switch {
			case n%10 == 3:
				if err == nil || err.Error() != fmt.Sprintf("no %d", n) {
					t.Errorf("insert %d returned %v", n, err)
				}
			case err != nil:
				t.Errorf("insert %d returned %v", n, err)
			default:
				if job, err := client.Get(t.Context(), result.ID); err != nil || job.Fingerprint != fmt.Sprint(n) ||
					note(t, job).N != n {
					t.Errorf("insert %d put in %+v (%v)", n, job, err)
				}
			}
		})
	}
	awaitBlocked(t, pool, 1)
	commit(t, tx)
	all.Wait()
	if n := liveRows(t, pool); n != 2*54 {
		t.Errorf("%d rows, want those of 54 jobs", n)
	}
}
