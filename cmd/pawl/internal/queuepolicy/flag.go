package queuepolicy

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
)

// Flags are the flags of a queue's policy. Each changes one field.
type Flags struct {
	policy  pawl.Queue
	weights map[string]int
}

// AddFlags gives a command the flags.
func (f *Flags) AddFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	number := func(to *int, most int, name, usage string) {
		flags.Var(&flagvalue.Number{To: to, Least: 0, Most: most}, name, usage)
	}
	number(&f.policy.MaxRunning, math.MaxInt32, "max-running",
		"maximum number of jobs that run at once, over all workers; 0: no limit")
	number(&f.policy.ChannelMaxRunning, math.MaxInt32, "channel-max-running", "the same for each channel")
	flags.Var((*flagvalue.Rate)(&f.policy.Rate), "rate", "maximum rate at which jobs start, such as 1000/s or 5/10m")
	number(&f.policy.Rate.Burst, math.MaxInt32, "burst",
		"maximum number of jobs that start at once after a pause; 0: the number in the rate")
	flags.Var((*flagvalue.Rate)(&f.policy.ChannelRate), "channel-rate", "the same as --rate for each channel")
	number(&f.policy.ChannelRate.Burst, math.MaxInt32, "channel-burst", "the same as --burst for each channel")
	flags.Var((*weightsFlag)(&f.weights), "weight",
		"CHANNEL=N: a channel's share of a claim, 1 to 1000; the default is 1; repeatable")
	number(&f.policy.MaxAttempts, math.MaxInt16, "max-attempts",
		"maximum attempts of jobs that set none, up to 32767; 0: 20")
	f.addBackoff(flags)
	flags.Var((*flagvalue.Duration)(&f.policy.Lease), "lease", "lease of claims by hand that set none; 0: 30s")
	flags.BoolVar(&f.policy.HaltOnDead, "halt-on-dead", false, "halt an ordered channel when the job at its head dies")
	retention := func(to *time.Duration, standard time.Duration, name, usage string) {
		*to = standard
		flags.Var((*flagvalue.Duration)(to), name, usage)
	}
	retention(&f.policy.RetainCompleted, retainFinished, "retain-completed",
		"how long completed jobs are kept; 0: not at all")
	retention(&f.policy.RetainCancelled, retainFinished, "retain-cancelled", "the same for cancelled jobs")
	retention(&f.policy.RetainDead, retainDead, "retain-dead", "the same for dead jobs")
}

func (f *Flags) addBackoff(flags *pflag.FlagSet) {
	backoff := &f.policy.Backoff
	flags.Var((*flagvalue.Duration)(&backoff.Base), "backoff-base", "delay after the first failed attempt; 0: 1s")
	flags.Var((*flagvalue.Duration)(&backoff.Max), "backoff-max", "maximum delay; 0: 1h")
	flags.Float64Var(&backoff.Growth, "backoff-growth", 0, "factor from one delay to the next; 0: 2")
	flags.Float64Var(&backoff.Power, "backoff-power", 0, "exponent of the attempt number, which is a second factor")
	flags.Float64Var(&backoff.Jitter, "backoff-jitter", 0.1, "random share of the delay, 0 to 1; 0: none")
}

// Apply changes what the given flags set in a queue's policy. It returns the number of given flags.
func (f *Flags) Apply(queue *pawl.Queue, flags *pflag.FlagSet) (given int) {
	on := func(name string, do func()) {
		if flags.Changed(name) {
			do()
			given++
		}
	}
	from := &f.policy
	on("max-running", func() { queue.MaxRunning = from.MaxRunning })
	on("channel-max-running", func() { queue.ChannelMaxRunning = from.ChannelMaxRunning })
	for _, rate := range []struct {
		name, burst string
		from, to    *pawl.Rate
	}{
		{"rate", "burst", &from.Rate, &queue.Rate},
		{"channel-rate", "channel-burst", &from.ChannelRate, &queue.ChannelRate},
	} {
		on(rate.name, func() {
			rate.to.N, rate.to.Per = rate.from.N, rate.from.Per
			if rate.to.N == 0 {
				*rate.to = pawl.Rate{} // A burst without a rate is not valid.
			}
		})
		on(rate.burst, func() { rate.to.Burst = rate.from.Burst })
	}
	on("weight", func() {
		weights := maps.Clone(queue.Weights)
		if weights == nil {
			weights = map[string]int{}
		}
		maps.Copy(weights, f.weights)
		maps.DeleteFunc(weights, func(_ string, weight int) bool { return weight == 1 })
		queue.Weights = weights
	})
	on("max-attempts", func() { queue.MaxAttempts = from.MaxAttempts })
	on("backoff-base", func() { queue.Backoff.Base = from.Backoff.Base })
	on("backoff-max", func() { queue.Backoff.Max = from.Backoff.Max })
	on("backoff-growth", func() { queue.Backoff.Growth = from.Backoff.Growth })
	on("backoff-power", func() { queue.Backoff.Power = from.Backoff.Power })
	on("backoff-jitter", func() {
		queue.Backoff.Jitter, queue.Backoff.NoJitter = from.Backoff.Jitter, from.Backoff.Jitter == 0
	})
	on("lease", func() { queue.Lease = from.Lease })
	on("halt-on-dead", func() { queue.HaltOnDead = from.HaltOnDead })
	on("retain-completed", func() { queue.RetainCompleted = retention(from.RetainCompleted, retainFinished) })
	on("retain-cancelled", func() { queue.RetainCancelled = retention(from.RetainCancelled, retainFinished) })
	on("retain-dead", func() { queue.RetainDead = retention(from.RetainDead, retainDead) })
	return given
}

// The default retentions of package pawl.
const (
	retainFinished = 24 * time.Hour
	retainDead     = 30 * 24 * time.Hour
)

// retention returns the value of a flag for a field of pawl.Queue. There 0 is the default, and a negative value keeps
// no jobs.
func retention(d, standard time.Duration) time.Duration {
	switch d {
	case standard:
		return 0
	case 0:
		return -1
	}
	return d
}

// weightsFlag is a repeatable flag that takes CHANNEL=N.
type weightsFlag map[string]int

func (v *weightsFlag) Set(text string) error {
	i := strings.LastIndexByte(text, '=')
	invalid := fmt.Errorf("%q: want CHANNEL=N with N from 1 to 1000", text)
	if i < 0 {
		return invalid
	}
	n, err := strconv.Atoi(text[i+1:])
	if err != nil || n < 1 || n > 1000 {
		return invalid
	}
	if *v == nil {
		*v = weightsFlag{}
	}
	(*v)[text[:i]] = n
	return nil
}

func (v *weightsFlag) String() string { return "" }
func (*weightsFlag) Type() string     { return "weight" }
