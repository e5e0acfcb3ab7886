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

// A consumer that runs handlers by Mux.Work gets what a runner gives: middleware, progress, steps, and the kind's
// backoff.
func TestWorkOnAClaimedJob(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	var around []string
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		around = append(around, "before")
		err := next(ctx)
		around = append(around, "after")
		return err
	})
	steps := 0
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		if pawl.JobFromContext(ctx) != job.JobInfo {
			t.Error("the context has another job")
		}
		must(t, job.Progress(ctx, 40, "half"))
		_, err := pawl.Step(ctx, "once", func(context.Context) (int, error) { steps++; return steps, nil })
		must(t, err)
		if job.Attempt == 1 {
			return errBoom
		}
		return nil
	}, pawl.KindOptions{Backoff: pawl.Backoff{Base: time.Hour, NoJitter: true}})
	id := insert(t, client, Note{1})

	job := claim(t, client, 1)[0]
	err := mux.Work(t.Context(), job)
	if !errors.Is(err, errBoom) {
		t.Fatalf("the handler returned %v", err)
	}
	must(t, client.Fail(t.Context(), job, err))
	got, err := client.Get(t.Context(), id)
	must(t, err)
	if wait := time.Until(got.RunAt); got.State != pawlstate.Scheduled || got.Percent != 40 || wait < 50*time.Minute ||
		wait > 70*time.Minute {
		t.Errorf("the job is %s at %d percent, due in %v; want the kind's backoff of an hour", got.State, got.Percent, wait)
	}
	wantCount(t, 1)(client.Retry(t.Context(), id))
	job = claim(t, client, 1)[0]
	must(t, mux.Work(t.Context(), job))
	must(t, client.Complete(t.Context(), job))
	await(t, client, id, pawlstate.Completed)
	if steps != 1 {
		t.Errorf("the step ran %d times, want once", steps)
	}
	if strings.Join(around, " ") != "before after before after" {
		t.Errorf("middleware was called %v", around)
	}
}

func TestWorkWithoutAHandler(t *testing.T) {
	t.Parallel()
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil },
		pawl.KindOptions{Aliases: []string{"memo"}})
	if kinds := mux.Kinds(); strings.Join(kinds, " ") != "memo note" {
		t.Errorf("the kinds are %v", kinds)
	}
	if err := mux.Work(t.Context(), &pawl.JobInfo{Kind: "other"}); err == nil ||
		!strings.Contains(err.Error(), `no handler for kind "other"`) {
		t.Errorf("got %v", err)
	}
	if err := (&pawl.JobInfo{ID: 1}).Progress(t.Context(), 1, ""); err == nil ||
		!strings.Contains(err.Error(), "was not claimed") {
		t.Errorf("progress of a job that was not claimed: %v", err)
	}
}
