package pawl

import (
	"context"

	"github.com/pawlhq/pawl/internal/pg"
)

// The statements of a claim. A claim begins with the first one, which costs the least.
const (
	claimPlain = "select * from pawl.claim(" + claimParameters
	// claimBounded takes only as many jobs as fit into memory: see claim_bounded.sql.
	claimBounded = "select * from pawl.claim_bounded(" + claimParameters
	// claimReadable also makes jobs dead that no client can read: see claim_readable.sql. A claim in a caller's
	// transaction is made with it, because an error would end the transaction.
	claimReadable = "select * from pawl.claim_readable(" + claimParameters

	claimParameters = "$1::uuid, $2::bigint, $3::interval, $4::integer, " +
		"$5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[])"
)

const (
	// boundedClaims is how many claims look at the sizes of jobs first, after a claim of jobs that were too large
	// together.
	boundedClaims = 100
	// maxIsolations is how often a claim looks for unreadable jobs, at most, before it fails. Each time it may see
	// others.
	maxIsolations = 20
	// claimTooLarge is the SQLSTATE of a claim whose jobs do not fit into memory together.
	claimTooLarge = "54PWL"
)

// queryClaim runs the statement of a claim. If it fails because of the jobs that it would return, another statement
// claims again. The first claim was rolled back, so the lease has the same id.
func (c *Client) queryClaim(ctx context.Context, r *claimReader, args []any) error {
	text := c.claimStatement()
	for range maxIsolations {
		err := c.query(ctx, text, args, r.read)
		if r.tickets.raw < 0 {
			// The pool has types of its own. They may not be able to scan an infinite time; a readable claim has none.
			c.scansClaims.Store(true)
		}
		switch {
		case c.db != nil:
			return err
		case pg.SQLState(err) == claimTooLarge:
			c.boundedClaims.Store(boundedClaims)
			text = claimBounded
		case !pg.IsUnreadable(err):
			return err
		case text != claimReadable:
			text = claimReadable
		default: // What it made dead was rolled back with it.
			if buried, e := c.buryUnreadable(ctx, args[3:]); e != nil || buried == 0 {
				return err
			}
		}
		r.restart()
	}
	return c.query(ctx, text, args, r.read)
}

// claimStatement returns the statement with which a claim begins.
func (c *Client) claimStatement() string {
	switch {
	case c.db != nil || c.scansClaims.Load():
		return claimReadable
	case c.boundedClaims.Load() > 0:
		c.boundedClaims.Add(-1)
		return claimBounded
	}
	return claimPlain
}

// buryUnreadable makes the jobs dead that no client can read, among those that a claim would take. It returns how many
// these are. args are the parameters of the claim, from the number of jobs on.
func (c *Client) buryUnreadable(ctx context.Context, args []any) (buried int, err error) {
	const text = "select * from pawl.bury_unreadable($1::integer, $2::text[], $3::integer[], $4::text[], $5::bigint[], " +
		"$6::bigint[], $7::integer[])"
	err = c.query(ctx, text, args, func(s scanner) error {
		var id, pos int64
		var lane int32
		var queue, channel, problem string
		err := s.Scan(&id, &queue, &lane, &channel, &pos, &problem)
		if err == nil {
			buried++
			c.reportUnprocessable(id, queue, channel, problem)
		}
		return err
	})
	return buried, err
}
