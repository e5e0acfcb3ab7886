// Package pawl is a job queue on PostgreSQL 15 or later.
//
// You insert a job in the transaction that writes your data: both are committed, or neither. A committed job is never
// lost: it stays in the database until it is completed, cancelled or dead. If a worker has lost its claim on a job,
// its result is discarded.
//
// # Jobs, queues and channels
//
// A job has a kind, the name that selects its handler, and args, which are JSON. A job belongs to a queue. The first
// job of a queue creates the queue. Within the queue a job may belong to a channel, such as a tenant. Runners serve
// the channels of a queue in turn. A lane holds the ready jobs of a queue that have the same channel and priority.
// Each ready job has a ticket, which is its place in the lane.
//
// # Inserting jobs
//
//	type Welcome struct{ UserID int64 }
//
//	func (Welcome) Kind() string { return "welcome" }
//
//	client, err := pawl.New(pool, pawl.Config{})
//	result, err := client.With(tx).Insert(ctx, Welcome{UserID: 42})
//
// [Client.Insert] takes [Args], or a [JobSpec] to set more: the queue, a delay, attempts, a unique key, dependencies.
// [Client.InsertMany] inserts many jobs, all or none. [Client.With] returns a client whose inserts are part of your
// pgx transaction. [Client.WithSQL] does the same for database/sql. [Client.InsertBatch] and [Client.InsertSaga]
// insert jobs that belong together.
//
// # Running jobs
//
//	mux := new(pawl.Mux)
//	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Welcome]) error {
//		return send(ctx, job.Args.UserID)
//	})
//	err := client.Run(ctx, mux, pawl.RunnerConfig{})
//
// [Handle] registers a handler in a [Mux]. [Client.Run] is a runner: it claims jobs and runs their handlers until its
// context ends, and then waits for the running ones. If the handler returns nil, the job is completed. If the handler
// returns an error, the attempt has failed. The job is retried after a [Backoff]; when its attempts are used up, it
// is dead. A handler asks for another outcome with [Snooze], [RetryAfter], [Cancel], [Dead] or [ErrSkip].
//
// A consumer is a program that claims and finishes jobs itself instead of calling Run. It uses [Client.Claim],
// [Client.Complete], [Client.Fail] and [Client.Release].
//
// # Guarantees
//
// A job runs at least once. It runs again if a process stops after the work and before the job is completed. For an
// effect in the same database to happen exactly once, complete the job in the transaction that writes the effect:
// call [Client.Complete] on a client made by [Client.With].
//
// A claimed job has a lease. A runner's leases last while the runner sends heartbeats. A consumer's lease lasts for
// the time that the claim asked for. When a lease expires, its jobs are rescued: other workers run them, before other
// jobs, and no attempt is used.
//
// Each claim has an epoch, a number that changes when the job becomes ready again. The epoch is the fencing token: a
// result with an old epoch is refused with [ErrLeaseLost].
//
// Each lost lease counts as a crash of the job. A job with two crashes is a suspect: a runner does not run two
// suspects at once. At the third crash the job is dead, with the reason "poison".
//
// # Limits
//
// A queue may limit how many jobs run at the same time, in the whole queue or in each channel: see [Client.PutQueue].
// A job then takes a permit when it is claimed and gives it back when its handler has ended. A [Rate] limits how many
// jobs start in a period.
//
// # Looking at jobs and changing them
//
// [Client.Get] returns a job, and [Client.List] and [Client.Count] take a [Filter]. [Client.Cancel], [Client.Retry],
// [Client.Update] and [Client.Delete] change jobs, chosen by [ID] or by Filter. [Client.Stats] returns figures of all
// queues and is cheap at any size, and [Client.Workers] lists the workers. [Client.PutCron] stores a schedule that
// inserts a job at each tick.
//
// # More
//
// docs/concepts.md describes every feature with its guarantees and costs. docs/states.md describes the states of a
// job, docs/cron.md the schedules, and docs/sql.md the SQL functions. Package pawltest has functions for tests of
// handlers and of code that inserts jobs.
package pawl
