package main

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func TestRoles(t *testing.T) {
	t.Parallel()
	ctx, client := t.Context(), pawltest.New(t)
	producer, consumer := Producer{client, "messages"}, Consumer{client, "messages", time.Minute}
	ids, err := producer.Batch(ctx, json.RawMessage(`1`), json.RawMessage(`2`), json.RawMessage(`3`), json.RawMessage(`4`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := producer.EnqueueDelayed(ctx, json.RawMessage(`6`), time.Hour); err != nil {
		t.Fatal(err)
	}
	last, err := producer.Enqueue(ctx, json.RawMessage(`5`))
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := consumer.Dequeue(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []pawl.ID
	for _, job := range jobs {
		got = append(got, job.ID)
	}
	if want := append(ids, last); !slices.Equal(got, want) {
		t.Fatalf("dequeued %v, want %v", got, want)
	}

	if err := consumer.Archive(ctx, jobs[:1]); err != nil {
		t.Error(err)
	}
	if n, err := consumer.Delete(ctx, jobs[1:2]); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if err := consumer.Release(ctx, jobs[2]); err != nil {
		t.Error(err)
	}
	if err := consumer.Extend(ctx, jobs[3], time.Hour); err != nil {
		t.Error(err)
	}
	pawltest.Advance(t, client, 2*time.Minute) // Past the lease, but not past the extended one.
	for id, want := range map[pawl.ID]pawlstate.State{ids[0]: pawlstate.Completed, ids[2]: pawlstate.Ready, ids[3]: pawlstate.Running, last: pawlstate.Ready} {
		if job, err := client.Get(ctx, id); err != nil || job.State != want {
			t.Errorf("job %d is %v, %v; want %s", id, job, err, want)
		}
	}
	if _, err := client.Get(ctx, ids[1]); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("a deleted job is there: %v", err)
	}
	if err := consumer.Archive(ctx, jobs[4:5]); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("archived too late: %v", err)
	}
	if err := consumer.Archive(ctx, jobs[3:4]); err != nil {
		t.Error(err)
	}
}

func TestProgram(t *testing.T) {
	t.Setenv("DATABASE_URL", pawltest.Pool(t, pawltest.New(t)).Config().ConnString())
	main()
}
