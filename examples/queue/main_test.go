package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	ctx, client := t.Context(), pawltest.New(t)
	var queue Queue = PawlQueue{client, pawltest.Pool(t, client), "messages"}
	push := func(message string, at time.Time) pawl.ID {
		t.Helper()
		id, err := queue.Push(ctx, json.RawMessage(message), at)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	pull := func(want int) pawl.Jobs {
		t.Helper()
		jobs, err := queue.Pull(ctx, 1000)
		if err != nil || len(jobs) != want {
			t.Fatalf("pulled %d, %v; want %d", len(jobs), err, want)
		}
		return jobs
	}

	push(`"now"`, time.Time{})
	push(`"later"`, time.Now().Add(time.Hour))
	job := pull(1)[0]
	if string(job.Args) != `"now"` {
		t.Errorf("pulled %s", job.Args)
	}
	if err := queue.Delete(ctx, job); err != nil {
		t.Error(err)
	}
	if err := queue.Delete(ctx, job); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := client.Get(ctx, job.ID); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("a deleted job is there: %v", err)
	}
	pawltest.Advance(t, client, time.Hour)
	job = pull(1)[0]
	for range maxAttempts - 1 {
		if err := queue.Fail(ctx, job, errors.New("no luck")); err != nil {
			t.Fatal(err)
		}
		pull(0)
		pawltest.Advance(t, client, time.Hour)
		job = pull(1)[0]
	}
	if err := queue.Fail(ctx, job, errors.New("no luck")); err != nil {
		t.Fatal(err)
	}
	if dead, err := client.Get(ctx, job.ID); err != nil || dead.State != pawlstate.Dead || dead.Attempt != maxAttempts {
		t.Errorf("after five failures the job is %+v, %v", dead, err)
	}

	for range mostPulled + 1 {
		push(`"many"`, time.Time{})
	}
	push(`"later"`, time.Now().Add(time.Hour))
	held := pull(mostPulled)
	if err := queue.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	pull(0)
	pawltest.RequireNotInserted[pawl.RawArgs](t, client, pawl.Filter{})
	if err := queue.Delete(ctx, held[0]); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("deleted what was cleared: %v", err)
	}
}

func TestProgram(t *testing.T) {
	t.Setenv("DATABASE_URL", pawltest.Pool(t, pawltest.New(t)).Config().ConnString())
	main()
}
