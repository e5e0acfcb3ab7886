package pawlimport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/hook"
	"github.com/pawlhq/pawl/pawlstate"
)

// Options are for an import; its zero value works.
type Options struct {
	DryRun bool   // Writes nothing and locks nothing; the report is that of an import now.
	Schema string // The source's. If zero: pgboss, graphile_worker; River's along the search path.

	Queues       []string          // Only these queues of the source. If nil, all.
	Kinds        []string          // Only these kinds of the source. If nil, all.
	RenameQueues map[string]string // From the source's names to Pawl's; what is not in it keeps its name.
	RenameKinds  map[string]string

	Limit   int64 // Jobs to import at most. If zero, all.
	Batch   int   // Jobs in one transaction. If zero, 1000.
	Running bool  // Takes what runs at the source, too. Only when none of its workers is alive: else jobs run twice.

	Schedules bool         // Makes crons of schedules, where the source has them in the database.
	Backoff   pawl.Backoff // Of the jobs. If zero, the source's own, as far as it is known.

	Progress func(imported int64) // If not nil, called after each transaction.
}

// run is an import under way.
type run struct {
	pool    *pgxpool.Pool // The source's.
	target  *pgxpool.Pool // Pawl's, if it is another database; else nil.
	client  *pawl.Client
	source  *source
	options Options
	report  Report
	started time.Time // By the source's clock.

	refused map[string]bool
	keys    map[string]bool  // Seen in a dry run.
	states  map[string]int64 // Of what a dry run would have taken.
}

func start(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, s *source, options Options) (Report, error) {
	r := &run{pool: pool, client: client, source: s, options: options, refused: map[string]bool{}, keys: map[string]bool{}, states: map[string]int64{}}
	r.report = Report{Source: s.name, DryRun: options.DryRun}
	err := r.run(ctx)
	r.report.finish()
	if err != nil {
		err = fmt.Errorf("pawlimport: %s: %w", s.name, err)
	}
	return r.report, err
}

func (r *run) run(ctx context.Context) (err error) {
	if r.options.Limit < 0 || r.options.Batch < 0 {
		return errors.New("Options: Limit and Batch must not be negative")
	}
	if len(r.options.Queues) == 0 {
		r.options.Queues = nil
	}
	if len(r.options.Kinds) == 0 {
		r.options.Kinds = nil
	}
	if r.options.Batch == 0 {
		r.options.Batch = 1000
	}
	if r.report.Version, err = r.source.find(ctx, r.pool); err != nil {
		return err
	}
	if r.started, err = one[time.Time](ctx, r.pool, "select clock_timestamp()"); err != nil {
		return err
	}
	if err := r.apart(ctx); err != nil {
		return err
	}
	// What is wrong with Pawl is found before anything is moved.
	_, err = r.in(r.client).Count(ctx, pawl.Filter{Fingerprint: "pawlimport", Limit: 1, States: []pawlstate.State{pawlstate.Ready}})
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && (refused.Code == "3F000" || refused.Code == "42P01" || refused.Code == "42883") {
		return fmt.Errorf("where the jobs are to go: %w: %w", &pawl.SchemaError{}, err)
	}
	if err != nil {
		return err
	}
	if err := r.source.also(ctx, r); err != nil {
		return err
	}
	if r.target != nil {
		if err := r.openOutbox(ctx); err != nil {
			return err
		}
	}
	for {
		before := r.report.Imported
		if err := r.pass(ctx); err != nil {
			return err
		}
		// What was locked, or ran and failed meanwhile, is there in the next pass.
		if r.options.DryRun || r.report.Imported == before || r.left() == 0 {
			return r.count(ctx)
		}
	}
}

// in is the client where the jobs are to be inserted. In one database that is the source's pool, whatever the client's own is.
func (r *run) in(client *pawl.Client) *pawl.Client {
	if r.target == nil {
		return client.With(r.pool)
	}
	return client
}

// apart finds out whether Pawl is in another database: there, a lock that is held here is not seen.
func (r *run) apart(ctx context.Context) error {
	target, _ := hook.Pool(r.client).(*pgxpool.Pool)
	if target == nil || target == r.pool {
		return nil
	}
	key := rand.Int64()
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := all[string](ctx, tx, "select pg_advisory_xact_lock($1::bigint)::text", key); err != nil {
			return err
		}
		same, err := one[bool](ctx, target, `select exists (select from pg_locks l where l.locktype = 'advisory' and l.objsubid = 1
			and l.classid = ($1::bigint >> 32)::bit(32)::bigint::oid and l.objid = ($1::bigint & 4294967295)::oid
			and l.database = (select d.oid from pg_database d where d.datname = current_database()))`, key)
		if err == nil && !same {
			r.target = target
		}
		return err
	})
}

