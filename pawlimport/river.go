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

// River imports from River's table river_job, in the schema that Options.Schema or the search path says.
func River(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, options Options) (Report, error) {
	s := &source{
		name: "river", table: "river_job", schema: options.Schema,
		version: "select max(version)::integer from source.river_migration where line = 'main'",
		oldest:  6, newest: 8, known: "versions 6 to 8 of its main line, those of River 0.12 to 0.51",
		from: "source.river_job j", id: "bigint",
		urgency: "j.priority::bigint", since: "j.scheduled_at", created: "j.created_at",
		state: "j.state::text", queue: "j.queue", kind: "j.kind",
		live: "(j.state in ('available', 'scheduled', 'retryable') or $1::boolean and j.state = 'running')",
		row: `'Args', j.args::text, 'RunAt', j.scheduled_at, 'CreatedAt', j.created_at, 'Priority', j.priority, 'Attempt', j.attempt,
			'MaxAttempts', j.max_attempts, 'More', json_build_object('Metadata', j.metadata, 'Tags', j.tags, 'Errors', to_json(j.errors),
			'Key', encode(j.unique_key, 'hex'), 'KeyStates', j.unique_states::text)`,
		remove: "delete from source.river_job where id = any ($1::text[]::bigint[])",
		why: map[string]string{
			"running":   "a worker of River has it; what a dead one left River rescues, or Options.Running (--running) takes",
			"pending":   "something outside of the table is to make it available",
			"completed": "finished", "cancelled": "finished", "discarded": "finished: out of attempts",
		},
	}
	s.read = s.river
	s.also = riverQueues
	return start(ctx, pool, client, s, options)
}

// riverStates are the states in the order of the bits of unique_states, the leftmost first.
var riverStates = []string{"scheduled", "running", "retryable", "pending", "discarded", "completed", "cancelled", "available"}

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
	// That of its default policy, (attempt to the 4th) seconds ± 10 %. Another is in its user's code.
	j.spec.Backoff = pawl.Backoff{Base: time.Second, Growth: 1, Power: 4, Max: 10 * 365 * 24 * time.Hour}
	for _, e := range more.Errors {
		j.spec.Errors = append(j.spec.Errors, pawl.AttemptError{Attempt: e.Attempt, At: e.At, Error: e.Error, Stack: e.Trace})
	}
	if len(more.Errors) > 10 {
		j.note("errors: the last ten of more")
	}
	if len(more.Tags) > 0 {
		b, _ := json.Marshal(more.Tags)
		j.header("tags", string(b))
		j.note("tags: a list in the header import.tags, by which nothing is found")
	}
	var metadata map[string]json.RawMessage
	if json.Unmarshal(more.Metadata, &metadata) != nil || len(metadata) > 0 {
		j.header("metadata", string(more.Metadata))
		if metadata["cancel_attempted_at"] != nil {
			return j, errors.New("it was running when it was cancelled: River does not run it again")
		}
		for key := range metadata {
			if strings.HasPrefix(key, "river:resumable") {
				j.note("metadata: done steps of a resumable job are in the header import.metadata; pawl.Step does not know them")
				break
			}
		}
	}
	if more.Key != nil && more.KeyStates != nil {
		in := func(state string) bool {
			i := slices.Index(riverStates, state)
			return i < len(*more.KeyStates) && (*more.KeyStates)[i] == '1'
		}
		if !in(r.State) {
			j.note("unique key: none, it did not count in the job's state")
			return j, nil
		}
		j.spec.Unique = pawl.Unique{Key: "river:" + *more.Key, Global: true}
		j.note("unique key: River's is a hash; it is kept as river:HASH, which no insert into Pawl has unless you say so")
		if in("completed") || in("discarded") || in("cancelled") {
			j.note("unique key: free again when the job ends; River held it for as long as the finished job was kept")
		}
		if !in("retryable") {
			j.note("unique key: held while the job waits for a retry, too")
		}
	}
	return j, nil
}

// riverQueues lets what was paused be paused.
func riverQueues(ctx context.Context, r *run) error {
	paused, err := all[string](ctx, r.pool, r.source.in("select name from source.river_queue where paused_at is not null order by name"))
	if err != nil {
		return err
	}
	for _, name := range paused {
		if len(r.options.Queues) > 0 && name != "*" && !slices.Contains(r.options.Queues, name) {
			continue
		}
		if name == "*" {
			r.report.Remarks = append(r.report.Remarks, "all queues of River are paused (*), those of Pawl are not: their jobs run as soon as a runner is there")
			continue
		}
		queue := rename(r.options.RenameQueues, name)
		r.report.Remarks = append(r.report.Remarks, "queue "+queue+" is paused, as it was")
		if !r.options.DryRun {
			if err := r.in(r.client).PauseQueue(ctx, queue); err != nil {
				return err
			}
		}
	}
	return nil
}
