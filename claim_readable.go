package pawl

import (
	"context"

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// The statements of a claim. The second one makes jobs dead that no client can read, and claims the others: see
// claim_readable.sql. It reads each row twice, so a claim begins with it only if an error could not be repaired: in a
// caller's transaction, which an error would end.
const (
	claimStatement         = "select * from pawl.claim(" + claimParameters
	claimReadableStatement = "select * from pawl.claim_readable(" + claimParameters

	claimParameters = "$1::uuid, $2::bigint, $3::interval, $4::integer, " +
		"$5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[])"
)

// queryClaim runs the statement of a claim. If the database cannot compute, encode or send a row, it claims again and
// leaves out the jobs at fault, which are then dead. The first claim was rolled back, so the lease has the same id.
func (c *Client) queryClaim(ctx context.Context, r *claimReader, args []any) error {
	if c.db != nil || c.scansClaims.Load() {
		return c.query(ctx, claimReadableStatement, args, r.read)
	}
	err := c.query(ctx, claimStatement, args, r.read)
	if r.tickets.raw < 0 {
		// The pool has types of its own. They may not be able to scan a time that is infinite; a readable claim has none.
		c.scansClaims.Store(true)
	}
	if !pg.IsUnreadable(err) {
		return err
	}
	r.plan.Restart()
	*r = *c.newClaimReader(r.set, r.plan, r.who, *r.lease.id.Load())
	return c.query(ctx, claimReadableStatement, args, r.read)
}

// reportUnprocessable logs and counts a job that a claim made dead because no client can read it. Its error is in the
// column of the unique key.
func (c *Client) reportUnprocessable(t *ticket) {
	job := &JobInfo{ID: ID(t.id), Queue: t.Queue, Channel: t.Channel, State: pawlstate.Dead}
	c.config.Logger.Warn("pawl: a job cannot be read; it is dead with the reason unprocessable",
		"job", job, "error", t.unique)
	c.counters.finished([]attemptResult{{job: job, verb: verbUnprocessable}},
		func(ID) string { return string(pawlstate.Dead) })
}
