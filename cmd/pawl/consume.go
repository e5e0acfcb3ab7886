package main

import (
	"context"
	"errors"
	"os/exec"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
	"github.com/pawlhq/pawl/cmd/pawl/internal/subprocess"
)

// consumer holds the flags of consume.
type consumer struct {
	subprocess   subprocess.Command
	runner       pawl.RunnerConfig
	kinds        []string
	timeout      time.Duration
	drainTimeout time.Duration
	untilEmpty   bool
}

const consumeLong = `Consume is a worker that runs PROGRAM once for each job, until it is stopped.

The program reads the job's args, as JSON, from standard input (see --stdin). Its environment describes the job:
  PAWL_JOB_ID, PAWL_KIND, PAWL_QUEUE, PAWL_CHANNEL, PAWL_PRIORITY, PAWL_ATTEMPT (1 in the first run),
  PAWL_MAX_ATTEMPTS, PAWL_CREATED_AT, PAWL_RUN_AT (RFC 3339), PAWL_FINGERPRINT, PAWL_UNIQUE_KEY,
  PAWL_HEADERS (JSON), PAWL_BATCH, PAWL_WORKER

Its exit code decides what happens to the job:
  0      the job is completed
  75     the job is put off for --snooze (EX_TEMPFAIL); this uses no attempt
  100    the job is dead, even if attempts are left
  101    the job is cancelled
  other  the attempt failed, and the end of standard error is its error. The job runs again after its
         backoff, or is dead if it has no attempts left. The same happens if a signal ends the program

If a job is cancelled or taken away, or --timeout is over, the program gets SIGTERM, and after --grace SIGKILL.
Both signals go to its whole process group. When the program ends, consume kills the processes that it has left
in the group.

On SIGTERM or ^C, consume claims no more jobs. Running programs have --drain-timeout to end. Then they get
SIGTERM, after --grace SIGKILL, and their jobs run elsewhere; this uses no attempt. Then consume exits with code
0. A second ^C ends consume at once.

With --listen, consume serves /healthz, /readyz and /metrics like pawl serve, with the figures of this process
only. Without the flag it serves no HTTP, even if the environment or a file sets listen.`

