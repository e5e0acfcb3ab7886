package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Constraints are what blocks a live job, and the jobs that depend on it.
type Constraints struct {
	// ReservedUntil is when a reserved job is removed if it is not committed before. It is zero if the job is not
	// reserved.
	ReservedUntil time.Time `json:"reserved_until"`
	// Head is the job of the same ordered channel that must finish first. It is 0 if that is this job, or if the
	// job is not ordered.
	Head ID `json:"head"`
	// Halted is true if the job's ordered channel is halted until ResumeChannel.
	Halted bool `json:"halted"`
	// AfterOK, AfterAny and AfterNotOK are the jobs that this job still waits for: see JobSpec.
	AfterOK    []ID `json:"after_ok"`
	AfterAny   []ID `json:"after_any"`
	AfterNotOK []ID `json:"after_not_ok"`
	// Followers are the jobs that depend on this job, at most the first thousand.
	Followers []ID `json:"followers"`
}

// Constraints returns the constraints of a job as they are now. A job that is not live, or does not exist, has none.
func (c *Client) Constraints(ctx context.Context, id ID) (constraints Constraints, err error) {
	var text string
	err = c.row(ctx, `select json_build_object(
		'reserved_until', (select b.expires_at from pawl.blocked b where b.job_id = j.id),
		'head', coalesce((
			select nullif(head.job_id, j.id) from pawl.ordered_job o,
			lateral (
				select h.job_id from pawl.ordered_job h
				where h.queue = o.queue and h.channel = o.channel order by h.pos limit 1
			) head
			where o.job_id = j.id), 0),
		'halted', exists (
			select from pawl.ordered_job o
			join pawl.halted_channel h on h.queue = o.queue and h.channel = o.channel where o.job_id = j.id),
		'after_ok', array(
			select d.parent_id from pawl.dependency d where d.child_id = j.id and d.on_state = 'ok' order by 1),
		'after_any', array(
			select d.parent_id from pawl.dependency d where d.child_id = j.id and d.on_state = 'any' order by 1),
		'after_not_ok', array(
			select d.parent_id from pawl.dependency d where d.child_id = j.id and d.on_state = 'not_ok' order by 1),
		'followers', array(
			select distinct d.child_id from pawl.dependency d where d.parent_id = j.id order by 1 limit 1000))::text
		from pawl.job j where j.id = $1::bigint`, []any{int64(id)}, &text)
	switch {
	case err == nil:
		err = json.Unmarshal([]byte(text), &constraints)
	case errors.Is(err, ErrNotFound):
		return Constraints{}, nil
	}
	if err != nil {
		return Constraints{}, fmt.Errorf("pawl: get constraints of job %d: %w", id, err)
	}
	return constraints, nil
}
