package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Ties are what keeps a live job waiting, and who waits for it.
type Constraints struct {
	ReservedUntil time.Time `json:"reserved_until"` // If it is not committed before, it is gone. Zero: it is not reserved.
	Head          ID        `json:"head"`           // The job of its ordered channel that is to finish first; 0: itself, or it is not ordered.
	Halted        bool      `json:"halted"`         // Its ordered channel stands still until ResumeChannel.
	AfterOK       []ID      `json:"after_ok"`       // What it still waits for, as in JobSpec.
	AfterAny      []ID      `json:"after_any"`
	AfterNotOK    []ID      `json:"after_not_ok"`
	Followers     []ID      `json:"followers"` // Jobs that wait for its end by those fields, the first thousand.
}

// Ties are those of a job as it is now. A job that is not live, or was never there, has none.
func (c *Client) Constraints(ctx context.Context, id ID) (ties Constraints, err error) {
	var text string
	err = c.row(ctx, `select json_build_object(
		'reserved_until', (select p.expires_at from pawl.blocked p where p.job_id = j.id),
		'head', coalesce((select nullif(h.job_id, j.id) from pawl.ordered_job t,
			lateral (select h.job_id from pawl.ordered_job h where h.queue = t.queue and h.channel = t.channel order by h.pos limit 1) h where t.job_id = j.id), 0),
		'halted', exists (select from pawl.ordered_job t join pawl.halted_channel h on h.queue = t.queue and h.channel = t.channel where t.job_id = j.id),
		'after_ok', array(select w.parent_id from pawl.dependency w where w.child_id = j.id and w.on_state = 'ok' order by 1),
		'after_any', array(select w.parent_id from pawl.dependency w where w.child_id = j.id and w.on_state = 'any' order by 1),
		'after_not_ok', array(select w.parent_id from pawl.dependency w where w.child_id = j.id and w.on_state = 'not_ok' order by 1),
		'followers', array(select distinct w.child_id from pawl.dependency w where w.parent_id = j.id order by 1 limit 1000))::text
		from pawl.job j where j.id = $1::bigint`, []any{int64(id)}, &text)
	switch {
	case err == nil:
		err = json.Unmarshal([]byte(text), &ties)
	case errors.Is(err, ErrNotFound):
		return Constraints{}, nil
	}
	if err != nil {
		return Constraints{}, fmt.Errorf("pawl: ties of job %d: %w", id, err)
	}
	return ties, nil
}
