// Package hook lets packages pawltest and pawlimport into package pawl, which fills it in. It knows none of pawl's types: pawl imports it.
package hook

import (
	"context"
	"time"
)

var (
	// Pool is a *pawl.Client's *pgxpool.Pool, nil if it has none.
	Pool func(client any) any

	// Work runs the handler of a pawl.Args as a runner would, without a database. mistake: there was nothing to run.
	Work func(ctx context.Context, mux, args any, prepare func(job any)) (answer, mistake error)

	// Due makes the due jobs of a queue ready, of all queues if it is "".
	Due func(ctx context.Context, client any, queue string) error

	// RunOne runs one ready job of a queue, of any if it is "", and is the *pawl.JobInfo it became; nil if there is none.
	RunOne func(ctx context.Context, client, mux any, queue string) (job any, err error)

	// Advance moves all due times earlier.
	Advance func(ctx context.Context, client any, d time.Duration) error

	// List is the pawl.Jobs, live and newest first, that a pawl.Filter meets.
	List func(ctx context.Context, client, filter any) (jobs any, err error)
)
