package pawl

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// outcomes are the states that jobs got: one state for all of them, or a state for each. A job without a state was
// not finished: it was not claimed any more, or its row was locked.
type outcomes struct {
	all  string
	each map[ID]string
}

func (o outcomes) of(id ID) (state string, ok bool) {
	if o.all != "" {
		return o.all, true
	}
	state, ok = o.each[id]
	return state, ok
}

// state returns the state of a job, or "" if it has none.
func (o outcomes) state(id ID) string {
	state, _ := o.of(id)
	return state
}

// finish writes results of one kind: either all complete their jobs, or none does. leases are
// deleted by the same statement, if it finished every job that it completes.
func (c *Client) finish(
	ctx context.Context, results []attemptResult, worker string, leases []string,
) (became outcomes, err error) {
	if len(results) == 0 || results[0].verb == verbComplete {
		return c.complete(ctx, results, worker, leases)
	}
	return c.fail(ctx, results, finishParametersOf(results, worker))
}

// finishParameters are the parameters that complete.sql and fail.sql share.
type finishParameters struct {
	ids         []int64
	epochs      []int32
	waited, ran []int64 // In milliseconds.
	worker      string
}

func finishParametersOf(results []attemptResult, worker string) finishParameters {
	n := len(results)
	jobs := make([]*JobInfo, n)
	p := finishParameters{waited: make([]int64, n), ran: make([]int64, n), worker: worker}
	for i := range results {
		jobs[i] = results[i].job
		p.waited[i], p.ran[i] = results[i].job.waited.Milliseconds(), results[i].ran.Milliseconds()
	}
	p.ids, p.epochs = idsAndEpochs(jobs)
	return p
}

// completeParameters returns the parameters of a completion: also the results of the handlers, and the jobs to keep.
func completeParameters(results []attemptResult, worker string) (p finishParameters, returned []*string, keep []int64) {
	returned, keep = make([]*string, len(results)), []int64{}
	for i := range results {
		if results[i].job.Keep {
			keep = append(keep, int64(results[i].job.ID))
		}
		if result := results[i].job.result; result != nil {
			s := string(result)
			returned[i] = &s
		}
	}
	return finishParametersOf(results, worker), returned, keep
}

// complete writes results that complete their jobs.
func (c *Client) complete(
	ctx context.Context, results []attemptResult, worker string, leases []string,
) (became outcomes, err error) {
	n := len(results)
	p, returned, keep := completeParameters(results, worker)
	if leases == nil {
		leases = []string{}
	}
	done := make([]ID, 0, n)
	read := func(s scanner) error {
		var id int64
		if rows, ok := s.(pgx.Rows); ok && len(rows.RawValues()[0]) == 8 {
			id = integer(rows.RawValues()[0]) // Cheaper than Scan.
		} else if err := s.Scan(&id); err != nil {
			return err
		}
		done = append(done, ID(id))
		return nil
	}
	err = c.query(ctx, "select pawl.complete($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], "+
		"$5::text[], $6::text, $7::bigint[], $8::uuid[])",
		[]any{p.ids, p.epochs, p.waited, p.ran, returned, p.worker, keep, leases}, read)
	if err == nil && len(done) == n {
		return outcomes{all: string(pawlstate.Completed)}, nil
	}
	became.each = make(map[ID]string, n)
	for _, id := range done {
		became.each[id] = string(pawlstate.Completed)
	}
	return became, err
}

// fail writes results that do not complete their jobs.
func (c *Client) fail(ctx context.Context, results []attemptResult, p finishParameters) (became outcomes, err error) {
	n := len(results)
	became.each = make(map[ID]string, n)
	verbs, delays := make([]string, n), make([]*float64, n)
	backoffs, errs := make([]*string, n), make([]*string, n)
	for i := range results {
		a := &results[i]
		verbs[i], delays[i], backoffs[i], errs[i] = a.verb, a.delay, a.backoff, a.err
	}
	read := func(s scanner) error {
		var id int64
		var state string
		err := s.Scan(&id, &state)
		became.each[ID(id)] = state
		return err
	}
	err = c.query(ctx, "select * from pawl.fail($1::bigint[], $2::integer[], $3::text[], $4::double precision[], "+
		"$5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text)",
		[]any{p.ids, p.epochs, verbs, delays, backoffs, errs, p.waited, p.ran, p.worker}, read)
	return became, err
}

