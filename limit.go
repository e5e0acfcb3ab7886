package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// storedRate is a Rate in the database, in seconds.
type storedRate struct {
	N     int     `json:"n"`
	Per   float64 `json:"per"`
	Burst int     `json:"burst"`
}

func (r Rate) stored() (*string, error) {
	if r == (Rate{}) {
		return nil, nil
	}
	if r.N < 1 || r.Per < 0 || r.Burst < 0 {
		return nil, errors.New("want N above 0, and Per and Burst not negative")
	}
	s := storedRate{r.N, r.Per.Seconds(), r.Burst}
	if r.Per == 0 {
		s.Per = 1
	}
	if r.Burst == 0 {
		s.Burst = r.N
	}
	b, err := json.Marshal(s)
	text := string(b)
	return &text, err
}

func (s storedRate) rate() Rate {
	return Rate{N: s.N, Per: time.Duration(s.Per * float64(time.Second)), Burst: s.Burst}
}

// free gives back the permits of jobs whose handlers have ended.
func (c *Client) free(ctx context.Context, jobs []*JobInfo) error {
	ids, leases := make([]int64, len(jobs)), make([]string, len(jobs))
	for i, job := range jobs {
		ids[i], leases[i] = int64(job.ID), *job.lease.id.Load()
	}
	return c.query(ctx, "select pawl.free($1::bigint[], $2::uuid[])", []any{ids, leases}, nil)
}

// freeAnswered gives back the permits of jobs answered for by hand. Those of a runner's handler it keeps until that has ended.
func (c *Client) freeAnswered(ctx context.Context, answers []answer) error {
	var jobs []*JobInfo
	for _, a := range answers {
		if a.job.permit && a.job.lease.byHand {
			jobs = append(jobs, a.job)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	return c.free(ctx, jobs)
}

// reclaim drops the permits of who is gone.
func (c *Client) reclaim(ctx context.Context) error {
	var n int64
	return c.row(ctx, "select pawl.reclaim()", nil, &n)
}

// weigh brings the weights of channels, which plans share claims by.
func (c *Client) weigh(ctx context.Context, lanes *lanes) error {
	weights := map[string]map[string]int{}
	err := c.query(ctx, "select name, weights::text from pawl.queue where weights is not null", nil, func(s scanner) error {
		var name, text string
		if err := s.Scan(&name, &text); err != nil {
			return err
		}
		var of map[string]int
		if err := json.Unmarshal([]byte(text), &of); err != nil {
			return fmt.Errorf("weights of queue %q: %w", name, err)
		}
		weights[name] = of
		return nil
	})
	if err == nil {
		lanes.weights = weights
	}
	return err
}

// Semaphore is a KindOptions.Permit for limits beyond queues and channels: at most n of the jobs that have a key run at once over
// the whole cluster. keys names what a job needs, several if need be ("stripe", "customer 42"); it gets all of them or none, and
// comes again after a second (with no attempt used) when one is not to be had. Crashed workers' permits come free with their
// leases. Use one n for a key everywhere.
func (c *Client) Semaphore(n int, keys func(job *JobInfo) []string) func(context.Context, *JobInfo) (func(), error) {
	return func(ctx context.Context, job *JobInfo) (func(), error) {
		if n < 1 {
			return nil, fmt.Errorf("pawl: Semaphore of %d: want at least 1", n)
		}
		names := slices.Clone(keys(job))
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) == 0 {
			return nil, nil
		}
		if job.lease == nil {
			return nil, errors.New("pawl: Semaphore: the job is not held")
		}
		for _, name := range names {
			if name == "" || len(name) > maxName {
				return nil, fmt.Errorf("pawl: Semaphore: a key has 1 to %d bytes", maxName)
			}
		}
		lease := *job.lease.id.Load()
		var got bool
		if err := c.row(ctx, "select pawl.acquire($1::text[], $2::integer, $3::bigint, $4::uuid)", []any{names, n, int64(job.ID), lease}, &got); err != nil {
			return nil, fmt.Errorf("pawl: Semaphore: %w", err)
		}
		if !got {
			return nil, Snooze(time.Second)
		}
		return func() {
			lease := *job.lease.id.Load() // Extend may have changed it.
			giving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := c.query(giving, "select pawl.free(array[$1::bigint], array[$2::uuid])", []any{int64(job.ID), lease}, nil); err != nil {
				c.config.Logger.Warn("pawl: permits not given back; they go with the lease", "job", job, "keys", names, "error", err)
			}
		}, nil
	}
}
