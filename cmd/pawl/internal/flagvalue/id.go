package flagvalue

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
)

// ParseID parses the ID of a job.
func ParseID(text string) (pawl.ID, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, exit.Usagef("%q is not an ID: want a whole number from 1", text)
	}
	return pawl.ID(id), nil
}

// ParseIDs parses IDs of jobs and drops repeated ones.
func ParseIDs(texts []string) (ids []pawl.ID, err error) {
	for _, text := range texts {
		id, err := ParseID(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// ParseWorkerID parses the ID of a worker.
func ParseWorkerID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, exit.Usagef("%q is not the ID of a worker: want a whole number from 1; see pawl worker list", text)
	}
	return id, nil
}

// IDs is a repeatable flag that takes job IDs separated by commas.
type IDs []pawl.ID

// Set adds the IDs.
func (v *IDs) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		id, err := ParseID(strings.TrimSpace(word))
		if err != nil {
			return err
		}
		*v = append(*v, id)
	}
	return nil
}

func (*IDs) String() string { return "" }

// Type returns the flag's type for the help.
func (*IDs) Type() string { return "ids" }

// Cursor is a flag that takes the ID of the last job of a page.
type Cursor pawl.ID

// Set parses the ID.
func (v *Cursor) Set(text string) error {
	id, err := ParseID(text)
	*v = Cursor(id)
	return err
}

func (v *Cursor) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*v), 10)
}

// Type returns the flag's type for the help.
func (*Cursor) Type() string { return "string" }
