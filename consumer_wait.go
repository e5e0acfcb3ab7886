package pawl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Wait waits until a [Client.Claim] of one of the queues may find a job. It returns nil then, or an error if ctx ends
// or the database cannot be asked.
//
// A claim after Wait may still find nothing, because another consumer has claimed the job or a limit keeps it from
// starting. After such claims Wait returns up to 100 ms later.
func (c *Client) Wait(ctx context.Context, queues ...string) error {
	if err := c.requirePool("Wait"); err != nil {
		return err
	}
	if len(queues) == 0 {
		return errors.New("pawl: wait: no queue: name at least one")
	}
	ctx, cancel := context.WithCancel(ctx)
	s := newSleeper(c, queues)
	w := &waiter{client: c, queues: queues, sleeper: s, woken: s.woken, began: time.Now(), check: firstCheck}
	defer w.listening.Wait()
	defer cancel()
	for {
		ready, wait, err := w.look(ctx)
		if err != nil || ready {
			return err
		}
		if err := w.maintain(ctx); err != nil {
			return err
		}
		if !w.asleep && time.Since(w.began) >= stayAwake {
			w.fallAsleep(ctx)
		}
		if err := w.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// A waiter is one call of Wait.
type waiter struct {
	client  *Client
	queues  []string
	sleeper *sleeper
	woken   <-chan string // Receives a value when an insert wakes the waiter.
	began   time.Time

	listening  sync.WaitGroup // The goroutine of the sleeper.
	asleep     bool           // Inserts wake the waiter.
	check      time.Duration  // The next wait, if nothing happens before. It doubles up to maxWaitCheck.
	maintained time.Time
}

const (
	maxWaitCheck      = time.Second
	waiterMaintenance = time.Second // The time between two rounds of maintenance.
)

// look reports whether a job is ready. If none is, wait is the longest time until the next look.
func (w *waiter) look(ctx context.Context) (ready bool, wait time.Duration, err error) {
	wait = maxWaitCheck
	now, soon := w.client.consumer.worthClaiming(w.queues)
	if soon > 0 {
		wait = soon
	}
	if len(now) == 0 {
		return false, wait, nil
	}
	var due *float64 // The seconds until the next job is due.
	if err := w.client.row(ctx, "select * from pawl.peek($1::text[])", []any{now}, &ready, &due); err != nil {
		return false, 0, fmt.Errorf("pawl: wait: %w", err)
	}
	if due != nil {
		wait = min(wait, time.Duration(max(*due, 0)*float64(time.Second)))
	}
	return ready, wait, nil
}

// maintain does the maintenance that makes jobs ready, once a second. If only consumers work, no other process may do
// it.
func (w *waiter) maintain(ctx context.Context) error {
	if time.Since(w.maintained) < waiterMaintenance {
		return nil
	}
	w.maintained = time.Now()
	for _, do := range []func(context.Context) error{w.client.expire, w.client.runFollowups, w.client.reclaim} {
		if err := do(ctx); err != nil {
			return fmt.Errorf("pawl: wait: %w", err)
		}
	}
	return nil
}

// fallAsleep makes inserts wake the waiter.
func (w *waiter) fallAsleep(ctx context.Context) {
	w.asleep = true
	w.listening.Go(func() { w.sleeper.run(ctx) })
	w.sleeper.announce(ctx)
	w.check = firstCheck
}

// sleep waits until an insert wakes the waiter or the next look is due, for at most the given time.
func (w *waiter) sleep(ctx context.Context, most time.Duration) error {
	timer := time.NewTimer(min(w.check, most))
	defer timer.Stop()
	w.check = min(2*w.check, maxWaitCheck)
	select {
	case <-timer.C:
		return nil
	case <-w.woken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
