// Package pawl is a job queue on PostgreSQL.
//
// A job is committed with your data, or not at all; once committed it is never lost; and who lost a job's lease can finish
// nothing. It needs PostgreSQL 15 or later and nothing else.
//
// # Words
//
// A job has a kind, which selects the handler, and args (JSON), data (bytes) or both. It lives in a queue, which comes into being
// when first used, and in a channel of it if you say so: a tenant, an account. A runner claims jobs and runs handlers; a consumer
// claims and finishes by hand. A claimed job is held by a lease, and each time it becomes ready again its epoch goes up: an
// answer with an old epoch is refused with ErrLeaseLost.
//
// # Insert
//
// [Client.Insert] takes args, or a [JobSpec] with more to say; [Client.InsertMany] takes many, all or none. [Client.With] says where:
// in your transaction, of pgx or database/sql. Inserts by many goroutines share statements and commits by themselves.
//
// # Run
//
// [Handle] registers a handler in a [Mux], [Client.Run] runs until its context ends, then drains. What a handler returns decides:
// nil, an error, or an outcome such as [Snooze] or [Dead].
//
// # See and change
//
// [Client.Get] and [Client.List] show jobs, live or finished; [Client.Cancel], [Client.Retry], [Client.Update] and [Client.Delete] change them, by [ID] or by [Filter].
// [Client.Stats] has figures of queues that are cheap at any size, [Client.Workers] the workers, which can be suspended and stopped from elsewhere.
//
// # Cron
//
// [Client.PutCron] keeps a schedule in the database: each tick of it becomes one job, whoever is alive then. Daylight saving, missed ticks
// and limits: docs/cron.md.
//
// # Exactly once
//
// A handler runs at least once: a process may die after the work and before the answer. Effects in the same database are made
// exactly once by completing the job in their transaction: [Client.Complete] on a client from With.
//
// # When something dies
//
// Each worker has a heartbeat. When it stops, the worker's jobs are run elsewhere within seconds, before everything else, no attempt
// used. Each lost lease is a strike; a job with two is run beside no other struck job; with the third it is dead, "poison". The states and who
// moves a job from one to another: docs/states.md.
package pawl
