package pawl

import (
	"context"

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// The statements of a claim. A claim begins with the first one, which costs the least.
const (
	claimStatement = "select * from pawl.claim(" + claimParameters
	// claimBounded takes only as many jobs as fit into memory: see claim_bounded.sql.
	claimBounded = "select * from pawl.claim_bounded(" + claimParameters
	// claimReadable also makes jobs dead that no client can read: see claim_readable.sql. A claim in a caller's
	// transaction begins with it, because an error would end the transaction.
	claimReadable = "select * from pawl.claim_readable(" + claimParameters

	claimParameters = "$1::uuid, $2::bigint, $3::interval, $4::integer, " +
		"$5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[])"
)

// boundedClaims is how many claims look at the sizes of jobs first, after a claim of jobs that were too large together.
const boundedClaims = 100

// queryClaim runs the statement of a claim. If it fails because of the jobs that it would return, another statement
// claims again. The first claim was rolled back, so the lease has the same id.
func (c *Client) queryClaim(ctx context.Context, r *claimReader, args []any) error {
	if c.db != nil || c.scansClaims.Load() {
		return c.query(ctx, claimReadable, args, r.read)
	}
	text := claimStatement
	if c.boundedClaims.Load() > 0 {
		c.boundedClaims.Add(-1)
		text = claimBounded
	}
	err := c.query(ctx, text, args, r.read)
	if pg.SQLState(err) == claimTooLarge {
		c.boundedClaims.Store(boundedClaims)
		r.restart()
		err = c.query(ctx, claimBounded, args, r.read)
	}
	if r.tickets.raw < 0 {
		// The pool has types of its own. They may not be able to scan a time that is infinite; a readable claim has none.
		c.scansClaims.Store(true)
	}
	if pg.IsUnreadable(err) {
		r.restart()
		err = c.query(ctx, claimReadable, args, r.read)
	}
	return err
}

// claimTooLarge is the SQLSTATE of a claim whose jobs do not fit into memory together.
const claimTooLarge = "54PWL"

// reportUnprocessable logs and counts a job that a claim made dead because no client can read it. Its error is in the
// column of the unique key.
func (c *Client) reportUnprocessable(t *ticket) {
	job := &JobInfo{ID: ID(t.id), Queue: t.Queue, Channel: t.Channel, State: pawlstate.Dead}
	c.config.Logger.Warn("pawl: a job cannot be read; it is dead with the reason unprocessable",
		"job", job, "error", t.unique)
	c.counters.finished([]attemptResult{{job: job, verb: verbUnprocessable}},
		func(ID) string { return string(pawlstate.Dead) })
}
