package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// policyRow is a queue's policy as it is printed; what is nil is as by default. Its names are those of the flags.
type policyRow struct {
	MaxRunning        *int           `json:"max_running" table:",omitempty"`
	ChannelMaxRunning *int           `json:"channel_max_running" table:",omitempty"`
	Rate              *string        `json:"rate" table:",omitempty"`
	Burst             *int           `json:"burst" table:",omitempty"`
	ChannelRate       *string        `json:"channel_rate" table:",omitempty"`
	ChannelBurst      *int           `json:"channel_burst" table:",omitempty"`
	Weights           map[string]int `json:"weights" table:",omitempty"`
	MaxAttempts       *int           `json:"max_attempts" table:",omitempty"`
	BackoffBase       *time.Duration `json:"backoff_base" table:",omitempty"`
	BackoffMax        *time.Duration `json:"backoff_max" table:",omitempty"`
	BackoffGrowth     *float64       `json:"backoff_growth" table:",omitempty"`
	BackoffPower      *float64       `json:"backoff_power" table:",omitempty"`
	BackoffJitter     *float64       `json:"backoff_jitter" table:",omitempty"`
	Lease             *time.Duration `json:"lease" table:",omitempty"`
	HaltOnDead        bool           `json:"halt_on_dead" table:",omitempty"`
	RetainCompleted   *time.Duration `json:"retain_completed" table:",omitempty"`
	RetainCancelled   *time.Duration `json:"retain_cancelled" table:",omitempty"`
	RetainDead        *time.Duration `json:"retain_dead" table:",omitempty"`
}

func rowOfPolicy(policy pawl.Queue) policyRow {
	row := policyRow{
		MaxRunning: unlessZero(policy.MaxRunning), ChannelMaxRunning: unlessZero(policy.ChannelMaxRunning), MaxAttempts: unlessZero(policy.MaxAttempts),
		BackoffBase: unlessZero(policy.Backoff.Base), BackoffMax: unlessZero(policy.Backoff.Max), BackoffGrowth: unlessZero(policy.Backoff.Growth),
		BackoffPower: unlessZero(policy.Backoff.Power), BackoffJitter: unlessZero(policy.Backoff.Jitter), Lease: unlessZero(policy.Lease),
		HaltOnDead: policy.HaltOnDead, Weights: policy.Weights, Burst: unlessZero(policy.Rate.Burst), ChannelBurst: unlessZero(policy.ChannelRate.Burst),
	}
	if policy.Rate.N > 0 {
		row.Rate = new(formatRate(policy.Rate))
	}
	if policy.ChannelRate.N > 0 {
		row.ChannelRate = new(formatRate(policy.ChannelRate))
	}
	if policy.Backoff.NoJitter {
		row.BackoffJitter = new(0.0)
	}
	if policy.RetainCompleted != 0 || policy.RetainCancelled != 0 || policy.RetainDead != 0 {
		row.RetainCompleted = new(max(cmp.Or(policy.RetainCompleted, retainFinished), 0))
		row.RetainCancelled = new(max(cmp.Or(policy.RetainCancelled, retainFinished), 0))
		row.RetainDead = new(max(cmp.Or(policy.RetainDead, retainDead), 0))
	}
	return row
}

// unlessZero is a value that was set; a zero one was not.
func unlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// The default retentions of package pawl.
const (
	retainFinished = 24 * time.Hour
	retainDead     = 30 * 24 * time.Hour
)

// keepFor is a retention for pawl.Queue: the default is zero there, and zero is negative.
func keepFor(d, standard time.Duration) time.Duration {
	switch d {
	case standard:
		return 0
	case 0:
		return -1
	}
	return d
}

// policyFlags are the flags of a queue's policy, each of which changes one thing of it.
type policyFlags struct {
	policy  pawl.Queue
	weights map[string]int
}

