// Package pawlstate names the states of a job.
//
// A live job is reserved, waiting, scheduled, ready or running. A finished job is completed, cancelled or dead.
// docs/states.md shows which call moves a job from one state to another.
package pawlstate

// A State says where a job is between its insert and its end.
type State string

// The states of a live job.
const (
	Reserved  State = "reserved"  // The job waits for Client.CommitReserved.
	Waiting   State = "waiting"   // The job is blocked by dependencies or by its ordered channel.
	Scheduled State = "scheduled" // The job waits for its time.
	Ready     State = "ready"     // The job may be claimed.
	Running   State = "running"   // A runner or a consumer has claimed the job.
)

// The states of a finished job.
const (
	Completed State = "completed" // The handler succeeded.
	Cancelled State = "cancelled" // The job was cancelled and will not run.
	Dead      State = "dead"      // The job will not run again unless it is retried. JobInfo.Reason says why.
)

// Live returns the states of jobs that have not finished.
func Live() []State { return []State{Reserved, Waiting, Scheduled, Ready, Running} }

// Finished returns the states of jobs that have finished.
func Finished() []State { return []State{Completed, Cancelled, Dead} }
