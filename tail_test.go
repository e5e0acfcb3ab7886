package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// tailed gathers what a Tail yields, as "1 ready".
type tailed struct {
	mu   sync.Mutex
	said []string
}

func (l *tailed) has(id pawl.ID, state pawlstate.State) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.said, fmt.Sprint(id, " ", state))
}

func (l *tailed) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.said)
}

// tailing follows jobs until the test ends. It returns when the Tail has begun: it has yielded a job of kind "sign".
func tailing(t *testing.T, client *pawl.Client, filter pawl.Filter) *tailed {
	t.Helper()
	l := &tailed{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	began := make(chan struct{}, 1000)
	go func() {
		var failed error
		for job, err := range client.Tail(ctx, filter) {
			if err != nil {
				failed = err
				break
			}
			if job.Kind == "sign" {
				began <- struct{}{}
				continue
			}
			l.mu.Lock()
			l.said = append(l.said, fmt.Sprint(job.ID, " ", job.State))
			l.mu.Unlock()
		}
		ended <- failed
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("tail: %v", err)
		}
	})
	sign := pawl.JobSpec{Args: pawl.Raw("sign", filter.Args), Queue: filter.Queue, Channel: filter.Channel,
		Delay: time.Hour}
	for {
		insert(t, client, sign)
		select {
		case <-began:
			return l
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func TestTailSeesEveryChangeOnce(t *testing.T) {
	t.Parallel()
	for _, noListen := range []bool{false, true} {
		t.Run(fmt.Sprintf("noListen %v", noListen), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t, func(c *pawl.Config) {
				if withListen(c); noListen {
					c.ListenURL = "postgres://127.0.0.1:1/none"
				}
			})
			before := insert(t, client, Note{0})
			l := tailing(t, client, pawl.Filter{})
			mux := new(pawl.Mux)
			hold := make(chan struct{})
			pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
				switch job.Args.N {
				case 1:
					<-hold
				case 2:
					return pawl.Dead(errBoom)
				case 3:
					return pawl.Cancel(nil)
				}
				return nil
			})
			slow, dead, cancelled := insert(t, client, Note{1}),
				insert(t, client, pawl.JobSpec{Args: Note{2}, Delay: time.Hour}),
				insert(t, client, pawl.JobSpec{Args: Note{3}, Delay: time.Hour})
			tx, err := pool.Begin(t.Context())
			must(t, err)
			defer tx.Rollback(t.Context())
			late := insert(t, client.With(tx), pawl.JobSpec{Args: Note{4}, Delay: time.Hour})
			newer := insert(t, client, pawl.JobSpec{Args: Note{4}, Delay: time.Hour})
			for _, id := range []pawl.ID{dead, cancelled, newer} {
				pgtest.Wait(t, "a new job to be told", func() bool { return l.has(id, pawlstate.Scheduled) })
			}
			must(t, tx.Commit(t.Context()))
			pgtest.Wait(t, "a job committed late to be told", func() bool { return l.has(late, pawlstate.Scheduled) })

			start(t, client, mux, pawl.RunnerConfig{})
			wantCount(t, 1)(client.Retry(t.Context(), dead))
			wantCount(t, 1)(client.Retry(t.Context(), cancelled))
			pgtest.Wait(t, "the dead one to be told", func() bool { return l.has(dead, pawlstate.Dead) })
			pgtest.Wait(t, "the cancelled one to be told", func() bool { return l.has(cancelled, pawlstate.Cancelled) })
			close(hold)
			pgtest.Wait(t, "the slow one to be told", func() bool { return l.has(slow, pawlstate.Completed) })
			again := ""
			if !noListen { // Notifications of jobs that it has never seen, or has seen finish.
				pgtest.Wait(t, "the old one to be told", func() bool { return l.has(before, pawlstate.Completed) })
				wantCount(t, 1)(client.Retry(t.Context(), dead))
				again = fmt.Sprint(dead, " ", pawlstate.Dead)
				pgtest.Wait(t, "the second end to be told", func() bool {
					n := 0
					for _, said := range l.all() {
						if said == again {
							n++
						}
					}
					return n == 2
				})
			}
			counts := map[string]int{}
			for _, said := range l.all() {
				counts[said]++
			}
			for said, n := range counts {
				if n > 1 && said != again {
					t.Errorf("%q is told %d times", said, n)
				}
			}
		})
	}
}

