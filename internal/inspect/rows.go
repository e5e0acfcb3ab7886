package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/sql"
)

const (
	shownExamples   = 5               // The number of rows that a finding names.
	confirmedRows   = 10_000          // The number of rows of a check that Verify keeps for the second look.
	maintenanceTime = 3 * time.Second // By then maintenance has removed what it removes.
)

// The statements that repair rows take the ids of jobs or batches, or the ids of leases. They return how many rows they
// changed.
const (
	advanceSequence = "select pawl.advance_sequence() from (select $1::bigint[]) u"
	clearLeftovers  = "select pawl.clear_leftovers($1::bigint[])"
	recountBatches  = "select pawl.recount_batches($1::bigint[])"
	retryFollowups  = "select pawl.retry_followups($1::bigint[])"
	restoreJobs     = "select pawl.restore_jobs($1::bigint[])"
	unclaimLeases   = `select count(pawl.unclaim(l.id)) from pawl.lease l
		where l.id = any ($1::text[]::uuid[])
		  and case when l.worker_id is null then l.expires_at is null
		           else not exists (select from pawl.worker w where w.id = l.worker_id) end`
)

const repairCommand = "pawl verify --repair"

// A violationKind is a check of violations.sql.
type violationKind struct {
	check     string
	noun      string // The noun names what is counted; "s" makes its plural.
	problem   string // The problem follows the number and the noun.
	remedy    string
	fatal     bool
	once      bool   // A repair is a new try, which may fail again: it is made once.
	transient bool   // Maintenance removes such rows within seconds: only those that stay are violations.
	repair    string // The statement that repairs such rows; "" if none is safe.
}

// violationKinds has the checks in the order of their repair: the first ones would stop the others.
var violationKinds = []violationKind{
	{
		check: "sequence-behind", noun: "id", fatal: true, repair: advanceSequence,
		problem: "is in use beyond the last value of the sequence: inserts fail when the sequence reaches it",
		remedy:  repairCommand,
	},
	{
		check: "ticket-stray", noun: "ticket", repair: clearLeftovers,
		problem: "without a live job, or from an earlier epoch of a job",
		remedy:  repairCommand + " removes them; so does a claim",
	},
	{
		check: "order-stray", noun: "place", fatal: true, repair: clearLeftovers,
		problem: "in an ordered channel without a job: later jobs of that channel do not start",
		remedy:  repairCommand + " removes them, and the channels continue",
	},
	{
		check: "dependency-stray", noun: "missing job", fatal: true, repair: clearLeftovers,
		problem: "that other jobs wait for: those jobs neither start nor become cancelled",
		remedy:  repairCommand + " runs the follow-ups of a deleted job",
	},
	{
		check: "key-stray", noun: "unique key", fatal: true, repair: clearLeftovers,
		problem: "of a missing job: inserts with such a key are reported as duplicates",
		remedy:  repairCommand + " frees them",
	},
	{
		check: "permit-stray", noun: "permit", transient: true, repair: clearLeftovers,
		problem: "whose lease is gone or does not have the job: limits still count such a permit",
		remedy:  "run a worker or `pawl serve`, which removes them; or " + repairCommand,
	},
	{
		check: "lease-stray", noun: "lease", fatal: true, transient: true, repair: unclaimLeases,
		problem: "with neither a registered worker nor an expiry: no worker rescues its jobs",
		remedy:  repairCommand + " returns the jobs to their queues",
	},
	{
		check: "job-unmarked", noun: "job", fatal: true, repair: restoreJobs,
		problem: "with a constraint but not marked as constrained: no follow-up would run when such a job ends",
		remedy:  repairCommand,
	},
	{
		check: "order-missing", noun: "ordered job", fatal: true, repair: restoreJobs,
		problem: "without a place in the channel: such a job does not wait for earlier ones",
		remedy:  repairCommand,
	},
	{
		check: "key-missing", noun: "job", repair: restoreJobs,
		problem: "without the unique key from the insert: a duplicate of such a job can be inserted",
		remedy:  repairCommand + "; if another job has the key now, cancel one of the two: pawl job cancel ID",
	},
	{
		check: "ticket-missing", noun: "live job", fatal: true, repair: restoreJobs,
		problem: "with neither a ticket nor a lease: no worker will run such a job",
		remedy:  repairCommand + " gives them a ticket",
	},
	{
		check: "ticket-twice", noun: "live job", fatal: true, repair: restoreJobs,
		problem: "with more than one ticket or lease: such a job may run twice at the same time",
		remedy:  repairCommand + " keeps one of them",
	},
	{
		check: "ticket-misplaced", noun: "live job", fatal: true, repair: restoreJobs,
		problem: "whose ticket does not match the job's row: cancel, update and retry do not find the ticket",
		remedy:  repairCommand + " replaces the ticket",
	},
	{
		check: "ticket-out-of-order", noun: "ordered job", repair: restoreJobs,
		problem: "that can run before an earlier job of the same channel has ended",
		remedy:  repairCommand + " blocks those that are not running",
	},
	{
		check: "ticket-blocked", noun: "blocked job", fatal: true, repair: restoreJobs,
		problem: "with nothing to wait for: no worker will run such a job",
		remedy:  repairCommand + " unblocks them",
	},
	{
		check: "batch-count", noun: "batch total", fatal: true, repair: recountBatches,
		problem: "that is not the sum of the batch's jobs: callbacks come too early or never",
		remedy:  repairCommand + " counts missing jobs as deleted",
	},
	{
		check: "followup-failed", noun: "finished job", fatal: true, once: true, repair: retryFollowups,
		problem: "whose follow-up failed and was put aside: what waits for that end does not start",
		remedy:  "read why with `pawl doctor`; " + repairCommand + " tries again",
	},
	{
		check: "job-twice", noun: "job", fatal: true,
		problem: "with both a live row and a finished row: such a job cannot end",
		remedy: "compare the two rows (select * from pawl.get(array[ID])); " +
			"if the job has finished, delete the live row: delete from pawl.job where id = ID",
	},
}

