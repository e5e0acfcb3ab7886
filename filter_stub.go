package pawl

import (
	"encoding/json"
	"time"
)

// Filter chooses jobs by what they are; a zero field does not matter.
type Filter struct {
	All                                                  bool // Without it an otherwise empty Filter changes nothing.
	Queue, Channel, Kind, Fingerprint, UniqueKey, Cursor string
	States                                               []State
	Args                                                 json.RawMessage // Contained in the job's.
	CreatedBefore, CreatedAfter                          time.Time
	Limit                                                int // If zero, 100.
}
