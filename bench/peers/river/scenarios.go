package main

import (
	"context"
	"fmt"
)

// A scenario runs against a database holding preload ready jobs and nothing
// else, with fresh planner statistics and no other connection.
type scenario struct {
	name    string
	preload func(options) int
	run     func(context.Context, *bench, *result) error
}

func scenarios() []scenario {
	none := func(options) int { return 0 }
	jobs := func(o options) int { return o.jobs }
	backlog := func(o options) int { return o.backlog }
	return []scenario{
		{"insert", none, runInsert},
		{"insert-concurrent", none, runInsertConcurrent},
		{"work", jobs, runWork},
		{"flow", backlog, runFlow},
		{"latency", none, runLatency},
		{"pinned", backlog, runPinned},
		{"retry", backlog, runRetry},
	}
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

func (b *bench) measure(ctx context.Context, name string) (*result, error) {
	var s scenario
	for _, s = range scenarios() {
		if s.name == name {
			break
		}
	}

	if err := b.truncate(ctx); err != nil {
		return nil, fmt.Errorf("truncate: %w", err)
	}
	b.inserted.Store(0)
	if n := s.preload(b.opts); n > 0 {
		if err := b.preload(ctx, n); err != nil {
			return nil, fmt.Errorf("preload: %w", err)
		}
	}
	if err := b.prepare(ctx); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}

	before, err := b.transactions(ctx)
	if err != nil {
		return nil, err
	}
	res := b.newResult(name)
	if err := s.run(ctx, b, res); err != nil {
		return nil, err
	}
	after, err := b.transactions(ctx)
	if err != nil {
		return nil, err
	}
	res.Transactions = after - before
	return res, nil
}