// A brokenRow is a row of violations.sql: the id of a job, batch or ticket, or the id of a lease.
type brokenRow struct {
	id    int64
	lease string
}

// A violation is an invariant that is broken, with the rows that break it.
type violation struct {
	count int
	rows  []brokenRow // At most count; the others were not kept.
}

// examples names the first few rows.
func (v *violation) examples() string {
	names := make([]string, 0, shownExamples)
	for _, row := range v.rows[:min(len(v.rows), shownExamples)] {
		if row.lease != "" {
			names = append(names, row.lease)
		} else {
			names = append(names, fmt.Sprint(row.id))
		}
	}
	text := strings.Join(names, ", ")
	if v.count > len(names) {
		return "such as " + text
	}
	return text
}

// violations returns the broken invariants by check. It keeps at least keep rows of each.
func violations(ctx context.Context, tx Runner, keep int) (map[string]*violation, error) {
	keep = max(keep, confirmedRows)
	found := map[string]*violation{}
	err := tx.Query(ctx, sql.Body("admin/violations"), nil, func(row Row) error {
		var check string
		var id *int64
		var lease *string
		if err := row.Scan(&check, &id, &lease); err != nil {
			return err
		}
		v := found[check]
		if v == nil {
			v = &violation{}
			found[check] = v
		}
		v.count++
		if len(v.rows) == keep {
			return nil
		}
		var broken brokenRow
		if id != nil {
			broken.id = *id
		}
		if lease != nil {
			broken.lease = *lease
		}
		v.rows = append(v.rows, broken)
		return nil
	})
	return found, err
}

// confirm looks a second time for transient violations, after maintenance had time to remove them. Only the rows that
// both looks found stay.
func (in *Installation) confirm(ctx context.Context, found map[string]*violation) error {
	var transient []string
	for _, kind := range violationKinds {
		if kind.transient && found[kind.check] != nil {
			transient = append(transient, kind.check)
		}
	}
	if len(transient) == 0 {
		return nil
	}
	select {
	case <-time.After(maintenanceTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	var again map[string]*violation
	err := in.read(ctx, lockTimeout, func(tx Runner) (err error) {
		again, err = violations(ctx, tx, confirmedRows)
		return err
	})
	if err != nil {
		return err
	}
	for _, check := range transient {
		if again[check] == nil {
			delete(found, check)
			continue
		}
		found[check].intersect(again[check])
	}
	return nil
}

// intersect removes the rows that a second look did not find.
func (v *violation) intersect(again *violation) {
	first := map[brokenRow]bool{}
	for _, row := range v.rows {
		first[row] = true
	}
	v.rows = slices.DeleteFunc(again.rows, func(row brokenRow) bool { return !first[row] })
	if v.count = min(v.count, again.count); v.count <= confirmedRows {
		v.count = len(v.rows)
	}
}

// rowFaults describes violations, in the order of their repair.
func (in *Installation) rowFaults(found map[string]*violation) (faults []fault) {
	for _, kind := range violationKinds {
		v := found[kind.check]
		if v == nil || v.count == 0 {
			continue
		}
		noun := kind.noun
		if v.count > 1 {
			noun += "s"
		}
		f := fault{Finding: Finding{
			Check:   kind.check,
			Problem: fmt.Sprintf("%d %s %s (%s)", v.count, noun, kind.problem, v.examples()),
			Remedy:  in.statement("%s", kind.remedy),
			Fatal:   kind.fatal,
		}, structural: kind.once}
		if kind.repair != "" {
			f.repair = func(ctx context.Context) (bool, error) { return in.repairRows(ctx, kind.repair, v.rows) }
		}
		faults = append(faults, f)
	}
	return faults
}
