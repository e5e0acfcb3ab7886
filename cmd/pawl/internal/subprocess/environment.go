package subprocess

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
)

// maxHeaders is the size of PAWL_HEADERS in bytes above which it is left empty. Linux limits a variable to 128 KiB.
const maxHeaders = 100_000

// environment returns the variables that describe a job. It sets all of them, so that none is inherited.
func environment(job *pawl.JobInfo) []string {
	headers := []byte("{}")
	if len(job.Headers) > 0 {
		headers, _ = json.Marshal(job.Headers)
	}
	if len(headers) > maxHeaders {
		headers = nil
	}
	runAt := job.RunAt
	if runAt.IsZero() {
		runAt = job.CreatedAt
	}
	batch := ""
	if job.Batch != 0 {
		batch = fmt.Sprint(job.Batch)
	}
	return []string{
		"PAWL_JOB_ID=" + fmt.Sprint(job.ID),
		"PAWL_KIND=" + job.Kind,
		"PAWL_QUEUE=" + job.Queue,
		"PAWL_CHANNEL=" + job.Channel,
		"PAWL_PRIORITY=" + strconv.Itoa(job.Priority),
		"PAWL_ATTEMPT=" + strconv.Itoa(job.Attempt),
		"PAWL_MAX_ATTEMPTS=" + strconv.Itoa(job.MaxAttempts),
		"PAWL_CREATED_AT=" + job.CreatedAt.UTC().Format(time.RFC3339Nano),
		"PAWL_RUN_AT=" + runAt.UTC().Format(time.RFC3339Nano),
		"PAWL_FINGERPRINT=" + job.Fingerprint,
		"PAWL_UNIQUE_KEY=" + job.UniqueKey,
		"PAWL_HEADERS=" + string(headers),
		"PAWL_BATCH=" + batch,
		"PAWL_WORKER=" + job.Worker,
	}
}

// Variables returns the names of the variables that describe a job.
func Variables() (names []string) {
	for _, pair := range environment(&pawl.JobInfo{}) {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	return names
}