func consumeCommand(p *program.Program) *cobra.Command {
	c := &consumer{drainTimeout: 30 * time.Second}
	c.subprocess.Grace, c.subprocess.Snooze = 10*time.Second, time.Minute
	command := &cobra.Command{
		Use:   "consume QUEUE... -- PROGRAM [ARGUMENT...]",
		Short: "Run a program for each job of queues",
		Long:  consumeLong,
		Example: `  pawl consume mail -- ./send-mail
  pawl consume reports --concurrency 4 --timeout 10m -- sh -c 'make-report > "/srv/reports/$PAWL_JOB_ID.pdf"'
  pawl consume import --until-empty --result -- jq '{rows: length}'`,
		Args: func(command *cobra.Command, args []string) error {
			switch dash := command.ArgsLenAtDash(); {
			case dash < 0:
				return errors.New("no program: give it after --, as in pawl consume mail -- ./send-mail")
			case dash == 0:
				return errors.New("no queue: give one or more before --")
			case dash == len(args):
				return errors.New("no program after --")
			}
			return nil
		},
		GroupID: groupRun,
		RunE: func(command *cobra.Command, args []string) error {
			dash := command.ArgsLenAtDash()
			return c.run(command.Context(), p, args[:dash], args[dash:])
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.IntVar(&c.runner.Max, "concurrency", 1, "number of programs that run at once")
	flags.StringSliceVar(&c.kinds, "kind", nil,
		"run only jobs of this kind; repeatable. Other jobs are released for a minute, which uses no attempt")
	flags.Var((*flagvalue.Duration)(&c.timeout), "timeout", "maximum time of one attempt; 0: no limit")
	flags.Var(&c.subprocess.Input, "stdin", "what the program reads: args, data or job (the whole job, as JSON)")
	flags.BoolVar(&c.subprocess.Result, "result", false,
		"keep standard output as the job's result: as JSON if it is JSON, else as a string; at most 1 MiB")
	flags.Var((*flagvalue.Duration)(&c.subprocess.Snooze), "snooze",
		"how long a job is put off if the program exits with 75")
	flags.BoolVar(&c.untilEmpty, "until-empty", false,
		"end when no job of the queues is ready or running; jobs that are scheduled for later, such as retries, stay")
	flags.StringVar(&c.runner.Name, "name", "", "name of the worker; if empty, host:pid")
	flags.Var((*flagvalue.Duration)(&c.drainTimeout), "drain-timeout",
		"how long running programs may continue when consume is stopped")
	flags.Var((*flagvalue.Duration)(&c.subprocess.Grace), "grace", "time from SIGTERM to SIGKILL")
	settings.AddFlags(command, flags, "heartbeat", "poll_interval", "listen")
	complete := cobra.FixedCompletions(subprocess.Inputs(), cobra.ShellCompDirectiveNoFileComp)
	_ = command.RegisterFlagCompletionFunc("stdin", complete)
	return command
}

func (c *consumer) run(ctx context.Context, p *program.Program, queues, args []string) (err error) {
	if c.runner.Min = c.runner.Max; c.runner.Max < 1 {
		return exit.Usagef("--concurrency %d: want 1 or more", c.runner.Max)
	}
	if _, err := exec.LookPath(args[0]); err != nil {
		return exit.Usage(err)
	}
	c.subprocess.Args = args
	if c.subprocess.Stdout, err = p.Output(); err != nil {
		return err
	}
	client, err := p.Open(ctx)
	if err != nil {
		return err
	}
	c.subprocess.Log, c.subprocess.Stderr = p.Log, subprocess.NewLockedWriter(p.Stderr)
	c.runner.Queues = map[string]pawl.RunnerQueue{}
	for _, queue := range queues {
		c.runner.Queues[queue] = pawl.RunnerQueue{}
	}
	c.runner.Heartbeat, c.runner.PollInterval = p.Settings.Heartbeat, p.Settings.PollInterval
	// Consume stops the programs itself before the runner releases their jobs, so that no program outlives its claim.
	c.runner.DrainTimeout = c.drainTimeout + c.subprocess.Grace + 2*time.Second
	c.runner.StuckAfter = c.subprocess.Grace + 5*time.Second // The program has ended by then.

	running, stop := context.WithCancel(ctx)
	defer stop()
	draining, drained := context.WithCancel(context.WithoutCancel(running))
	defer drained()
	c.subprocess.Draining = draining
	context.AfterFunc(running, func() {
		if ctx.Err() != nil {
			p.Log.Info("pawl: stopping; waiting for running programs", "for", c.drainTimeout)
		}
		time.AfterFunc(c.drainTimeout, drained)
	})
	if c.untilEmpty {
		var background sync.WaitGroup
		defer background.Wait()
		defer stop()
		background.Go(func() {
			waitUntilEmpty(running, client, queues)
			stop()
		})
	}
	end, err := serveBeside(ctx, p, client)
	if err != nil {
		return err
	}
	defer end()
	p.Log.Info("pawl: running a program for each job",
		"program", args[0], "queues", queues, "concurrency", c.runner.Max)
	return client.Run(running, c.mux(), c.runner)
}

func (c *consumer) mux() *pawl.Mux {
	kinds := c.kinds
	if len(kinds) == 0 {
		kinds = []string{"*"}
	}
	mux := new(pawl.Mux)
	for _, kind := range kinds {
		c.subprocess.Handle(mux, pawl.KindOptions{Kind: kind, Timeout: c.timeout})
	}
	return mux
}

// waitUntilEmpty returns when the queues have no ready or running job, and no scheduled job whose time has come. It
// also returns when ctx ends.
func waitUntilEmpty(ctx context.Context, client *pawl.Client, queues []string) {
	const interval = 250 * time.Millisecond
	named := map[string]bool{}
	for _, queue := range queues {
		named[queue] = true
	}
	for quiet := 0; ; {
		// A job that waits for another starts up to a second after the other has finished.
		switch busy, waiting, err := queuesBusy(ctx, client, named); {
		case ctx.Err() != nil:
			return
		case err != nil || busy:
			quiet = 0
		case quiet >= 1 && !waiting || quiet >= int(2*time.Second/interval):
			return
		default:
			quiet++
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// queuesBusy reports whether jobs are ready, running or past their time, and whether jobs wait for other jobs.
func queuesBusy(
	ctx context.Context, client *pawl.Client, queues map[string]bool,
) (busy, waiting bool, err error) {
	stats, err := client.Stats(ctx)
	for _, q := range stats.Queues {
		if queues[q.Queue] {
			busy = busy || q.Ready > 0 || q.Running > 0 || q.Lag > 0
			waiting = waiting || q.Waiting > 0
		}
	}
	return busy, waiting, err
}
