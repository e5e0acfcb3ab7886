package pawl

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/inspect"
	"github.com/pawlhq/pawl/internal/pg"
)

// A Finding is a problem that [Client.Verify], [Client.Repair] or [Client.Doctor] found. docs/doctor.md lists all
// checks.
type Finding struct {
	Check    string // Check names the check, such as "ticket-missing" or "xmin".
	Problem  string // Problem describes the problem: which object or session, how many, since when.
	Remedy   string // Remedy says what to do. Where possible it is a statement or a command to type.
	Fatal    bool   // Fatal reports whether jobs do not run, or may be lost, until the problem is fixed.
	Repaired bool   // Repaired reports whether Repair fixed the problem and did not find it again.
}

// Verify checks the schema and its rows and returns what is wrong. It reports tables, columns, indexes, functions and
// partitions that are missing or that differ from this binary's. It also reports rows that break an invariant: each
// live job has exactly one ticket or one place in a lease, and no row belongs to a deleted job.
//
// Verify changes nothing and may run while the queue is at work. If a part of the schema is missing, Verify returns a
// finding, not an error.
//
// Verify reads all live jobs, all tickets and the ids of the archive in one statement. The statement takes several
// seconds per million rows and uses work_mem and temporary files. Until it ends, vacuum cannot remove newly dead
// rows. Maintenance removes some leftover permits and leases; Verify checks those twice, three seconds apart.
//
// On a client made by [Client.With], Verify sees what that transaction sees.
func (c *Client) Verify(ctx context.Context) ([]Finding, error) {
	if c.db == nil {
		if err := c.requirePool("Verify"); err != nil {
			return nil, err
		}
	}
	found, err := c.inspection().Verify(ctx)
	if err != nil {
		return nil, fmt.Errorf("pawl: verify: %w", err)
	}
	return findings(found), nil
}

// Repair repairs the problems that [Client.Verify] finds if that is safe, and returns them. Finding.Repaired is true
// if a second check did not find the problem again.
//
// A job without a ticket gets a new ticket at a new epoch; a worker that still runs the job receives ErrLeaseLost.
// Repair removes rows that belong to deleted jobs. It creates missing functions, indexes and partitions and replaces
// broken ones while workers run. It does not create tables, and it does not change a schema of another version.
//
// Repair may run while the queue is at work. It waits at most a few seconds for a lock. Building an index also waits
// for all older transactions to end.
func (c *Client) Repair(ctx context.Context) ([]Finding, error) {
	if err := c.requirePool("Repair"); err != nil {
		return nil, err
	}
	found, err := c.inspection().Repair(ctx)
	if err != nil {
		return nil, fmt.Errorf("pawl: repair: %w", err)
	}
	return findings(found), nil
}

// Doctor looks for problems that slow, endanger or stop this installation, and returns them. Examples are sessions
// that hold back vacuum, queues without a worker, overdue maintenance, workers of several versions, settings that
// risk data, and a pooler that breaks LISTEN. docs/doctor.md lists all checks.
//
// Doctor changes nothing, reads no whole table and takes a second or two. A locked table does not make it slower. A
// healthy installation has no findings. If the client's role may not see something, that is a finding too. Doctor does
// not check rows; [Client.Verify] does.
func (c *Client) Doctor(ctx context.Context) ([]Finding, error) {
	return c.doctor(ctx, inspect.DefaultThresholds, time.Now)
}

func (c *Client) doctor(ctx context.Context, limits inspect.Thresholds, now func() time.Time) ([]Finding, error) {
	if err := c.requirePool("Doctor"); err != nil {
		return nil, err
	}
	in := c.inspection()
	in.Now = now
	found, err := in.Doctor(ctx, limits)
	if err != nil {
		return nil, fmt.Errorf("pawl: doctor: %w", err)
	}
	return findings(found), nil
}

func findings(found []inspect.Finding) []Finding {
	var list []Finding
	for _, f := range found {
		list = append(list, Finding(f))
	}
	return list
}

// inspection returns what package inspect needs of the client.
func (c *Client) inspection() *inspect.Installation {
	in := &inspect.Installation{
		Runner:         inspectRunner{c},
		Schema:         c.config.Schema,
		Source:         c.source,
		OutsideTx:      c.outsideTx,
		Migrate:        func(ctx context.Context) error { return c.Migrate(ctx) },
		MakePartitions: c.makePartitions,
		RunFollowups:   c.runFollowups,
		CheckListen:    c.examineListen,
		IsTransient:    pg.IsTransient,
		Now:            time.Now,
	}
	if c.db == nil {
		in.Begin = func(ctx context.Context, mode pgx.TxAccessMode, do func(inspect.Runner) error) error {
			return pg.Begin(ctx, c.pool, mode, func(tx pgx.Tx) error { return do(inspectRunner{c.With(tx)}) })
		}
	}
	return in
}

// inspectRunner runs the statements of package inspect.
type inspectRunner struct{ client *Client }

func (r inspectRunner) Query(ctx context.Context, text string, args []any, each func(inspect.Row) error) error {
	if each == nil {
		return r.client.query(ctx, text, args, nil)
	}
	return r.client.query(ctx, text, args, func(s scanner) error { return each(s) })
}

// listenTimeout limits how long examineListen waits for a connection and a notification together.
const listenTimeout = 5 * time.Second

// examineListen tries LISTEN as runners and Await use it: on a connection of its own, notified from the pool.
func (c *Client) examineListen(ctx context.Context) ([]inspect.Finding, error) {
	const slow = "runners find new jobs only once per PollInterval, and cancelled jobs with the next heartbeat"
	which := "the pool's database"
	if c.config.ListenURL != "" {
		which = "Config.ListenURL"
	}
	listening, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	failed := func(err error) ([]inspect.Finding, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return []inspect.Finding{{
			Check:   "listen",
			Problem: fmt.Sprintf("LISTEN does not work over %s: %v; %s", which, err, slow),
			Remedy:  "set Config.ListenURL to a URL of the server itself, and check that the server accepts this role",
		}}, nil
	}
	session, err := pg.Connect(listening, c.pool, c.config.ListenURL)
	if err != nil {
		return failed(err)
	}
	defer session.Close(ctx)
	if session.Pooled && c.config.ListenURL == "" {
		return []inspect.Finding{{
			Check:   "pooler",
			Problem: "a transaction pooler is between this client and the server, so LISTEN does not work: " + slow,
			Remedy: "set Config.ListenURL to a URL of the server itself; " +
				"each runner and each waiting process uses one connection there",
		}}, nil
	}
	channel := "pawl doctor " + rand.Text()
	if err := session.Listen(listening, channel); err != nil {
		return failed(err)
	}
	if err := c.query(ctx, "select pg_notify($1::text, '')", []any{channel}, nil); err != nil {
		return nil, err
	}
	_, err = session.WaitForNotification(listening)
	switch {
	case err == nil:
		return nil, nil
	case session.Pooled:
		return failed(pg.ErrPooled)
	default:
		return failed(errors.New("a notification from the pool did not arrive: " +
			"the URL leads to another server or another database"))
	}
}
