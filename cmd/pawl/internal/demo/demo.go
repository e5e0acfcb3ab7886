// Package demo shows a queue at work: a shop's jobs and two workers, one of which is killed.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// timeout bounds a demo. A demo that takes longer has lost a job, or the machine is too slow.
const timeout = 60 * time.Second

// Config describes a demo.
type Config struct {
	DatabaseURL string  // If empty, the demo starts a private server.
	Keep        bool    // Keep the database until ctx ends.
	Scale       float64 // The size of the load; 1 is about 8,000 jobs.
}

// Run runs a demo and removes what it has created.
func Run(ctx context.Context, config Config, out io.Writer) (err error) {
	if config.Scale < 0.05 || config.Scale > 20 {
		return fmt.Errorf("--scale %v: want 0.05 to 20", config.Scale)
	}
	if config.DatabaseURL == "" {
		fmt.Fprintln(out, "Starting a private PostgreSQL server …")
	}
	db, err := openDatabase(ctx, config.DatabaseURL)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, db.close()) }()

	failed := show(ctx, db, config.Scale, out)
	if ctx.Err() != nil {
		fmt.Fprintln(out, "Removing everything.")
		return interrupted(ctx, failed)
	}
	if config.Keep {
		db.printHint(out)
		<-ctx.Done()
		fmt.Fprintln(out, "\nRemoving everything.")
	}
	return failed
}

// interrupted returns err. After ^C it returns an error that says so, because every other error is a consequence.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("demo: interrupted before its checks")
	}
	return err
}

// show runs the demo from the first job to the last check.
func show(ctx context.Context, db *database, scale float64, out io.Writer) error {
	ctx, stop := context.WithTimeoutCause(ctx, timeout,
		fmt.Errorf("it did not end within %v; the machine may be too busy", timeout))
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	crew, err := startCrew(fail, db.url, "A", "B")
	if err != nil {
		return err
	}
	defer func() { _ = crew.stop() }()
	load := newLoad(db, scale)
	fmt.Fprint(out, wrapped(output.Width(out), fmt.Sprintf(
		"PostgreSQL %s. %d jobs of %d tenants, two workers: processes %d (A) and %d (B). "+
			"Inserting in bulk, one by one and in transactions, all at once.",
		db.version, load.total(), len(tenants), crew.workers[0].pid(), crew.workers[1].pid())))

	display := newDisplay(out, load)
	crew.reportTo(display.say)
	err = watch(ctx, fail, db, load, crew, display)
	display.end()
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), crew.warningsError())
	}
	// The audit reads the tables after all workers have ended.
	if err := crew.stop(); err != nil {
		return errors.Join(err, crew.warningsError())
	}
	result, err := db.audit(ctx, load, crew)
	if err != nil {
		return fmt.Errorf("demo: read the results: %w", cmp.Or(context.Cause(ctx), err))
	}
	result.print(out, output.Width(out))
	if err := result.failed(); err != nil {
		return errors.Join(err, crew.warningsError())
	}
	return nil
}

// watch inserts jobs, shows progress, kills worker A midway, and returns when all jobs are finished.
func watch(
	ctx context.Context, fail context.CancelCauseFunc, db *database, load *load, crew *crew, display display,
) error {
	inserting, giveUp := context.WithCancel(ctx)
	inserted := make(chan struct{})
	go func() {
		defer close(inserted)
		if err := load.insert(inserting); err != nil {
			fail(fmt.Errorf("insert: %w", err))
		}
	}()
	defer func() {
		giveUp()
		<-inserted
	}()
	midway := time.After(load.duration * 2 / 5)
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	done, left := false, 0
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%d jobs are not finished)", context.Cause(ctx), left)
		case <-midway:
			midway = nil
			if err := crew.kill(ctx, 0); err != nil {
				return err
			}
			claimed, err := db.claimed(ctx, crew.workers[0].name)
			if err != nil {
				return cmp.Or(context.Cause(ctx), fmt.Errorf("count the jobs of the killed worker: %w", err))
			}
			load.orphans = claimed
			// The number of its jobs is not shown: the server may still commit the worker's last statement.
			display.say("Worker A killed (SIGKILL) in the middle of its jobs.")
		case <-poll.C:
			select {
			case <-inserted:
				done = true
			default:
			}
			counts, err := db.count(ctx)
			if err != nil {
				return cmp.Or(context.Cause(ctx), fmt.Errorf("count the jobs: %w", err))
			}
			left = counts.live
			display.show(counts)
			if done && midway == nil && counts.live == 0 {
				return nil
			}
		}
	}
}

// pause waits for d. It reports whether ctx was still alive at the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wrapped wraps a text for a terminal, or at 100 columns if the width is 0.
func wrapped(width int, text string) string {
	return output.Wrap(text, cmp.Or(width, 100)) + "\n"
}