// left is how many jobs may still be imported, at most a batch.
func (r *run) left() int {
	if r.options.Limit == 0 {
		return r.options.Batch
	}
	return int(min(r.options.Limit-r.report.Imported, int64(r.options.Batch)))
}

const pageSize = 100_000 // Ids in memory; a page is a sort of all there is.

// pass goes once through the jobs that were there when the import began.
func (r *run) pass(ctx context.Context) error {
	var urgency *int64
	var since, id *string
	for {
		var ids []string
		rows, err := r.pool.Query(ctx, r.source.list(), pgx.QueryExecModeCacheDescribe, r.options.Running, r.started, r.options.Queues, r.options.Kinds, urgency, since, id, pageSize)
		if err != nil {
			return err
		}
		var last struct {
			id, since string
			urgency   int64
		}
		if _, err := pgx.ForEachRow(rows, []any{&last.id, &last.urgency, &last.since}, func() error {
			ids = append(ids, last.id)
			return nil
		}); err != nil {
			return err
		}
		full := len(ids) == pageSize
		ids = slices.DeleteFunc(ids, func(id string) bool { return r.refused[id] })
		for len(ids) > 0 {
			n := min(len(ids), r.left())
			if n == 0 {
				return nil
			}
			if err := r.batch(ctx, ids[:n]); err != nil {
				return err
			}
			ids = ids[n:]
			if r.options.Progress != nil {
				r.options.Progress(r.report.Imported)
			}
		}
		if !full {
			return nil
		}
		urgency, since, id = &last.urgency, &last.since, &last.id
	}
}

// batch is some jobs to be moved together.
type batch struct {
	rows []*row
	jobs []job
	ids  []pawl.InsertResult
}

