package pawlimport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// Options configure an import. The zero value imports all live jobs.
type Options struct {
	// DryRun reads only: it writes nothing and locks nothing. The Report is what an import would do now.
	DryRun bool

	// Schema is the schema of the other queue's tables. It defaults to pgboss for pg-boss and to graphile_worker for
	// Graphile Worker. River's tables are looked for along the search path.
	Schema string

	// Queues and Kinds limit the import to these queues and kinds, by their names in the other queue. If nil, there is
	// no limit.
	Queues, Kinds []string

	// RenameQueues and RenameKinds map names in the other queue to names in Pawl. A name that is not in the map stays.
	RenameQueues, RenameKinds map[string]string

	// Limit is the number of jobs to import at most. If zero, there is no limit.
	Limit int64

	// Batch is the number of jobs in one transaction. It defaults to 1000.
	Batch int

	// Running also imports jobs that are running in the other queue. Use it only when none of its workers is live:
	// otherwise jobs run twice.
	Running bool

	// Schedules turns the other queue's schedules into crons. Only pg-boss has schedules in the database.
	Schedules bool

	// Backoff is the backoff of the imported jobs. If zero, they keep the other queue's backoff if its database has one.
	Backoff pawl.Backoff

	// Progress, if not nil, is called after each transaction with the number of jobs imported so far.
	Progress func(imported int64)
}

// A run is one import.
type run struct {
	pool    *pgxpool.Pool // pool is connected to the source's database.
	target  *pgxpool.Pool // target is connected to Pawl's database; it is nil if that is the source's database.
	client  *pawl.Client
	source  *source
	options Options
	report  Report
	started time.Time // started is the start of the import, by the source's clock.

	refused map[string]bool  // refused holds the ids of jobs that the report has as refused.
	keys    map[string]bool  // keys holds the unique keys that a dry run has seen.
	states  map[string]int64 // states counts the jobs by state that a dry run would have imported.
}

func start(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, s *source, options Options) (Report, error) {
	r := &run{
		pool: pool, client: client, source: s, options: options,
		refused: map[string]bool{}, keys: map[string]bool{}, states: map[string]int64{},
	}
	r.report = Report{Source: s.name, DryRun: options.DryRun}
	err := r.run(ctx)
	r.report.finish()
	if err != nil {
		err = fmt.Errorf("pawlimport: import from %s: %w", s.name, err)
	}
	return r.report, err
}

func (r *run) run(ctx context.Context) error {
	if err := r.open(ctx); err != nil {
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
		// Jobs that were locked, or that ran and failed meanwhile, can be imported in the next pass.
		if r.options.DryRun || r.report.Imported == before || r.left() == 0 {
			return r.countLeft(ctx)
		}
	}
}

// open sets defaults and looks at both databases, so that problems are found before a job is moved.
func (r *run) open(ctx context.Context) (err error) {
	if r.options.Limit < 0 || r.options.Batch < 0 {
		return errors.New("field Limit or Batch of Options is negative: want 0 or more")
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
	if err := r.findTarget(ctx); err != nil {
		return err
	}
	_, err = r.in(r.client).Count(ctx, pawl.Filter{
		Fingerprint: "pawlimport", Limit: 1, States: []pawlstate.State{pawlstate.Ready},
	})
	missing := []string{"3F000", "42P01", "42883"} // A schema, a table, a function.
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && slices.Contains(missing, refused.Code) {
		return fmt.Errorf("pawl database: %w: %w", &pawl.SchemaError{}, err)
	}
	return err
}

// in returns the client that inserts jobs. If there is one database, it uses the source's pool, whatever the client's
// own pool is.
func (r *run) in(client *pawl.Client) *pawl.Client {
	if r.target == nil {
		return client.With(r.pool)
	}
	return client
}

// findTarget sets r.target if Pawl is in another database. It takes an advisory lock at the source and looks for it
// from Pawl's pool: a server shows the lock only in the same database.
func (r *run) findTarget(ctx context.Context) error {
	target := r.client.Pool()
	if target == nil || target == r.pool {
		return nil
	}
	key := rand.Int64()
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := all[string](ctx, tx, "select pg_advisory_xact_lock($1::bigint)::text", key); err != nil {
			return err
		}
		same, err := one[bool](ctx, target, `select exists (select from pg_locks l
			where l.locktype = 'advisory' and l.objsubid = 1
			and l.classid = ($1::bigint >> 32)::bit(32)::bigint::oid and l.objid = ($1::bigint & 4294967295)::oid
			and l.database = (select d.oid from pg_database d where d.datname = current_database()))`, key)
		if err == nil && !same {
			r.target = target
		}
		return err
	})
}