// finishLocking is finish for jobs whose rows may be locked: it waits for the locks.
func (c *Client) finishLocking(
	ctx context.Context, results []attemptResult, worker string, leases []string,
) (became outcomes, err error) {
	err = c.inTx(ctx, func(c *Client) error {
		jobs := make([]*JobInfo, len(results))
		for i := range results {
			jobs[i] = results[i].job
		}
		ids, epochs := idsAndEpochs(jobs)
		err := c.query(ctx, "select pawl.lock_jobs($1::bigint[], $2::integer[])", []any{ids, epochs}, nil)
		if err != nil {
			return err
		}
		became, err = c.finish(ctx, results, worker, leases)
		return err
	})
	return became, err
}

// findMissing returns which of the jobs are not live any more at the epoch at which they were claimed.
func (c *Client) findMissing(ctx context.Context, jobs []*JobInfo) (missing map[ID]bool, err error) {
	ids, epochs := idsAndEpochs(jobs)
	missing = map[ID]bool{}
	err = c.query(ctx, "select id from unnest(pawl.find_missing($1::bigint[], $2::integer[])) id", []any{ids, epochs},
		func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			missing[ID(id)] = true
			return err
		})
	return missing, err
}

// findFinished returns the states of the jobs that were finished at the epoch at which they were claimed. It tries
// again if the connection fails.
func (c *Client) findFinished(ctx context.Context, jobs []*JobInfo) (states map[ID]string, err error) {
	ids, epochs := idsAndEpochs(jobs)
	err = pg.RetryUntil(ctx, func() error {
		states = map[ID]string{}
		return c.query(ctx, "select f.id, f.state from pawl.find_finished($1::bigint[], $2::integer[]) f",
			[]any{ids, epochs}, func(s scanner) error {
				var id int64
				var state string
				err := s.Scan(&id, &state)
				states[ID(id)] = state
				return err
			})
	})
	return states, err
}

const (
	// refusalTries is how often a statement is tried if its error may pass or may be the fault of one result.
	refusalTries = 3
	// largeResult is the size from which on a result may be why the server has no memory for it.
	largeResult = 1 << 20
)

// isRefusal reports whether the database does not accept one of the results of a batch and will never accept it.
func isRefusal(err error) bool {
	if p, ok := errors.AsType[*pgconn.PgError](err); ok && p.Code == noPartition && p.ConstraintName == "" {
		return false // The archive has no partition, and soon it will have one.
	}
	return pg.IsDataError(err) || pg.IsUnreadable(err)
}

// retryDelivery tries to deliver a batch until it succeeds, it is refused, or ctx ends. An error that may pass, and may
// also be the fault of one result, counts as a refusal when it has come refusalTries times.
func retryDelivery(ctx context.Context, batch []attemptResult, deliver func() error) (err error) {
	for tries, wait := 1, 50*time.Millisecond; ; tries, wait = tries+1, 2*wait {
		doubtful := false
		err = pg.RetryUntil(ctx, func() error {
			err := deliver()
			if pg.IsOutOfMemory(err) && slices.ContainsFunc(batch, attemptResult.isLarge) {
				doubtful = true
				return &refusal{err}
			}
			return err
		})
		doubtful = doubtful || pg.IsInternal(err)
		if !doubtful || tries == refusalTries || !pg.Sleep(ctx, wait) {
			return err
		}
	}
}

// isLarge reports whether the server needs much memory for a result.
func (a attemptResult) isLarge() bool {
	return len(a.job.Args)+len(a.job.Data)+len(a.job.result) > largeResult
}

// A refusal is an error that may pass in general, and does not pass for this batch.
type refusal struct{ error }

// SQLState returns the SQLSTATE of a statement that exceeds a limit.
func (*refusal) SQLState() string { return "54000" }

func (r *refusal) Unwrap() error { return r.error }
