package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// A Filter chooses live and finished jobs by their properties. A job is chosen if it meets every field that is set.
//
// IDs uses an index for all jobs. Fingerprint and UniqueKey use an index for live jobs. For the other fields the
// database reads the jobs one by one, so it is slow to find few jobs among many.
type Filter struct {
	// All chooses every job. Cancel, Delete, Retry and Update return an error for an empty Filter unless All is set.
	All bool

	// IDs, if not nil, chooses only the jobs with these ids. An empty slice that is not nil chooses no job. If no other
	// field is set, one statement changes all the jobs.
	IDs []ID

	Queue       string // Queue is the name of the jobs' queue.
	Channel     string // Channel is the name of the jobs' channel.
	Kind        string // Kind is the jobs' kind.
	Fingerprint string // Fingerprint is the label of JobSpec.Fingerprint.
	UniqueKey   string // UniqueKey is the key of JobSpec.Unique.

	// Worker is the name of the worker that runs the job or, for a finished job, that ran it last.
	Worker string

	// States are the states of the jobs. If empty, jobs of every state are chosen.
	States []pawlstate.State

	// Args is JSON that the job's args contain, in the sense of PostgreSQL's operator @> for jsonb. It does not find
	// args that a Codec has encoded.
	Args json.RawMessage

	CreatedBefore time.Time // CreatedBefore chooses jobs that were inserted before this time.
	CreatedAfter  time.Time // CreatedAfter chooses jobs that were inserted after this time.

	// RunBefore chooses jobs whose JobInfo.RunAt is before this time or, if they have none, whose CreatedAt is.
	RunBefore time.Time

	// Before chooses jobs whose id is lower than Before. For the next page of List, set it to the id of the last job of
	// the previous page.
	Before ID

	// Limit is the largest number of jobs; the newest are chosen. If zero, List returns at most 100 jobs, and other
	// methods have no limit.
	Limit int

	// Progress, if not nil, is called by Cancel, Delete, Retry and Update after each batch with the number of jobs
	// changed so far.
	Progress func(done int64)
}

// byIDs reports whether the ids alone choose the jobs.
func (f *Filter) byIDs() bool {
	ids := *f
	ids.IDs = nil
	return f.IDs != nil && ids.empty() && !f.All && f.Before == 0 && f.Limit == 0
}

func (f *Filter) empty() bool {
	return f.IDs == nil && f.Queue == "" && f.Channel == "" && f.Kind == "" && f.Fingerprint == "" &&
		f.UniqueKey == "" && f.Worker == "" && len(f.States) == 0 && len(f.Args) == 0 &&
		f.CreatedBefore.IsZero() && f.CreatedAfter.IsZero() && f.RunBefore.IsZero()
}

// storedFilter is a Filter in the form that filter.sql takes.
type storedFilter struct {
	IDs           []ID              `json:"ids,omitzero"`
	Queue         string            `json:"queue,omitempty"`
	Channel       string            `json:"channel,omitempty"`
	Kind          string            `json:"kind,omitempty"`
	Fingerprint   string            `json:"fingerprint,omitempty"`
	UniqueKey     string            `json:"unique_key,omitempty"`
	Worker        string            `json:"worker,omitempty"`
	States        []pawlstate.State `json:"states,omitempty"`
	Args          json.RawMessage   `json:"args,omitempty"`
	CreatedBefore any               `json:"created_before,omitempty"`
	CreatedAfter  any               `json:"created_after,omitempty"`
	RunBefore     any               `json:"run_before,omitempty"`
	Above         int64             `json:"above,omitempty"` // Only list reads it: see Tail.
}

// stored checks a filter and encodes it. among, if not nil, are the states that the caller can change; none is true
// if the filter leaves none of them.
func (f *Filter) stored(among []pawlstate.State) (text string, below *int64, none bool, err error) {
	return f.storedAbove(among, 0)
}