// batch moves jobs, in halves if the database refuses the data of one.
func (r *run) batch(ctx context.Context, ids []string) error {
	if r.options.DryRun {
		rows, err := r.take(ctx, r.pool, ids, false)
		if err != nil {
			return err
		}
		b, err := r.read(rows), error(nil)
		for i := range b.rows {
			if err = r.pretend(ctx, b.rows[i], &b.jobs[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if r.target != nil {
		return r.viaOutbox(ctx, ids)
	}
	var b *batch
	err := r.again(ctx, func() error {
		return pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			rows, err := r.take(ctx, tx, ids, true)
			if err != nil {
				return err
			}
			b = r.read(rows)
			if err := r.insert(ctx, tx, b); err != nil || len(b.rows) == 0 {
				return err
			}
			return r.remove(ctx, tx, b.rows)
		})
	})
	switch {
	case err == nil:
		r.done(b)
		return nil
	case !isData(err):
		return err
	case len(ids) > 1:
		if err := r.batch(ctx, ids[:len(ids)/2]); err != nil {
			return err
		}
		return r.batch(ctx, ids[len(ids)/2:])
	}
	r.refuse(ids[0], err)
	return nil
}

// take reads jobs that may still be imported, in the order of their ids as given.
func (r *run) take(ctx context.Context, db db, ids []string, lock bool) ([]*row, error) {
	texts, err := all[string](ctx, db, r.source.take(lock), r.options.Running, ids)
	if err != nil {
		return nil, err
	}
	return parse(texts, ids)
}

func parse(texts, ids []string) ([]*row, error) {
	place := make(map[string]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	rows := make([]*row, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &rows[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(rows, func(a, b *row) int { return place[a.ID] - place[b.ID] })
	return rows, nil
}

// read makes jobs of rows; those it cannot make are refused.
func (r *run) read(rows []*row) *batch {
	b := &batch{}
	for _, row := range rows {
		if r.refused[row.ID] {
			continue
		}
		queue, kind := row.Queue, row.Kind
		row.Kind = rename(r.options.RenameKinds, kind)
		j, err := r.source.read(row)
		row.Kind = kind
		if err == nil {
			j.spec.Queue = rename(r.options.RenameQueues, queue)
			if r.options.Backoff != (pawl.Backoff{}) {
				j.spec.Backoff = r.options.Backoff
			}
			err = r.check(&j.spec)
		}
		if err != nil {
			r.refuse(row.ID, err)
			continue
		}
		b.rows, b.jobs = append(b.rows, row), append(b.jobs, j)
	}
	return b
}

// check is what Pawl has against a job.
func (r *run) check(spec *pawl.JobSpec) error {
	err := r.client.Validate(*spec)
	if invalid, ok := errors.AsType[*pawl.InvalidError](err); ok {
		return fmt.Errorf("%s: %s", invalid.Field, invalid.Reason)
	}
	return err
}

// insert puts jobs into Pawl, in tx. Those whose unique key is taken are refused, and are not in the batch any more.
func (r *run) insert(ctx context.Context, tx pgx.Tx, b *batch) error {
	if len(b.jobs) == 0 {
		return nil
	}
	specs := make([]pawl.JobSpec, len(b.jobs))
	for i := range b.jobs {
		specs[i] = b.jobs[i].spec
	}
	results, err := r.client.With(tx).InsertMany(ctx, specs)
	if err != nil {
		return err
	}
	kept := &batch{}
	for i, result := range results {
		if result.Duplicate {
			r.taken(b.rows[i].ID, specs[i].Unique.Key)
			continue
		}
		kept.rows, kept.jobs = append(kept.rows, b.rows[i]), append(kept.jobs, b.jobs[i])
	}
	*b = *kept
	return nil
}

// remove deletes at the source what was inserted here.
func (r *run) remove(ctx context.Context, tx pgx.Tx, rows []*row) error {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	tag, err := tx.Exec(ctx, r.source.in(r.source.remove), pgx.QueryExecModeCacheDescribe, ids)
	if err == nil && tag.RowsAffected() != int64(len(ids)) {
		err = fmt.Errorf("deleted %d of %d jobs; does a policy or a trigger keep some? Nothing of the batch was moved", tag.RowsAffected(), len(ids))
	}
	return err
}

// done enters jobs that were moved into the report.
func (r *run) done(b *batch) {
	for i, row := range b.rows {
		r.report.moved(b.jobs[i].spec.Queue, b.jobs[i].spec.Kind())
		for _, what := range b.jobs[i].notes {
			say(&r.report.Changed, what, row.ID)
		}
	}
}

// pretend enters a job into the report of a dry run.
func (r *run) pretend(ctx context.Context, from *row, j *job) error {
	if u := j.spec.Unique; u.Key != "" {
		scope := pawl.Filter{UniqueKey: u.Key, Limit: 1, States: []pawlstate.State{pawlstate.Reserved, pawlstate.Waiting, pawlstate.Scheduled, pawlstate.Ready, pawlstate.Running}}
		key := "\x00" + u.Key
		if !u.Global {
			scope.Queue, key = j.spec.Queue, j.spec.Queue+key
		}
		n, err := r.in(r.client).Count(ctx, scope)
		if err != nil {
			return err
		}
		if n > 0 || r.keys[key] {
			r.taken(from.ID, u.Key)
			return nil
		}
		r.keys[key] = true
	}
	r.states[from.State]++
	r.done(&batch{rows: []*row{from}, jobs: []job{*j}})
	return nil
}

func (r *run) refuse(id string, err error) {
	if !r.refused[id] {
		r.refused[id] = true
		say(&r.report.Refused, err.Error(), id)
	}
}

func (r *run) taken(id, key string) {
	r.refuse(id, fmt.Errorf("its unique key %q is another job's", key))
}

// again does a transaction again that collided with others, or was over the client's rate of inserts.
func (r *run) again(ctx context.Context, do func() error) error {
	for try := 1; ; {
		err := do()
		wait := time.Duration(try) * 20 * time.Millisecond
		if over, ok := errors.AsType[*pawl.RateError](err); ok {
			wait = over.RetryAfter
		} else if refused, ok := errors.AsType[*pgconn.PgError](err); ok && try < 10 && (refused.Code == "40P01" || refused.Code == "40001") {
			try++
		} else {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isData says whether the database refused a job rather than the statement.
func isData(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(refused.Code, "22") || strings.HasPrefix(refused.Code, "23") || strings.HasPrefix(refused.Code, "54"))
}

// count enters what is left at the source.
func (r *run) count(ctx context.Context) error {
	rows, err := r.pool.Query(ctx, r.source.census(), pgx.QueryExecModeCacheDescribe, r.options.Queues, r.options.Kinds)
	if err != nil {
		return err
	}
	var l Left
	_, err = pgx.ForEachRow(rows, []any{&l.State, &l.Jobs}, func() error {
		if l.Jobs -= r.states[l.State]; l.Jobs > 0 {
			if l.Why = r.source.why[l.State]; l.Why == "" {
				l.Why = "refused, or beyond the limit, or locked by somebody, or inserted since"
			}
			r.report.Left = append(r.report.Left, l)
		}
		return nil
	})
	return err
}

func rename(names map[string]string, name string) string {
	if to, ok := names[name]; ok {
		return to
	}
	return name
}
