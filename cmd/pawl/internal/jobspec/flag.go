package jobspec

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/spf13/pflag"

	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// Flags is a job that a command line describes: its kind and args are arguments, the rest are flags.
type Flags struct {
	Spec
	data string
}

// AddFlags gives a command the flags.
func (s *Flags) AddFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&s.data, "data", "",
		"bytes in addition to args or instead of them: the bytes, @FILE, or - for standard input")
	flags.Var((*flagvalue.Name)(&s.Queue), "queue", `the job's queue; if not given, "default"`)
	flags.StringVar(&s.Channel, "channel", "", "the job's channel in the queue, such as a tenant or an account")
	flags.BoolVar(&s.Ordered, "ordered", false,
		"run the channel's ordered jobs one at a time, in the order of their inserts")
	flags.Var(&flagvalue.Number{To: &s.Priority, Least: math.MinInt16, Most: math.MaxInt16}, "priority",
		"-32768 to 32767; lower runs first")
	flags.Var((*flagvalue.Duration)(&s.Delay), "delay", "time from now before which the job does not run")
	flags.Var(&flagvalue.Number{To: &s.MaxAttempts, Least: 0, Most: math.MaxInt16}, "max-attempts",
		"maximum number of attempts; 0: the setting max_attempts, else the queue's maximum, else 20")
	s.addBackoff(flags)
	s.addUnique(flags)
	flags.StringVar(&s.Fingerprint, "fingerprint", "", "a label to find the job by")
	flags.Var((*flagvalue.Headers)(&s.Headers), "header", "NAME=VALUE, passed to the handler; repeatable")
	flags.Var((*flagvalue.IDs)(&s.AfterOK), "after-ok", "ID,...: wait until all these jobs are completed")
	flags.Var((*flagvalue.IDs)(&s.AfterAny), "after-any", "ID,...: wait until all these jobs are finished, in any state")
	flags.Var((*flagvalue.IDs)(&s.AfterNotOK), "after-not-ok", "ID,...: wait until all these jobs are dead or cancelled")
	flags.BoolVar(&s.KeepWaiting, "keep-waiting", false,
		"keep waiting if a job that this one waits for dies, until it is retried; else this job is cancelled with it")
}

func (s *Flags) addBackoff(flags *pflag.FlagSet) {
	flags.Var((*flagvalue.Duration)(&s.Backoff.Base), "backoff-base",
		"delay after the first failed attempt (without any backoff flag, the queue's backoff applies; else 1s)")
	flags.Var((*flagvalue.Duration)(&s.Backoff.Max), "backoff-max", "maximum delay (1h)")
	flags.Float64Var(&s.Backoff.Growth, "backoff-growth", 0, "factor from one delay to the next (2)")
	flags.Float64Var(&s.Backoff.Power, "backoff-power", 0, "exponent of the attempt number, which is a second factor (0)")
	flags.Var(&flagvalue.Float{To: &s.Backoff.Jitter}, "backoff-jitter", "random share of the delay, 0 to 1 (0.1)")
}

func (s *Flags) addUnique(flags *pflag.FlagSet) {
	flags.StringVar(&s.Unique.Key, "unique", "",
		"unique key: while a live job of the queue has this key, another insert adds nothing and returns that job")
	flags.Var((*flagvalue.Duration)(&s.Unique.Period), "unique-period", "keep the key taken for at least this long")
	flags.BoolVar(&s.Unique.Global, "unique-global", false, "make the key unique over all queues")
	flags.BoolVar(&s.Unique.UntilStart, "unique-until-start", false, "free the key when the job starts")
	flags.BoolVar(&s.Unique.Replace, "unique-replace", false,
		"let a duplicate replace the args, data and headers of a job that has not started")
	flags.BoolVar(&s.Unique.Reschedule, "unique-reschedule", false,
		"let a duplicate replace the time of a job that has not started")
}

// Read takes the arguments [KIND [ARGS]], and reads the files and the standard input that they and --data name.
func (s *Flags) Read(p *program.Program, args []string) (err error) {
	if len(args) > 0 {
		s.Kind = args[0]
	}
	if len(args) > 1 {
		if args[1] == "-" && s.data == "-" {
			return exit.Usagef("args and --data cannot both be standard input")
		}
		if s.Args, err = p.ReadArgument(args[1]); err != nil {
			return fmt.Errorf("args: %w", err)
		}
		if !json.Valid(s.Args) {
			return exit.Usagef("the args are not JSON: %s", WantJSON)
		}
	}
	if s.data != "" {
		if s.Data, err = p.ReadArgument(s.data); err != nil {
			return fmt.Errorf("--data: %w", err)
		}
	}
	return nil
}

// HasData reports whether --data was given.
func (s *Flags) HasData() bool { return s.data != "" }

// WantJSON describes JSON in an argument of a shell.
const WantJSON = `want an object such as '{"user": 42}', or text in quotes: '"hello"'`
