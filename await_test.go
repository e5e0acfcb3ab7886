package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestAFinishNotifiesOnlyWhereTheJobIsAwaited(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	first, other, last := insert(t, client, Note{1}), insert(t, client, Note{2}), insert(t, client, Note{3})
	ear, err := pgx.Connect(t.Context(), pgtest.Direct(t, pool.Config().ConnString()))
	must(t, err)
	defer ear.Close(t.Context())
	exec(t, ear, `listen barrier; listen "pawl.finished"`)
	notified := func() (payloads []string) {
		exec(t, pool, "notify barrier")
		for {
			n, err := ear.WaitForNotification(t.Context())
			must(t, err)
			if n.Channel == "barrier" {
				return payloads
			}
			payloads = append(payloads, n.Payload)
		}
	}
	finish := map[pawl.ID]func(pawl.ID) error{
		first: func(id pawl.ID) error { _, err := client.Cancel(t.Context(), id); return err },
		last: func(id pawl.ID) error {
			jobs, err := client.Claim(t.Context(), "default", 1, time.Minute)
			if err == nil {
				err = client.Complete(t.Context(), jobs)
			}
			return err
		},
	}
	locks := func() int {
		return value[int](t, pool, `select count(*) from pg_locks where locktype = 'advisory'
			and database = (select oid from pg_database where datname = current_database())`)
	}
	_, err = client.Cancel(t.Context(), other)
	must(t, err)
	if got := notified(); len(got) > 0 {
		t.Errorf("no job is awaited, but %q were notified", got)
	}
	for _, id := range []pawl.ID{first, last} {
		returned := make(chan error, 1)
		go func() {
			job, err := client.Await(t.Context(), id)
			if err == nil && job.ID != id {
				err = fmt.Errorf("job %d", job.ID)
			}
			returned <- err
		}()
		pgtest.Wait(t, "the locks of Await", func() bool { return locks() == 2 })
		must(t, finish[id](id))
		if got := notified(); !slices.Equal(got, []string{fmt.Sprint(id)}) {
			t.Errorf("notified of %q, want %d", got, id)
		}
		must(t, <-returned)
		pgtest.Wait(t, "the locks to be released", func() bool { return locks() == 0 })
	}
}

func TestAwaitReturnsTheFinishedJobWithItsResult(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	type sum struct{ Total int }
	mux := new(pawl.Mux)
	pawl.HandleResult(mux, func(_ context.Context, job *pawl.Job[Note]) (sum, error) {
		switch job.Args.N {
		case 13:
			return sum{}, pawl.Dead(errBoom)
		case 14:
			return sum{14}, pawl.ErrSkip
		}
		return sum{job.Args.N * 2}, nil
	})
	pawl.HandleResult(mux, func(context.Context, *pawl.Job[pawl.RawArgs]) (chan int, error) {
		return make(chan int), nil
	}, pawl.KindOptions{Kind: "bad"})
	start(t, client, mux, pawl.RunnerConfig{})
	for n, want := range map[int]string{4: `{"Total": 8}`, 13: "", 14: `{"Total": 14}`} {
		job, err := client.Await(t.Context(), insert(t, client, Note{n}))
		must(t, err)
		if string(job.Result) != want || (job.State == pawlstate.Dead) != (n == 13) {
			t.Errorf("%d: %s with the result %s, want %s", n, job.State, job.Result, want)
		}
	}
	job, err := client.Await(t.Context(), insert(t, client, pawl.JobSpec{Args: pawl.Raw("bad", nil), MaxAttempts: 1}))
	must(t, err)
	if job.State != pawlstate.Dead {
		t.Errorf("with a result that does not marshal the job is %s", job.State)
	}
	keepsNone := pawl.Queue{Name: "gone", RetainCompleted: -1, RetainCancelled: -1, RetainDead: -1}
	must(t, client.PutQueue(t.Context(), keepsNone))
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "gone"})
	if _, err := client.Await(t.Context(), id); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("Await of a job that is not kept: %v, want ErrNotFound", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	id = insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: time.Hour})
	if _, err := client.Await(ctx, id); !errors.Is(err, context.Canceled) {
		t.Errorf("Await with a context that has ended: %v, want context.Canceled", err)
	}
	if _, err := client.With(pool).Await(t.Context(), 1); err == nil {
		t.Error("Await in a transaction returned nil")
	}
}

// Every handler can write JobInfo.Result, but only the result of HandleResult is stored. Text that is not JSON must
// not keep the job from being completed.
func TestAResultWrittenByTheHandlerIsIgnored(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		job.Result = json.RawMessage("no JSON")
		return nil
	})
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{})
	if job := await(t, client, id, pawlstate.Completed); job.Result != nil {
		t.Errorf("its result is %s", job.Result)
	}
}
