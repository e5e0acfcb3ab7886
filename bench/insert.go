package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl"
)

// A task is the args of the jobs of all scenarios. Its JSON has a given size.
type task struct {
	N       int64  `json:"n"`
	Fail    bool   `json:"fail,omitempty"`
	Claimed bool   `json:"claimed,omitempty"` // Claimed marks a job of the worker that rescue kills.
	Pad     string `json:"pad"`
}

func (task) Kind() string { return "bench" }

func (b *bench) task(n int64) task {
	return task{N: n, Pad: strings.Repeat("x", max(b.ArgsBytes-len(fmt.Sprintf(`{"n":%d,"pad":""}`, n)), 0))}
}

func (b *bench) specs(from, n int64) []pawl.JobSpec {
	jobs := make([]pawl.JobSpec, n)
	for i := range jobs {
		jobs[i].Args = b.task(from + int64(i))
	}
	return jobs
}

// fill inserts n jobs into the default queue.
func (b *bench) fill(ctx context.Context, n int64) error {
	for from := int64(0); from < n; from += 10_000 {
		if _, err := b.client.InsertMany(ctx, b.specs(from, min(10_000, n-from))); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) insertMany(ctx context.Context) (*Result, error) {
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := b.fill(ctx, int64(b.Jobs)); err != nil {
		return nil, err
	}
	r := b.result(pawl.RunnerConfig{})
	return r, b.spent(ctx, r, int64(b.Jobs), time.Since(began), before)
}

func (b *bench) insertConcurrent(ctx context.Context) (*Result, error) {
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	const callers = 1000
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		wrong error
	)
	began := time.Now()
	for range callers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.Jobs); n = next.Add(1) {
				if _, err := b.client.Insert(ctx, b.task(n)); err != nil {
					once.Do(func() { wrong = err })
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if wrong != nil {
		return nil, wrong
	}
	r := b.result(pawl.RunnerConfig{})
	return r, b.spent(ctx, r, int64(b.Jobs), took, before)
}
