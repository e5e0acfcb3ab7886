package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

func consumeCommand(p *program) *cobra.Command {
	var (
		c            = &consumption{}
		config       pawl.RunnerConfig
		kinds        []string
		timeout      time.Duration
		untilEmpty   bool
		drainTimeout = 30 * time.Second
	)
	c.grace, c.snooze = 10*time.Second, time.Minute
	command := &cobra.Command{
		Use:   "consume QUEUE... -- PROGRAM [ARGUMENT...]",
		Short: "Run a program for each job of queues",
		Long: `Consume is a worker that runs PROGRAM once for each job, until it is told to stop.

The job's args are the program's standard input, as JSON (see --stdin). Facts are in its environment:
  PAWL_JOB_ID, PAWL_KIND, PAWL_QUEUE, PAWL_CHANNEL, PAWL_PRIORITY, PAWL_ATTEMPT (1 in the first run), PAWL_MAX_ATTEMPTS,
  PAWL_CREATED_AT, PAWL_RUN_AT (RFC 3339), PAWL_FINGERPRINT, PAWL_UNIQUE_KEY, PAWL_HEADERS (JSON), PAWL_BATCH, PAWL_WORKER

Its exit code decides:
  0      the job is completed
  75     not now (EX_TEMPFAIL): it comes again after --snooze, and no attempt is used
  100    it is dead, whatever attempts are left
  101    it is cancelled
  other  the attempt has failed, with the end of standard error as its error: it comes again after its backoff, until its attempts are
         used up and it is dead. So it is when a signal ends the program

A program whose job is cancelled or taken away, or whose --timeout is over, gets SIGTERM, and after --grace SIGKILL, with all it
has started (its process group). What it leaves running there when it ends is killed too.

SIGTERM or ^C: nothing new is claimed, and running programs have --drain-timeout to end; then they get SIGTERM, after --grace SIGKILL, and
their jobs run elsewhere, no attempt used. Then consume ends, with exit code 0. A second ^C ends it at once.

With --listen it serves /healthz, /readyz and /metrics as pawl serve does, with the figures of this process alone; without it, no HTTP,
whatever the environment or a file says.`,
		Example: `  pawl consume mail -- ./send-mail
  pawl consume reports --concurrency 4 --timeout 10m -- sh -c 'make-report > "/srv/reports/$PAWL_JOB_ID.pdf"'
  pawl consume import --until-empty --result -- jq '{rows: length}'`,
		Args: func(command *cobra.Command, args []string) error {
			switch dash := command.ArgsLenAtDash(); {
			case dash < 0:
				return errors.New("no program: say it after --, as in pawl consume mail -- ./send-mail")
			case dash == 0:
				return errors.New("no queue: name one or more before --")
			case dash == len(args):
				return errors.New("no program after --")
			}
			return nil
		},
		GroupID: groupRun,
		RunE: func(command *cobra.Command, args []string) (err error) {
			dash := command.ArgsLenAtDash()
			if config.Min = config.Max; config.Max < 1 {
				return usageError{fmt.Errorf("--concurrency %d: want 1 or more", config.Max)}
			}
			c.program = args[dash:]
			if _, err := exec.LookPath(c.program[0]); err != nil {
				return usageError{err}
			}
			if c.output, err = p.output(); err != nil {
				return err
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			c.log, c.errors = p.log, &lockedWriter{to: p.stderr}
			config.Queues = map[string]pawl.RunnerQueue{}
			for _, queue := range args[:dash] {
				config.Queues[queue] = pawl.RunnerQueue{}
			}
			config.Heartbeat, config.PollInterval = p.settled.Heartbeat, p.settled.PollInterval
			// The programs are told to end by us, so that they are gone when their jobs are given back.
			config.DrainTimeout = drainTimeout + c.grace + 2*time.Second
			if len(kinds) == 0 {
				kinds = []string{"*"}
			}
			mux := new(pawl.Mux)
			for _, kind := range kinds {
				c.handle(mux, pawl.KindOptions{Kind: kind, Timeout: timeout})
			}
			ctx, stop := context.WithCancel(command.Context())
			defer stop()
			draining, drained := context.WithCancel(context.WithoutCancel(ctx))
			defer drained()
			c.draining = draining
			context.AfterFunc(ctx, func() {
				if command.Context().Err() != nil {
					c.log.Info("pawl: told to stop; running programs may end", "within", drainTimeout)
				}
				time.AfterFunc(drainTimeout, drained)
			})
			if untilEmpty {
				var around sync.WaitGroup
				defer around.Wait()
				defer stop()
				around.Go(func() {
					untilNothingToDo(ctx, client, args[:dash])
					stop()
				})
			}
			end, err := p.serveBeside(command.Context(), client)
			if err != nil {
				return err
			}
			defer end()
			c.log.Info("pawl: running a program for each job", "program", c.program[0], "queues", args[:dash], "at once", config.Max)
			return client.Run(ctx, mux, config)
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.IntVar(&config.Max, "concurrency", 1, "programs at once")
	flags.StringSliceVar(&kinds, "kind", nil, "run jobs of this kind alone; again for more. Others are given back for a minute, no attempt used")
	flags.Var((*durationValue)(&timeout), "timeout", "of one attempt; 0: none")
	flags.Var(&c.input, "stdin", "what the program reads: args, data or job (all of it, as JSON)")
	flags.BoolVar(&c.result, "result", false, "keep standard output as the job's result: as JSON if it is, else as a string; at most 1 MiB")
	flags.Var((*durationValue)(&c.snooze), "snooze", "how long a job is put off when the program ends with 75")
	flags.BoolVar(&untilEmpty, "until-empty", false, "end when no job of the queues is ready or running; those scheduled for later, retries too, stay")
	flags.StringVar(&config.Name, "name", "", "of the worker; if empty, host:pid")
	flags.Var((*durationValue)(&drainTimeout), "drain-timeout", "how long running programs may go on when consume is to stop")
	flags.Var((*durationValue)(&c.grace), "grace", "from SIGTERM to SIGKILL")
	p.settingFlags(command, flags, "heartbeat", "poll_interval", "listen")
	command.RegisterFlagCompletionFunc("stdin", cobra.FixedCompletions(c.input.allowed(), cobra.ShellCompDirectiveNoFileComp))
	return command
}

// untilNothingToDo returns when the queues have no job that is ready or running, or due; or when ctx ends.
func untilNothingToDo(ctx context.Context, client *pawl.Client, queues []string) {
	const every = 250 * time.Millisecond
	named := map[string]bool{}
	for _, queue := range queues {
		named[queue] = true
	}
	for quiet := 0; ; {
		// What waits for a job that has just ended starts up to a second later.
		switch busy, waiting, err := lookFor(ctx, client, named); {
		case ctx.Err() != nil:
			return
		case err != nil || busy:
			quiet = 0
		case quiet >= 1 && !waiting || quiet >= int(2*time.Second/every):
			return
		default:
			quiet++
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
	}
}

// lookFor says whether something of the queues is ready, running or due, and whether something waits for other jobs.
func lookFor(ctx context.Context, client *pawl.Client, queues map[string]bool) (busy, waiting bool, err error) {
	stats, err := client.Stats(ctx)
	for _, q := range stats.Queues {
		if queues[q.Queue] {
			busy = busy || q.Ready > 0 || q.Running > 0 || q.Lag > 0
			waiting = waiting || q.Waiting > 0
		}
	}
	return busy, waiting, err
}
