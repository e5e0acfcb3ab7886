package main

import (
	"context"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func TestStubborn(t *testing.T) {
	t.Parallel()
	client := pawltest.New(t)
	result, err := client.Insert(t.Context(), Report{Day: "today"})
	if err != nil {
		t.Fatal(err)
	}
	asked, enough := make(chan error, 1), make(chan struct{})
	started := make(chan struct{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Report]) error {
		close(started)
		<-Asked(ctx)
		asked <- ctx.Err()
		<-enough
		return nil
	})
	worker := NewWorker(client, mux)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	<-started

	stop()
	if err := <-asked; err != nil {
		t.Errorf("the handler's context ended: %v", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the worker ended while it held a job: %v", err)
	default:
	}
	if holds := worker.Holds(); len(holds) != 1 {
		t.Errorf("it holds %q", holds)
	}
	close(enough)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if holds := worker.Holds(); len(holds) != 0 {
		t.Errorf("in the end it holds %q", holds)
	}
	if job, err := client.Get(t.Context(), result.ID); err != nil || job.State != pawlstate.Completed {
		t.Errorf("the job is %+v, %v", job, err)
	}
}
