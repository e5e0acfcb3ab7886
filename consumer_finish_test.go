package pawl_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestACompletionInATransactionHappensExactlyOnce(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, "create table effect (n int)")
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into effect values ($1)", job.Args.N); err != nil {
				return err
			}
			if err := client.With(tx).Complete(ctx, job); err != nil {
				return err
			}
			if job.Args.N%3 == 1 && job.Attempt == 1 {
				return errBoom // The transaction rolls back, and nothing of it remains.
			}
			return nil
		})
		if err == nil && job.Args.N%3 == 2 {
			return errBoom // This comes too late: the job is completed.
		}
		return err
	}, pawl.KindOptions{Backoff: pawl.Backoff{Base: time.Millisecond, Growth: 1}})
	const n = 60
	results, err := client.InsertMany(t.Context(), notes(n))
	if err != nil {
		t.Fatal(err)
	}
	start(t, client, mux, pawl.RunnerConfig{})
	for _, r := range results {
		await(t, client, r.ID, pawlstate.Completed)
	}
	if got := values[int](t, pool, "select n from effect order by n"); len(got) != n {
		t.Errorf("%d effects of %d jobs", len(got), n)
	}
}

func TestACompletionInATransactionNeedsTheLease(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	stale := claim(t, client, 1)
	expireLeases(t, pool)
	for _, in := range []*pawl.Client{client.With(begin(t, pool)), client.WithSQL(stdTx(t, pool))} {
		if err := in.Complete(t.Context(), stale); !errors.Is(err, pawl.ErrLeaseLost) {
			t.Errorf("got %v, want ErrLeaseLost", err)
		}
	}
}

func TestAJobThatIsNamedTwiceIsFinishedOnce(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 2)
	if err := client.Complete(t.Context(), pawl.Jobs{jobs[0], jobs[0]}); err != nil {
		t.Errorf("Complete: %v", err)
	}
	if n := value[int](t, pool, "select count(*) from pawl.archive"); n != 1 {
		t.Errorf("the archive has the job %d times", n)
	}
	if err := client.Fail(t.Context(), pawl.Jobs{jobs[1], jobs[1]}, pawl.RetryAfter(time.Hour, errBoom)); err != nil {
		t.Errorf("Fail: %v", err)
	}
	if job, err := client.Get(t.Context(), jobs[1].ID); err != nil || job.Attempt != 1 || len(job.Errors) != 1 {
		t.Errorf("got %+v, %v", job, err)
	}
}

// Complete of several jobs reports the job whose row stayed locked, and completes the others.
func TestCompleteOfManyOfWhichOneIsLocked(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for n := range 3 {
		insert(t, client, Note{n})
	}
	jobs := claim(t, client, 3)
	tx := begin(t, pool)
	exec(t, tx, "select from pawl.job where id = $1 for update", int64(jobs[1].ID))
	ctx, cancel := context.WithCancel(t.Context())
	var completing sync.WaitGroup
	var err error
	completing.Go(func() { err = client.Complete(ctx, jobs) })
	awaitBlocked(t, pool, 1)
	cancel()
	completing.Wait()
	several, ok := errors.AsType[pawl.JobErrors](err)
	if !ok || len(several) != 1 || !errors.Is(several[jobs[1].ID], context.Canceled) {
		t.Errorf("got %v, want an error of job %d alone", err, jobs[1].ID)
	}
	await(t, client, jobs[0].ID, pawlstate.Completed)
	await(t, client, jobs[2].ID, pawlstate.Completed)
	must(t, tx.Rollback(t.Context()))
	must(t, client.Complete(t.Context(), jobs[1:2]))
}
