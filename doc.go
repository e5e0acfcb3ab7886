// Package pawl is a job queue on PostgreSQL 15 or later.
//
// A job is committed with your data, or not at all. A committed job is never lost: it runs until it has completed,
// is cancelled or is dead. If a worker has lost its claim on a job, its result is discarded.
//
// # Jobs, queues and channels
//
// A job has a kind, the name that selects its handler, and args, which are JSON. It belongs to a queue, which its
// first job creates. Within the queue it may belong to a channel, such as a tenant: runners serve the channels of a
// queue in turn. A lane is the ready jobs of a queue with the same channel and priority, and each ready job has a
// ticket: its place in the lane.
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
// [Client.Insert] takes [Args], or a [JobSpec] to set more: the queue, a delay, attempts, a unique key,
// dependencies. [Client.InsertMany] inserts many jobs, all or none. [Client.With] makes a client whose inserts are
// part of your transaction of pgx, and [Client.WithSQL] does so for database/sql. [Client.InsertBatch] and
// [Client.InsertSaga] insert jobs that belong together.
//
// # Running jobs
//
//	mux := new(pawl.Mux)
//	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Welcome]) error {
//		return send(ctx, job.Args.UserID)
//	})
//	err := client.Run(ctx, mux, pawl.RunnerConfig{})
//
// [Handle] registers a handler in a [Mux]. [Client.Run] is a runner: it claims jobs and runs their handlers until
// its context ends, and then waits for the running ones. What the handler returns decides: nil completes the job;
// an error is a failed attempt, which is repeated after a [Backoff] until the job is dead; [Snooze], [RetryAfter],
// [Cancel], [Dead] and [ErrSkip] mean something else.
//
// A consumer claims and finishes jobs by itself, with [Client.Claim], [Client.Complete], [Client.Fail] and
// [Client.Release].
//
// # Guarantees
//
// A job runs at least once: a process may stop after the work and before the job is completed. For exactly one
// effect in the same database, complete the job in the transaction of the effect: [Client.Complete] on a client
// made by With.
//
// A claimed job has a lease. The lease of a runner's jobs ends if the runner's heartbeat stops; the lease of a
// consumer's jobs ends at its time. The jobs are then rescued: they run elsewhere, before other jobs, and no
// attempt is used. Each claim has an epoch, a number that changes when the job becomes ready again. It is the
// fencing token: a result with an old epoch is refused with [ErrLeaseLost].
//
// Each lost lease counts as a crash. A job with two crashes is a suspect: it does not run beside another suspect.
// At the third crash it is dead, with the reason "poison".
//
// # Limits
//
// A queue may limit how many jobs run at the same time, in the whole queue or in each channel: see
// [Client.PutQueue]. A job then has a permit from its claim until its handler has ended. A [Rate] limits how many
// jobs start in a time.
//
// # Looking at jobs and changing them
//
// [Client.Get] returns a job, and [Client.List] and [Client.Count] take a [Filter]. [Client.Cancel],
// [Client.Retry], [Client.Update] and [Client.Delete] change jobs, chosen by [ID] or by Filter. [Client.Stats] has
// figures of queues that are cheap at any size, and [Client.Workers] lists the workers. [Client.PutCron] stores a
// schedule that inserts a job at each tick.
//
// # More
//
// docs/concepts.md describes every feature with its guarantees and costs, docs/states.md the states of a job,
// docs/cron.md the schedules, and docs/sql.md the SQL functions. Package pawltest helps to test code that inserts
// jobs and handlers that run them.
package pawl
