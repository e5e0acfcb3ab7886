package bench

import (
	"strconv"
	"strings"
)

// jobArgs differ from job to job, as those of real jobs do.
type jobArgs struct {
	ID   int64  `json:"id"`
	Data string `json:"data"`
}

func (jobArgs) Kind() string { return "bench" }

const minArgsBytes = 48

// newArgs returns the args of job id, of size bytes as JSON.
func newArgs(id int64, size int) jobArgs {
	room := size - len(`{"id":,"data":""}`) - len(strconv.FormatInt(id, 10))
	var data strings.Builder
	data.Grow(room + 16)
	// Hexadecimal of a cheap generator (splitmix64) seeded by the id: distinct
	// and not compressible to nothing.
	state := uint64(id)
	for data.Len() < room {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		data.WriteString(strconv.FormatUint(z, 16))
	}
	return jobArgs{ID: id, Data: data.String()[:room]}
}
