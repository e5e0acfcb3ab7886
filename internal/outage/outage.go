// Package outage tells of an error that repeats, without repeating itself.
package outage

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// An Outage logs that something has begun to fail, says so again at growing intervals while it fails, and logs when it
// works again. Set the exported fields before the first Record. Methods are safe for concurrent use.
//
// If it fails again soon after it has worked, that is not told as a new outage: the intervals go on growing. So
// something that fails every other time does not fill the log either.
type Outage struct {
	Logger *slog.Logger
	What   string // What fails, for State: "claims".
	Lost   string // The message when it fails. The attributes error, failures and since are added.
	Back   string // The message when it works again. The attributes failures and after are added.
	Attrs  []any  // Further attributes of both messages.

	failing atomic.Bool

	mu       sync.Mutex
	since    time.Time
	failures int
	err      error
	told     bool // This outage was logged.
	logged   time.Time
	interval time.Duration // From the last message until the next one.
}

const (
	firstInterval = 5 * time.Second
	maxInterval   = time.Minute
)

// A clock returns the time. Tests have one of their own.
type clock func() time.Time

// Record records that it has failed with err, or has worked if err is nil. If that is logged as a failure, the message
// has attrs too. A nil Outage records nothing.
func (o *Outage) Record(err error, attrs ...any) { o.record(err, time.Now, attrs) }

func (o *Outage) record(err error, now clock, attrs []any) {
	if o == nil || err == nil && !o.failing.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.fail(err, now(), attrs)
	} else if o.failing.Swap(false) {
		o.work(now())
	}
}

func (o *Outage) fail(err error, now time.Time, attrs []any) {
	if !o.failing.Swap(true) {
		o.since, o.failures, o.told = now, 0, false
		if now.Sub(o.logged) >= 2*maxInterval {
			o.interval = 0
		}
	}
	o.failures, o.err = o.failures+1, err
	if now.Sub(o.logged) < o.interval {
		return
	}
	o.told, o.logged, o.interval = true, now, min(max(2*o.interval, firstInterval), maxInterval)
	attrs = append(append([]any{}, o.Attrs...), attrs...)
	o.Logger.Warn(o.Lost, append(attrs, "error", err, "failures", o.failures, "since", o.since)...)
}

func (o *Outage) work(now time.Time) {
	if !o.told {
		return
	}
	attrs := append([]any{}, o.Attrs...)
	after := now.Sub(o.since).Round(time.Millisecond)
	o.Logger.Info(o.Back, append(attrs, "failures", o.failures, "after", after)...)
}

// State describes an outage that has lasted for at least a time. It returns "" if there is none.
func (o *Outage) State(lasting time.Duration) string {
	if !o.failing.Load() {
		return ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.failing.Load() || time.Since(o.since) < lasting {
		return ""
	}
	return fmt.Sprintf("%s have failed %d times since %s: %v", o.What, o.failures,
		o.since.UTC().Format(time.RFC3339), o.err)
}