func TestTailFilter(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	l := tailing(t, client, pawl.Filter{Queue: "müll", Args: json.RawMessage(`{"n": 7}`)})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{Queues: map[string]pawl.RunnerQueue{"müll": {}, "default": {}}})
	var ids []pawl.ID
	for _, spec := range []pawl.JobSpec{{Args: Note{7}}, {Args: Note{8}, Queue: "müll"}, {Args: Note{7}, Queue: "müll"}} {
		ids = append(ids, insert(t, client, spec))
	}
	pgtest.Wait(t, "the end of the job", func() bool { return l.has(ids[2], pawlstate.Completed) })
	for _, id := range ids[:2] {
		await(t, client, id, pawlstate.Completed)
	}
	for _, said := range l.all() {
		if said != fmt.Sprint(ids[2], " completed") && said != fmt.Sprint(ids[2], " ready") &&
			said != fmt.Sprint(ids[2], " running") {
			t.Errorf("told of %s", said)
		}
	}
}

// A job that finishes is yielded only if List finds it by the same filter.
func TestTailFiltersFinishedJobsAsListDoes(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{})
	hourAgo := time.Now().Add(-time.Hour)
	for name, filter := range map[string]pawl.Filter{
		"RunBefore":     {RunBefore: hourAgo},
		"CreatedBefore": {CreatedBefore: hourAgo},
		"Worker":        {Worker: "another"},
		"States":        {States: []pawlstate.State{pawlstate.Dead}},
		"all":           {},
	} {
		t.Run(name, func(t *testing.T) {
			listeners := func() int {
				return value[int](t, pool, `select count(*) from pg_stat_activity where datname = current_database()
					and query like '%await_key%' and pid <> pg_backend_pid() and state = 'idle'`)
			}
			pgtest.Wait(t, "the last tail's session to end", func() bool { return listeners() == 0 })
			said := make(chan pawl.ID, 1000)
			ctx, cancel := context.WithCancel(t.Context())
			var tail sync.WaitGroup
			defer tail.Wait()
			defer cancel()
			tail.Go(func() {
				for job, err := range client.Tail(ctx, filter) {
					if err != nil {
						t.Error(err)
						return
					}
					said <- job.ID
				}
			})
			pgtest.Wait(t, "the tail to listen", func() bool { return listeners() > 0 })
			id := insert(t, client, Note{1})
			await(t, client, id, pawlstate.Completed)
			page, err := client.List(t.Context(), filter)
			must(t, err)
			listed := slices.ContainsFunc(page, func(j *pawl.JobInfo) bool { return j.ID == id })
			if listed != (name == "all") {
				t.Fatalf("List finds the job: %t", listed)
			}
			got := false
			patience := 2 * time.Second
			if listed {
				patience = 30 * time.Second
			}
			for wait := time.After(patience); !got && wait != nil; {
				select {
				case told := <-said:
					got = told == id
				case <-wait:
					wait = nil
				}
			}
			if got != listed {
				t.Errorf("List finds the job: %t; Tail yields it: %t", listed, got)
			}
		})
	}
}

func TestTailRefusesWrongArguments(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx, err := pool.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(t.Context())
	for what, tail := range map[string]func(func(*pawl.JobInfo, error) bool){
		"a limit":       client.Tail(t.Context(), pawl.Filter{Limit: 1}),
		"an id before":  client.Tail(t.Context(), pawl.Filter{Before: 1}),
		"a state":       client.Tail(t.Context(), pawl.Filter{States: []pawlstate.State{"asleep"}}),
		"a transaction": client.With(tx).Tail(t.Context(), pawl.Filter{}),
	} {
		n := 0
		for job, err := range tail {
			if n++; job != nil || err == nil {
				t.Errorf("%s: got %v, %v", what, job, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: yielded %d times", what, n)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("enough")) })
	for job, err := range client.Tail(ctx, pawl.Filter{}) {
		t.Errorf("nothing happened, and yet %v, %v", job, err)
	}
}