func (f *policyFlags) add(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for _, limit := range []struct {
		name, usage string
		to          *int
	}{
		{"max-running", "most jobs that run at once, over all workers; 0: no limit", &f.policy.MaxRunning},
		{"channel-max-running", "the same for each channel", &f.policy.ChannelMaxRunning},
	} {
		flags.Var(&numberValue{limit.to, 0, math.MaxInt32}, limit.name, limit.usage)
	}
	flags.Var((*rateValue)(&f.policy.Rate), "rate", "most jobs that start in a time, such as 1000/s or 5/10m")
	flags.Var(&numberValue{&f.policy.Rate.Burst, 0, math.MaxInt32}, "burst", "of them at once after a rest; 0: as many as the rate's number")
	flags.Var((*rateValue)(&f.policy.ChannelRate), "channel-rate", "the same as --rate for each channel")
	flags.Var(&numberValue{&f.policy.ChannelRate.Burst, 0, math.MaxInt32}, "channel-burst", "the same as --burst for each channel")
	flags.Var((*weightsValue)(&f.weights), "weight", "CHANNEL=N: a channel's share of a claim, 1 to 1000; 1 where nothing is said; again for more")
	flags.Var(&numberValue{&f.policy.MaxAttempts, 0, math.MaxInt16}, "max-attempts", "of jobs that say nothing themselves, up to 32767; 0: 20")
	flags.Var((*durationValue)(&f.policy.Backoff.Base), "backoff-base", "wait after the first failed attempt; 0: 1s")
	flags.Var((*durationValue)(&f.policy.Backoff.Max), "backoff-max", "longest wait; 0: 1h")
	flags.Float64Var(&f.policy.Backoff.Growth, "backoff-growth", 0, "factor from one wait to the next; 0: 2")
	flags.Float64Var(&f.policy.Backoff.Power, "backoff-power", 0, "of the number of the attempt, as another factor")
	flags.Float64Var(&f.policy.Backoff.Jitter, "backoff-jitter", 0.1, "share of the wait that is random, 0 to 1; 0: none")
	flags.Var((*durationValue)(&f.policy.Lease), "lease", "of claims by hand that name none; 0: 30s")
	flags.BoolVar(&f.policy.HaltOnDead, "halt-on-dead", false, "an ordered channel stands still when the job at its head dies")
	for _, kept := range []struct {
		name, usage string
		to          *time.Duration
		standard    time.Duration
	}{
		{"retain-completed", "how long completed jobs are kept; 0: not at all", &f.policy.RetainCompleted, retainFinished},
		{"retain-cancelled", "the same of cancelled ones", &f.policy.RetainCancelled, retainFinished},
		{"retain-dead", "the same of dead ones", &f.policy.RetainDead, retainDead},
	} {
		*kept.to = kept.standard
		flags.Var((*durationValue)(kept.to), kept.name, kept.usage)
	}
}

// apply changes of a policy what flags were given for, and says how many those were.
func (f *policyFlags) apply(policy *pawl.Queue, flags *pflag.FlagSet) (given int) {
	on := func(name string, do func()) {
		if flags.Changed(name) {
			do()
			given++
		}
	}
	from := &f.policy
	on("max-running", func() { policy.MaxRunning = from.MaxRunning })
	on("channel-max-running", func() { policy.ChannelMaxRunning = from.ChannelMaxRunning })
	for _, rate := range []struct {
		name, burst string
		from, to    *pawl.Rate
	}{{"rate", "burst", &from.Rate, &policy.Rate}, {"channel-rate", "channel-burst", &from.ChannelRate, &policy.ChannelRate}} {
		on(rate.name, func() {
			rate.to.N, rate.to.Per = rate.from.N, rate.from.Per
			if rate.to.N == 0 {
				*rate.to = pawl.Rate{} // Without a rate there is no burst.
			}
		})
		on(rate.burst, func() { rate.to.Burst = rate.from.Burst })
	}
	on("weight", func() {
		weights := maps.Clone(policy.Weights)
		if weights == nil {
			weights = map[string]int{}
		}
		maps.Copy(weights, f.weights)
		maps.DeleteFunc(weights, func(_ string, weight int) bool { return weight == 1 })
		policy.Weights = weights
	})
	on("max-attempts", func() { policy.MaxAttempts = from.MaxAttempts })
	on("backoff-base", func() { policy.Backoff.Base = from.Backoff.Base })
	on("backoff-max", func() { policy.Backoff.Max = from.Backoff.Max })
	on("backoff-growth", func() { policy.Backoff.Growth = from.Backoff.Growth })
	on("backoff-power", func() { policy.Backoff.Power = from.Backoff.Power })
	on("backoff-jitter", func() {
		policy.Backoff.Jitter, policy.Backoff.NoJitter = from.Backoff.Jitter, from.Backoff.Jitter == 0
	})
	on("lease", func() { policy.Lease = from.Lease })
	on("halt-on-dead", func() { policy.HaltOnDead = from.HaltOnDead })
	on("retain-completed", func() { policy.RetainCompleted = keepFor(from.RetainCompleted, retainFinished) })
	on("retain-cancelled", func() { policy.RetainCancelled = keepFor(from.RetainCancelled, retainFinished) })
	on("retain-dead", func() { policy.RetainDead = keepFor(from.RetainDead, retainDead) })
	return given
}

