package main

import (
	"context"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawltest"
)

// The lease of a job expires. The process with maintenance rescues the job, and the process with work runs it.
func TestMaintain(t *testing.T) {
	t.Parallel()
	client := pawltest.New(t)
	if _, err := client.Insert(t.Context(), Report{Day: "today"}); err != nil {
		t.Fatal(err)
	}
	if jobs, err := client.Claim(t.Context(), "default", 1, time.Millisecond); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err) // The job is never finished.
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	written := make(chan Report, 1)
	ended := make(chan error, 2)
	go func() {
		ended <- work(ctx, client, func(_ context.Context, report Report) error {
			written <- report
			return nil
		})
	}()
	go func() { ended <- maintain(ctx, client) }()
	select {
	case report := <-written:
		if report.Day != "today" {
			t.Errorf("the report is of %q", report.Day)
		}
	case <-time.After(20 * time.Second):
		t.Error("the job was not rescued within 20 s")
	}
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	pawltest.RequireNotInserted[Report](t, client, pawl.Filter{})
}
