// Package pawlstats holds the figures that a pawl.Client reports.
//
// Client.Stats, Tables and Channels read figures of the whole installation from the database, so every process reads
// the same ones. Client.Counters returns what one process has counted in memory. docs/metrics.md says how exact each
// figure is and what a reading costs.
package pawlstats

import "time"

// Stats holds the figures of an installation: all queues and workers of one schema.
type Stats struct {
	// At is the database's time of the reading.
	At time.Time

	// Queues holds the figures of each queue, sorted by name. It has the queues with live, dead or archived jobs, the
	// queues that were configured or paused, and the queues used within the last minute.
	Queues []Queue

	// Workers is the number of live workers, and StaleWorkers how many of them are stale: silent for so long that
	// their jobs are about to be rescued.
	Workers, StaleWorkers int

	// Stuck is the number of stuck handlers of live workers, at their last heartbeats: handlers that did not return
	// after their contexts had ended.
	Stuck int

	// Schema is the version of the database schema.
	Schema int

	// Archived is the number of completed and cancelled jobs that are still kept, in all queues. It is an estimate if
	// ArchivedEstimated is true for a queue.
	Archived int64

	// Dead is the number of dead jobs in all queues.
	Dead int64

	// Semaphores maps each key of pawl.Client.Semaphore to its number of permits in use.
	Semaphores map[string]int64

	// XminAge is how long the oldest transaction of the database has been open. Rows that died since then cannot be
	// vacuumed, and claims have to skip them. Transactions of other roles are only seen with the role
	// pg_read_all_stats.
	XminAge time.Duration
}

// Queue holds the figures of a queue, or of one channel of a queue.
type Queue struct {
	Queue   string // Queue is the queue's name.
	Channel string // Channel is the channel's name, in figures of a channel.

	// These are the numbers of jobs by state.
	Reserved, Scheduled, Ready, Running, Dead int64

	// Estimated reports whether one of the numbers by state is an estimate, because there are more jobs than a
	// reading counts.
	Estimated bool

	// OldestReady is how long the oldest ready job has been due. The time of a job that was given back starts when
	// the job first became due.
	OldestReady time.Duration

	// Lag is how long the oldest ready or scheduled job has been due. It grows also when no process promotes
	// scheduled jobs.
	Lag time.Duration

	// Halted reports whether an ordered channel is halted because the job at its head died. pawl.Client.ResumeChannel
	// continues it. It is only set in figures of a channel.
	Halted bool

	// The fields below are zero in figures of a channel.

	// Waiting is the number of jobs that wait for other jobs.
	Waiting int64

	// Permits is the number of permits in use of the queue's limits. Running jobs use permits, and so do cancelled
	// jobs whose handlers have not ended.
	Permits int64

	// NewestJob is the time at which the newest live job was inserted. It is zero if the queue has no live job. If
	// the queue has more than three channels with ready jobs, only the first three are read.
	NewestJob time.Time

	// Archived is the number of completed and cancelled jobs that are still kept.
	Archived int64

	// ArchivedEstimated reports whether Archived is estimated from a sample of a large archive. The sample may miss a
	// queue that is rare there.
	ArchivedEstimated bool

	// In, Out and Failed are the jobs inserted, the jobs completed and the attempts failed per second, over the last
	// minute. Clients report them every 3 seconds. SQL sessions report nothing, and the last 3 seconds of a process
	// are missing if it ended without the drain of Run.
	In, Out, Failed float64
}

// Live returns the number of live jobs: reserved, waiting, scheduled, ready and running ones.
func (q Queue) Live() int64 { return q.Reserved + q.Waiting + q.Scheduled + q.Ready + q.Running }

// Table holds the figures of a table of Pawl's schema.
type Table struct {
	Name  string // Name is the table's name. The archive's partitions count as one table.
	Live  int64  // Live is the number of rows, as the server estimates it.
	Dead  int64  // Dead is the number of dead rows that are not vacuumed yet, as the server estimates it.
	Bytes int64  // Bytes is the size on disk with indexes.

	// VacuumedAt is the time of the last vacuum. It is zero if there was none. The archive has the time of its
	// partition that was vacuumed longest ago.
	VacuumedAt time.Time
}