// left returns how many jobs the next batch may have.
func (r *run) left() int {
	if r.options.Limit == 0 {
		return r.options.Batch
	}
	return int(min(r.options.Limit-r.report.Imported, int64(r.options.Batch)))
}

// pageSize is the number of ids in memory. It is large because the source sorts all its jobs for each page.
const pageSize = 100_000

// pass imports the jobs that were there when the import began, once.
func (r *run) pass(ctx context.Context) error {
	var urgency *int64
	var since, id *string
	for {
		var ids []string
		rows, err := r.pool.Query(ctx, r.source.list(), pgx.QueryExecModeCacheDescribe, r.options.Running,
			r.started, r.options.Queues, r.options.Kinds, urgency, since, id, pageSize)
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

// A batch is a number of jobs that are moved together.
type batch struct {
	rows []*row
	jobs []job // jobs[i] was made from rows[i].
}

// batch moves jobs. If the database refuses the data of a job, it moves them in halves until that job is alone.
func (r *run) batch(ctx context.Context, ids []string) error {
	switch {
	case r.options.DryRun:
		return r.pretendBatch(ctx, ids)
	case r.target != nil:
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

// take reads those of the jobs that can still be imported, in the order of ids.
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

// read turns rows into jobs. It refuses rows that Pawl does not accept.
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

// check returns why Pawl does not accept a job.
func (r *run) check(spec *pawl.JobSpec) error {
	err := r.client.Validate(*spec)
	if invalid, ok := errors.AsType[*pawl.InvalidError](err); ok {
		return fmt.Errorf("%s: %s", invalid.Field, invalid.Reason)
	}
	return err
}

// insert inserts a batch into Pawl in tx. It refuses jobs whose unique key another job has and removes them from the
// batch.
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

// remove deletes jobs at the source.
func (r *run) remove(ctx context.Context, tx pgx.Tx, rows []*row) error {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	tag, err := tx.Exec(ctx, r.source.in(r.source.remove), pgx.QueryExecModeCacheDescribe, ids)
	if err == nil && tag.RowsAffected() != int64(len(ids)) {
		err = fmt.Errorf("deleted %d of %d jobs; the batch was not moved: "+
			"look for a row level security policy or a trigger that keeps rows", tag.RowsAffected(), len(ids))
	}
	return err
}

// done adds moved jobs to the report.
func (r *run) done(b *batch) {
	for i, row := range b.rows {
		r.report.moved(b.jobs[i].spec.Queue, b.jobs[i].spec.Kind())
		for _, what := range b.jobs[i].notes {
			say(&r.report.Changed, what, row.ID)
		}
	}
}

// pretendBatch adds jobs to the report of a dry run.
func (r *run) pretendBatch(ctx context.Context, ids []string) error {
	rows, err := r.take(ctx, r.pool, ids, false)
	if err != nil {
		return err
	}
	b := r.read(rows)
	for i := range b.rows {
		if err := r.pretend(ctx, b.rows[i], &b.jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

// pretend adds a job to the report of a dry run.
func (r *run) pretend(ctx context.Context, from *row, j *job) error {
	if u := j.spec.Unique; u.Key != "" {
		scope := pawl.Filter{UniqueKey: u.Key, Limit: 1, States: pawlstate.Live()}
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

// again runs a transaction, and runs it again if it collided with others or exceeded the client's InsertRate.
func (r *run) again(ctx context.Context, do func() error) error {
	for try := 1; ; {
		err := do()
		wait := time.Duration(try) * 20 * time.Millisecond
		if over, ok := errors.AsType[*pawl.RateError](err); ok {
			wait = over.RetryAfter
		} else if try < 10 && isCollision(err) {
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

// isCollision reports whether a transaction failed because of a deadlock or a serialization failure.
func isCollision(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (refused.Code == "40P01" || refused.Code == "40001")
}

// isData reports whether the database refused the data of a job, so that other jobs may pass.
func isData(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"22", "23", "54"}, refused.Code[:2])
}

// countLeft adds to the report the jobs that are left at the source.
func (r *run) countLeft(ctx context.Context) error {
	rows, err := r.pool.Query(ctx, r.source.census(), pgx.QueryExecModeCacheDescribe, r.options.Queues, r.options.Kinds)
	if err != nil {
		return err
	}
	var l Left
	_, err = pgx.ForEachRow(rows, []any{&l.State, &l.Jobs}, func() error {
		if l.Jobs -= r.states[l.State]; l.Jobs > 0 {
			if l.Why = r.source.why[l.State]; l.Why == "" {
				l.Why = "refused, or above the limit, or locked by another session, or inserted since the import began"
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