func queueCreateCommand(p *program) *cobra.Command {
	var flags policyFlags
	command := &cobra.Command{
		Use:   "create NAME",
		Short: "Say of a new queue how it works",
		Long: `Create makes a queue known before its first job, with what the flags say of it. That is not needed to insert jobs into it. A queue of
which something was said already is an error: pawl queue set changes it.`,
		Example: `  pawl queue create mail --max-running 50 --rate 1000/m
  pawl queue create tenants --channel-max-running 2 --weight gold=3`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			queues, err := client.Queues(ctx)
			if err != nil {
				return err
			}
			for _, q := range queues {
				if q.Name == name && !q.CreatedAt.IsZero() {
					return fmt.Errorf("queue %q is there already: pawl queue set changes it", name)
				}
			}
			queue := pawl.Queue{Name: name}
			flags.apply(&queue, command.Flags())
			if err := putQueue(command, client, queue); err != nil {
				return err
			}
			return p.printQueue(ctx, client, name)
		},
	}
	flags.add(command.Flags())
	return command
}

func queueSetCommand(p *program) *cobra.Command {
	var flags policyFlags
	var reset bool
	command := &cobra.Command{
		Use:   "set NAME",
		Short: "Change how a queue works",
		Long: `Set changes what flags are given for and leaves the rest of what was said of the queue. Workers obey within a second, limits at once. Two
sets of one queue at the same time: the later one may undo what the other changed.`,
		Example: `  pawl queue set mail --max-running 50 --rate 1000/m --burst 100
  pawl queue set mail --rate none --retain-completed 0
  pawl queue set mail --reset`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			q, err := findQueue(ctx, client, name)
			if err != nil {
				return err
			}
			if reset {
				q.Queue = pawl.Queue{Name: name}
			}
			if flags.apply(&q.Queue, command.Flags()) == 0 && !reset {
				return usageError{fmt.Errorf("nothing to set: give a flag, such as --max-running 10")}
			}
			if err := putQueue(command, client, q.Queue); err != nil {
				return err
			}
			return p.printQueue(ctx, client, name)
		},
	}
	flags.add(command.Flags())
	command.Flags().BoolVar(&reset, "reset", false, "begin with the defaults: what no flag is given for is as if nothing was ever said of it")
	return command
}

// putQueue sets a policy. What is wrong with it, a flag said.
func putQueue(command *cobra.Command, client *pawl.Client, queue pawl.Queue) error {
	err := client.PutQueue(command.Context(), queue)
	if err != nil && command.Context().Err() == nil && !as[*pgconn.PgError](err) && !as[*pgconn.ConnectError](err) {
		return usageError{errors.New(strings.TrimPrefix(err.Error(), "pawl: put "))}
	}
	return err
}

// weightsValue is a flag CHANNEL=N that is given again for more.
type weightsValue map[string]int

func (v *weightsValue) Set(text string) error {
	i := strings.LastIndexByte(text, '=')
	wrong := fmt.Errorf("%q: want CHANNEL=N with N from 1 to 1000", text)
	if i < 0 {
		return wrong
	}
	n, err := strconv.Atoi(text[i+1:])
	if err != nil || n < 1 || n > 1000 {
		return wrong
	}
	if *v == nil {
		*v = weightsValue{}
	}
	(*v)[text[:i]] = n
	return nil
}

func (v *weightsValue) String() string { return "" }
func (*weightsValue) Type() string     { return "weight" }