// storedAbove is stored for list, which then reads only ids above the given one.
func (f *Filter) storedAbove(among []pawlstate.State, above int64) (text string, below *int64, none bool, err error) {
	if err := f.check(); err != nil {
		return "", nil, false, err
	}
	s := storedFilter{
		IDs: f.IDs, Queue: f.Queue, Channel: f.Channel, Kind: f.Kind, Fingerprint: f.Fingerprint,
		UniqueKey: f.UniqueKey, Worker: f.Worker, States: f.States, Args: f.Args, Above: above,
	}
	if among != nil {
		s.States = among
		if len(f.States) > 0 {
			s.States = slices.DeleteFunc(slices.Clone(f.States), func(state pawlstate.State) bool {
				return !slices.Contains(among, state)
			})
			if len(s.States) == 0 {
				return "", nil, true, nil
			}
		}
	}
	for _, moment := range []struct {
		from time.Time
		to   *any
	}{{f.CreatedBefore, &s.CreatedBefore}, {f.CreatedAfter, &s.CreatedAfter}, {f.RunBefore, &s.RunBefore}} {
		if !moment.from.IsZero() {
			*moment.to = pg.Text(moment.from)
		}
	}
	if f.Before > 0 {
		below = new(int64(f.Before))
	}
	if len(f.IDs) > 0 {
		// Windows of the archive outside of these ids need not be read.
		s.Above = max(s.Above, int64(slices.Min(f.IDs))-1)
		if highest := int64(slices.Max(f.IDs)) + 1; below == nil || highest < *below {
			below = &highest
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return "", nil, false, err
	}
	if reason := checkJSON(b); reason != "" {
		return "", nil, false, errors.New("Filter: its values " + reason)
	}
	return string(b), below, false, nil
}

// check returns an error that names the field of the filter that is wrong.
func (f *Filter) check() error {
	for _, state := range f.States {
		if !slices.Contains(pawlstate.Live(), state) && !slices.Contains(pawlstate.Finished(), state) {
			return fmt.Errorf("Filter.States: there is no state %q", state)
		}
	}
	for _, moment := range []struct {
		field string
		at    time.Time
	}{{"CreatedBefore", f.CreatedBefore}, {"CreatedAfter", f.CreatedAfter}, {"RunBefore", f.RunBefore}} {
		if !moment.at.IsZero() && !storable(moment.at) {
			return fmt.Errorf("Filter.%s is in the year %d, which PostgreSQL does not have", moment.field, moment.at.Year())
		}
	}
	switch {
	case len(f.Args) > 0 && !json.Valid(f.Args):
		return errors.New("Filter.Args: not valid JSON")
	case f.Limit < 0:
		return errors.New("Filter.Limit is negative")
	case f.Before < 0:
		return errors.New("Filter.Before is negative: want the id of a job")
	}
	return nil
}

// maxChangedAtOnce is the number of jobs of a Filter that are changed in one transaction.
const maxChangedAtOnce = 1000

// each finds the jobs of a filter that are in one of the states, newest first, and calls do with batches of them.
// Each batch is a transaction of its own if the client has none. It goes down by id. So it finds no job twice, and no
// job that is inserted meanwhile.
func (c *Client) each(
	ctx context.Context, filter Filter, among []pawlstate.State, do func(ids []int64) (int64, error),
) (total int64, err error) {
	if filter.empty() && !filter.All {
		return 0, errors.New("the Filter is empty: to change every job set Filter.All")
	}
	text, below, none, err := filter.stored(among)
	if err != nil || none {
		return 0, err
	}
	for left := filter.Limit; ; {
		most := maxChangedAtOnce
		if filter.Limit > 0 {
			most = min(most, left)
		}
		ids := make([]int64, 0, most)
		const list = "select id from pawl.list($1::text::jsonb, $2::bigint, $3::integer)"
		err := c.query(ctx, list, []any{text, below, most}, func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			ids = append(ids, id)
			return err
		})
		if err != nil || len(ids) == 0 {
			return total, err
		}
		n, err := do(ids)
		total += n
		left -= len(ids)
		if filter.Progress != nil {
			filter.Progress(total)
		}
		if err != nil || len(ids) < most || filter.Limit > 0 && left == 0 {
			return total, err
		}
		below = &ids[len(ids)-1]
	}
}
