package pawlstats

// Counters holds what one process did with the jobs of a queue since its client was made: the client itself, its
// runners and its consumers.
type Counters struct {
	// Queue is the queue's name. It is empty for the sum of all queues beyond the first 10,000.
	Queue string

	Inserted  int64 // Inserted counts jobs inserted, without duplicates. Jobs of rolled-back transactions count too.
	Completed int64 // Completed counts jobs completed.
	Failed    int64 // Failed counts failed attempts, including the last attempt of a job.
	Dead      int64 // Dead counts jobs that died by a failed attempt.
	Cancelled int64 // Cancelled counts jobs that their handlers cancelled, or that were cancelled while they ran.
	Snoozed   int64 // Snoozed counts attempts that ended with pawl.Snooze.
	Released  int64 // Released counts jobs given back, before or after their handlers started.
	Lost      int64 // Lost counts results that were discarded because the lease was lost (pawl.ErrLeaseLost).
	Stuck     int64 // Stuck counts jobs whose handlers did not return after their contexts had ended.

	Waited Histogram // Waited holds, for each attempt, the time from when the job was due until its handler started.
	Ran    Histogram // Ran holds, for each attempt, the time that the handler took.
}
