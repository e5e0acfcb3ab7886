package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// An insertRow is a job in the form that insert.sql takes, one field for each array.
type insertRow struct {
	queue, channel, kind string
	priority             int16
	args                 *string
	data                 []byte
	delay                *float64 // In seconds.
	runAt                *time.Time
	attempts             *int16
	fingerprint          *string
	opts                 *string         // jobOptions as JSON.
	errorBytes           int             // The size of the errors in constraints.
	constraints          *constraintSpec // If nil, the job has no constraints, and insert.sql inserts it.
}

// jobOptions are the settings that few jobs have, as they are stored in the column opts.
type jobOptions struct {
	Backoff *storedBackoff    `json:"backoff,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`

	// These belong to constraints. SQL functions ask whether they are present.
	Ordered    bool `json:"ordered,omitempty"`
	Global     bool `json:"global,omitempty"`
	UntilStart bool `json:"until_start,omitempty"`
	Batch      ID   `json:"batch,omitempty"`
}

// size returns about how many bytes a row has in a statement.
func (r *insertRow) size() int {
	const other = 64 // Numbers, times, and the headers of arrays.
	n := other + r.errorBytes + len(r.queue) + len(r.channel) + len(r.kind) + len(r.data)
	for _, text := range []*string{r.args, r.opts, r.fingerprint} {
		if text != nil {
			n += len(*text)
		}
	}
	return n
}

// changeOptions changes a row's opts.
func (r *insertRow) changeOptions(change func(*jobOptions)) error {
	var o jobOptions
	if r.opts != nil {
		if err := json.Unmarshal([]byte(*r.opts), &o); err != nil {
			return err
		}
	}
	change(&o)
	b, err := json.Marshal(o)
	s := string(b)
	r.opts = &s
	return err
}

// insertRows inserts rows without constraints in one statement, and returns their ids in order.
func (c *Client) insertRows(ctx context.Context, rows []insertRow) ([]ID, error) {
	n := len(rows)
	var (
		queues, channels, kinds  = make([]string, n), make([]string, n), make([]string, n)
		priorities               = make([]int16, n)
		args, fingerprints, opts = make([]*string, n), make([]*string, n), make([]*string, n)
		data                     = make([][]byte, n)
		delays                   = make([]*float64, n)
		runAts                   = make([]*time.Time, n)
		attempts                 = make([]*int16, n)
	)
	for i := range rows {
		r := &rows[i]
		queues[i], channels[i], kinds[i], priorities[i] = r.queue, r.channel, r.kind, r.priority
		args[i], fingerprints[i], opts[i], data[i] = r.args, r.fingerprint, r.opts, r.data
		delays[i], runAts[i], attempts[i] = r.delay, r.runAt, r.attempts
	}
	ids := make([]ID, 0, n)
	err := c.query(ctx, `select pawl.insert($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::bytea[],
		$7::double precision[], $8::timestamptz[], $9::smallint[], $10::text[], $11::text[])`,
		[]any{queues, channels, priorities, kinds, args, data, delays, runAts, attempts, fingerprints, opts},
		func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			ids = append(ids, ID(id))
			return err
		})
	if err == nil && len(ids) != n {
		err = fmt.Errorf("%d ids for %d jobs", len(ids), n)
	}
	if err == nil {
		c.counters.inserted(rows, nil)
	}
	return ids, err
}
