package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestTheNextAttemptGoesOnFromStepsAndCheckpoint(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	did := map[string]int{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		charge, err := pawl.Step(ctx, "charge", func(context.Context) (string, error) {
			did["charge"]++
			return "paid €1", nil
		})
		if err != nil || charge != "paid €1" {
			t.Errorf("attempt %d: charge is %q (%v)", job.Attempt, charge, err)
		}
		if _, err := pawl.Step(ctx, "send", func(context.Context) (int, error) {
			if did["send"]++; did["send"] == 1 {
				return 0, errBoom
			}
			return did["send"], nil
		}); err != nil {
			must(t, job.Progress(ctx, 50, "half"))
			must(t, client.Checkpoint(ctx, job, pawl.Checkpoint{
				Args: Note{7}, Data: []byte("d"), Value: map[string]int{"at": 1}, Attempts: 2,
			}))
			return pawl.RetryAfter(0, err)
		}
		if job.Args.N != 7 || string(job.Data) != "d" || string(job.Checkpoint) != `{"at": 1}` ||
			job.MaxAttempts != 3 || job.Percent != 50 || job.Message != "half" {
			t.Errorf("the next attempt has %+v, checkpoint %s, data %s, %d attempts, %d %% %s",
				job.Args, job.Checkpoint, job.Data, job.MaxAttempts, job.Percent, job.Message)
		}
		// A name that cannot be stored is refused before the step is done: otherwise each attempt would do it again.
		for _, name := range []string{"a\x00b", "\xff"} {
			step := func(context.Context) (int, error) { did["unnamed"]++; return 1, nil }
			if _, err := pawl.Step(ctx, name, step); err == nil || did["unnamed"] > 0 {
				t.Errorf("a step named %q: %v, done %d times", name, err, did["unnamed"])
			}
		}
		must(t, client.Checkpoint(ctx, job, pawl.Checkpoint{
			Args: pawl.Raw("note", []byte("null")), Data: []byte{}, Value: json.RawMessage("null"),
		}))
		return nil
	})
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
	start(t, client, mux, pawl.RunnerConfig{})
	job := await(t, client, id, pawlstate.Completed)
	if did["charge"] != 1 || did["send"] != 2 || job.Attempt != 2 {
		t.Errorf("steps done: %v in %d attempts", did, job.Attempt)
	}
	if job.Args != nil || job.Data != nil {
		t.Errorf("after both were cleared, the job has args %s and data %q", job.Args, job.Data)
	}

	if _, err := pawl.Step(t.Context(), "x", func(context.Context) (int, error) { return 1, nil }); err == nil {
		t.Error("Step outside of a handler returned nil")
	}
}

func TestACheckpointNeedsTheLease(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, Note{1})
	claimed := claim(t, client, 1)[0]
	tx := begin(t, pool)
	must(t, client.With(tx).Checkpoint(t.Context(), claimed, pawl.Checkpoint{Value: 1}))
	must(t, tx.Rollback(t.Context()))
	if job, _ := client.Get(t.Context(), id); job.Checkpoint != nil {
		t.Errorf("after a rollback the job has the checkpoint %s", job.Checkpoint)
	}
	for _, wrong := range []pawl.Checkpoint{{Attempts: -1}, {Attempts: 40_000}, {Extend: -time.Second}} {
		err := client.Checkpoint(t.Context(), claimed, wrong)
		if err == nil || !strings.Contains(err.Error(), "want 0 to") && !strings.Contains(err.Error(), "want 0 or more") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	expireLeases(t, pool)
	if err := client.Checkpoint(t.Context(), claimed, pawl.Checkpoint{Value: 1}); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("after the lease: %v, want ErrLeaseLost", err)
	}
}
