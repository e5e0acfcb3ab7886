package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// Filter chooses jobs by what they are: those that meet every field that is not zero, live, dead or in the archive.
//
// Fingerprint and UniqueKey are quick among live jobs. What else is rare among many jobs is found by reading them.
type Filter struct {
	All bool // Every job is meant: without it an otherwise empty Filter changes nothing. List and Count do not ask for it.

	Queue, Channel, Kind, Fingerprint, UniqueKey string

	Worker string // The name of who runs the job, or of who ran it last: then among jobs that are finished.

	States        []pawlstate.State // One of these.
	Args          json.RawMessage   // JSON that the job's args contain, as jsonb's @>. Args under a Codec are no such JSON.
	CreatedBefore time.Time
	CreatedAfter  time.Time
	RunBefore     time.Time // Due before it: JobInfo.RunAt, or CreatedAt of one that was due at once.

	Cursor string // A Page's Next: only what comes after that page.
	Limit  int    // If zero: 100 in List, else none.

	Progress func(done int64) // If not nil, told how many have been changed, after each batch: of Cancel, Delete, Retry and Update.
}

func (f Filter) selection() ([]int64, []*int32) { return nil, nil } // What takes a Selector looks for a Filter first.

// storedFilter is a Filter as filter.sql takes it.
type storedFilter struct {
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
	Above         int64             `json:"above,omitempty"` // Of list alone: see Tail.
	RunBefore     any               `json:"run_before,omitempty"`
}

func (f *Filter) empty() bool {
	return f.Queue == "" && f.Channel == "" && f.Kind == "" && f.Fingerprint == "" && f.UniqueKey == "" && f.Worker == "" && len(f.States) == 0 &&
		len(f.Args) == 0 && f.CreatedBefore.IsZero() && f.CreatedAfter.IsZero() && f.RunBefore.IsZero()
}

// stored checks a filter. among, if not nil, are the states a verb can do anything about; none: there is nothing to look for.
func (f *Filter) stored(among []pawlstate.State) (text string, below *int64, none bool, err error) {
	return f.storedAbove(among, 0)
}

// storedAbove is stored, and only ids above that are looked at by list.
func (f *Filter) storedAbove(among []pawlstate.State, above int64) (text string, below *int64, none bool, err error) {
	s := storedFilter{Above: above, Queue: f.Queue, Channel: f.Channel, Kind: f.Kind, Fingerprint: f.Fingerprint, UniqueKey: f.UniqueKey, Worker: f.Worker, States: f.States, Args: f.Args}
	for _, state := range f.States {
		if !slices.Contains(pawlstate.Live(), state) && !slices.Contains(pawlstate.Finished(), state) {
			return "", nil, false, fmt.Errorf("Filter.States: there is no state %q", state)
		}
	}
	if among != nil {
		s.States = among
		if len(f.States) > 0 {
			s.States = slices.DeleteFunc(slices.Clone(f.States), func(state pawlstate.State) bool { return !slices.Contains(among, state) })
			if len(s.States) == 0 {
				return "", nil, true, nil
			}
		}
	}
	if len(f.Args) > 0 && !json.Valid(f.Args) {
		return "", nil, false, errors.New("Filter.Args: not valid JSON")
	}
	if !f.CreatedBefore.IsZero() {
		s.CreatedBefore = textParam(f.CreatedBefore)
	}
	if !f.CreatedAfter.IsZero() {
		s.CreatedAfter = textParam(f.CreatedAfter)
	}
	if !f.RunBefore.IsZero() {
		s.RunBefore = textParam(f.RunBefore)
	}
	if f.Limit < 0 {
		return "", nil, false, errors.New("Filter.Limit is negative")
	}
	if f.Cursor != "" {
		id, err := strconv.ParseInt(f.Cursor, 10, 64)
		if err != nil || id < 0 {
			return "", nil, false, fmt.Errorf("Filter.Cursor: %q is no Page's Next", truncate(f.Cursor, 64))
		}
		below = &id
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

// atOnce is how many jobs of a Filter are changed in one transaction.
const atOnce = 1000

// each finds the jobs of a filter that are in one of the states, newest first, and has them changed in batches, each a transaction
// of its own if the client has none. It goes down by id, so that jobs inserted meanwhile are not met, and none twice.
func (c *Client) each(ctx context.Context, filter Filter, among []pawlstate.State, do func(ids []int64) (int64, error)) (total int64, err error) {
	if filter.empty() && !filter.All {
		return 0, errors.New("the Filter is empty: to change every job set Filter.All")
	}
	text, below, none, err := filter.stored(among)
	if err != nil || none {
		return 0, err
	}
	for left := filter.Limit; ; {
		most := atOnce
		if filter.Limit > 0 {
			most = min(most, left)
		}
		ids := make([]int64, 0, most)
		err := c.query(ctx, "select id from pawl.list($1::text::jsonb, $2::bigint, $3::integer)", []any{text, below, most}, func(s scanner) error {
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
