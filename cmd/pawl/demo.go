package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// demoGuard bounds a demo: one that takes longer has lost something, or runs on a machine too slow to show anything.
const demoGuard = 60 * time.Second

func demoCommand(p *program) *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a queue at work: a shop's jobs, two workers, one of them killed",
		Long: `Demo starts a private PostgreSQL server, inserts some thousands of jobs and lets two worker processes do them.
Midway it kills one of the workers. At the end it checks that no job was lost and that every invoice was written
exactly once. Then it removes everything.

With --dsn it uses that server, where it makes the schemas ` + demoSchema + ` and ` + demoAppSchema + ` and drops them at the end. What the environment
or a file says of a dsn does not count here.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := p.output()
			if err != nil {
				return err
			}
			if d.databaseURL, err = p.saidServer(); err != nil {
				return err
			}
			return d.run(cmd.Context(), out)
		},
	}
	cmd.Flags().BoolVar(&d.keep, "keep", false, "after the summary leave everything in place until ^C, to look around with psql")
	cmd.Flags().Float64Var(&d.scale, "scale", 1, "size of the load")
	cmd.Flags().Lookup("scale").Hidden = true // For tests.
	cmd.AddCommand(demoWorkerCommand())
	return cmd
}

type demo struct {
	databaseURL string
	keep        bool
	scale       float64
}

func (d demo) run(ctx context.Context, out io.Writer) (err error) {
	if d.scale < 0.05 || d.scale > 20 {
		return fmt.Errorf("--scale %v: want 0.05 to 20", d.scale)
	}
	if d.databaseURL == "" {
		fmt.Fprintln(out, "Starting a private PostgreSQL server …")
	}
	base, err := openDemoDatabase(ctx, d.databaseURL)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, base.close()) }()

	failed := d.show(ctx, base, out)
	if ctx.Err() != nil {
		fmt.Fprintln(out, "Removing everything.")
		return interrupted(ctx, failed)
	}
	if d.keep {
		base.hint(out)
		<-ctx.Done()
		fmt.Fprintln(out, "\nRemoving everything.")
	}
	return failed
}

// interrupted is err, or in its place the plain word for ^C: then every other error is only a consequence of it.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("demo: interrupted before its checks")
	}
	return err
}

// show is the demo itself, from the first job to the last check.
func (d demo) show(ctx context.Context, base *demoDatabase, out io.Writer) error {
	ctx, stop := context.WithTimeoutCause(ctx, demoGuard, fmt.Errorf("it did not end within %v; the machine may be too busy", demoGuard))
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	crew, err := startCrew(fail, base.url, "A", "B")
	if err != nil {
		return err
	}
	defer crew.stop()
	load := newDemoLoad(base, d.scale)
	fmt.Fprint(out, wrapped(outputWidth(out), fmt.Sprintf(
		"PostgreSQL %s. %d jobs of %d tenants, two workers: processes %d (A) and %d (B). Inserting in bulk, one by one and in transactions, all at once.",
		base.version, load.total(), len(demoTenants), crew.workers[0].pid(), crew.workers[1].pid())))

	bars := newDemoDisplay(out, load)
	crew.tellBy(bars.say)
	err = d.watch(ctx, fail, base, load, crew, bars)
	bars.end()
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), crew.complaints())
	}
	// Nothing is under way any more when the books are checked.
	if err := crew.stop(); err != nil {
		return errors.Join(err, crew.complaints())
	}
	result, err := base.audit(ctx, load, crew)
	if err != nil {
		return fmt.Errorf("demo: read the results: %w", cmp.Or(context.Cause(ctx), err))
	}
	result.print(out, outputWidth(out))
	if err := result.failed(); err != nil {
		return errors.Join(err, crew.complaints())
	}
	return nil
}

// watch inserts, shows how far the jobs are, kills worker A midway, and returns when no job is left.
func (d demo) watch(ctx context.Context, fail context.CancelCauseFunc, base *demoDatabase, load *demoLoad, crew *crew, bars demoDisplay) error {
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
	midway := time.After(load.lasts * 2 / 5)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
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
			held, err := base.held(ctx, crew.workers[0].name)
			if err != nil {
				return cmp.Or(context.Cause(ctx), fmt.Errorf("count what the killed worker holds: %w", err))
			}
			load.orphans = held
			// How many it held is not said: the server may yet finish what it was told last.
			bars.say("Worker A killed (SIGKILL) in the middle of its jobs.")
		case <-look.C:
			select {
			case <-inserted:
				done = true
			default:
			}
			t, err := base.tally(ctx)
			if err != nil {
				return cmp.Or(context.Cause(ctx), fmt.Errorf("count the jobs: %w", err))
			}
			left = t.live
			bars.show(t)
			if done && midway == nil && t.live == 0 {
				return nil
			}
		}
	}
}

// pause waits for d, and says whether ctx let it.
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

// wrapped breaks a text at spaces, for a terminal of width columns; 0: no terminal, lines of 100.
func wrapped(width int, text string) string {
	if width == 0 {
		width = 100
	}
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		length := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+length > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += length
	}
	b.WriteByte('\n')
	return b.String()
}
