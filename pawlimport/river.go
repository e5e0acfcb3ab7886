package pawlimport

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// River imports the live jobs of River. It reads the table river_job in the schema Options.Schema or along the search
// path. pool is connected to River's database and client to Pawl's.
//
// River returns the report of what it did even if it returns an error. It returns an error and changes nothing if the
// version of River's schema is not between 6 and 8.
func River(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, options Options) (Report, error) {
	s := &source{
		name: "river", table: "river_job", schema: options.Schema,
		version: "select max(version)::integer from source.river_migration where line = 'main'",
		oldest:  6, newest: 8, known: "versions 6 to 8 of its main line, from River 0.12 to 0.51",
		from: "source.river_job j", id: "bigint",
		urgency: "j.priority::bigint", since: "j.scheduled_at", created: "j.created_at",
		state: "j.state::text", queue: "j.queue", kind: "j.kind",
		live: "(j.state in ('available', 'scheduled', 'retryable') or $1::boolean and j.state = 'running')",
		row: `'Args', j.args::text, 'RunAt', j.scheduled_at, 'CreatedAt', j.created_at, 'Priority', j.priority,
			'Attempt', j.attempt, 'MaxAttempts', j.max_attempts, 'More', json_build_object('Metadata', j.metadata,
			'Tags', j.tags, 'Errors', to_json(j.errors),
			'Key', encode(j.unique_key, 'hex'), 'KeyStates', j.unique_states::text)`,
		remove: "delete from source.river_job where id = any ($1::text[]::bigint[])",
		why: map[string]string{
			"running": "running in River; it rescues the jobs of a dead worker, " +
				"and Options.Running (--running) imports running jobs",
			"pending":   "waits for River's user to make it available",
			"completed": "finished", "cancelled": "finished", "discarded": "finished: out of attempts",
		},
	}
	s.read = s.river
	s.also = riverQueues
	return start(ctx, pool, client, s, options)
}

// riverStates are River's states in the order of the bits of unique_states, from left to right.
var riverStates = []string{
	"scheduled", "running", "retryable", "pending", "discarded", "completed", "cancelled", "available",
}

// river turns a row of River into a job.
func (s *source) river(r *row) (job, error) {
	j, err := s.begin(r)
	if err != nil {
		return j, err
	}
	var more struct {
		Metadata json.RawMessage
		Tags     []string
		Errors   []struct {
			At      time.Time
			Attempt int
			Error   string
			Trace   string
		}
		Key       *string
		KeyStates *string
	}
	if err := json.Unmarshal(r.More, &more); err != nil {
		return j, err
	}
	j.spec.Priority = int(r.Priority) - 1
	// River's default policy waits attempt^4 seconds, with a jitter of 10 %. Any other policy is code.
	j.spec.Backoff = pawl.Backoff{Base: time.Second, Growth: 1, Power: 4, Max: 10 * 365 * 24 * time.Hour}
	for _, e := range more.Errors {
		j.spec.Errors = append(j.spec.Errors,
			pawl.AttemptError{Attempt: e.Attempt, At: e.At, Error: e.Error, Stack: e.Trace})
	}
	if len(more.Errors) > 10 {
		j.note("errors: only the last ten")
	}
	if len(more.Tags) > 0 {
		b, _ := json.Marshal(more.Tags)
		j.header("tags", string(b))
		j.note("tags: a JSON list in the header import.tags, which no filter looks at")
	}
	var metadata map[string]json.RawMessage
	if json.Unmarshal(more.Metadata, &metadata) != nil || len(metadata) > 0 {
		j.header("metadata", string(more.Metadata))
		if metadata["cancel_attempted_at"] != nil {
			return j, errors.New("it was cancelled while it was running, and River does not run it again")
		}
		for key := range metadata {
			if strings.HasPrefix(key, "river:resumable") {
				j.note("metadata: the finished steps of a resumable job are in the header import.metadata; pawl.Step ignores them")
				break
			}
		}
	}
	if more.Key != nil && more.KeyStates != nil {
		j.riverUnique(r.State, *more.Key, *more.KeyStates)
	}
	return j, nil
}

// riverUnique gives the job River's unique key if that counts in the job's state. states has a bit for each state in
// which it counts.
func (j *job) riverUnique(state, key, states string) {
	counts := func(state string) bool {
		i := slices.Index(riverStates, state)
		return i < len(states) && states[i] == '1'
	}
	if !counts(state) {
		j.note("unique key: none, because River does not count it in the job's state")
		return
	}
	j.spec.Unique = pawl.Unique{Key: "river:" + key, Global: true}
	j.note("unique key: River's hash with river: before it; only inserts that give this key are duplicates")
	if counts("completed") || counts("discarded") || counts("cancelled") {
		j.note("unique key: free again when the job ends; River keeps it for as long as the finished job")
	}
	if !counts("retryable") {
		j.note("unique key: held while the job waits for a retry, too")
	}
}

// riverQueues pauses in Pawl the queues that are paused in River.
func riverQueues(ctx context.Context, r *run) error {
	paused, err := all[string](ctx, r.pool,
		r.source.in("select name from source.river_queue where paused_at is not null order by name"))
	if err != nil {
		return err
	}
	for _, name := range paused {
		if len(r.options.Queues) > 0 && name != "*" && !slices.Contains(r.options.Queues, name) {
			continue
		}
		if name == "*" {
			r.report.Remarks = append(r.report.Remarks,
				"all queues of River are paused (*), but Pawl's are not: their jobs run as soon as a runner does")
			continue
		}
		queue := rename(r.options.RenameQueues, name)
		r.report.Remarks = append(r.report.Remarks, "queue "+queue+" is paused, as in River")
		if !r.options.DryRun {
			if err := r.in(r.client).PauseQueue(ctx, queue); err != nil {
				return err
			}
		}
	}
	return nil
}
