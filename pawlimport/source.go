package pawlimport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
)

// source is a queue to import from. In its SQL j is a job, and the schema is called source.
type source struct {
	name    string
	schema  string // If empty, the one in which the search path finds table.
	table   string
	version string // A query for the version of the schema; null or no row: it cannot be told.
	oldest  int    // The versions that this package knows,
	newest  int
	known   string // in words.

	from     string // j and what is joined with it.
	id       string // The type of j.id.
	urgency  string // An expression: a job with less goes first;
	since    string // of two alike, the one with the earlier time, then the lower id.
	created  string
	state    string
	queue    string
	chosen   string // What Options.Queues choose by, if that is not queue alone.
	kind     string
	live     string // A condition: it may be imported. $1: Options.Running.
	unlocked string // A condition on top of it, in the statement that locks: nobody has what the job depends on.
	row      string // What else a row has, as pairs of json_build_object.
	remove   string // Of the jobs $1.

	why  map[string]string // A state: why its jobs are left.
	read func(r *row) (job, error)
	also func(ctx context.Context, r *run) error // What else there is to import or to report.
}

// row is a job of the source as it is read, and as it is kept between two databases.
type row struct {
	ID          string
	State       string
	Queue       string
	Kind        string
	Args        *string // JSON, as text.
	RunAt       string
	CreatedAt   string
	Priority    int64
	Attempt     int // Used.
	MaxAttempts int
	More        json.RawMessage // What the source alone has.
}

// job is what a row becomes.
type job struct {
	spec  pawl.JobSpec
	notes []string // What is not as it was.
}

func (j *job) note(format string, args ...any) {
	j.notes = append(j.notes, fmt.Sprintf(format, args...))
}

// header keeps what Pawl has no place for.
func (j *job) header(name, value string) { j.spec.Headers["import."+name] = value }

// begin is what all sources' jobs have in common.
func (s *source) begin(r *row) (j job, err error) {
	j.spec = pawl.JobSpec{Queue: r.Queue, Attempt: r.Attempt, MaxAttempts: r.MaxAttempts, Headers: map[string]string{}}
	j.spec.Args = pawl.Raw(r.Kind, nil)
	if r.Args != nil {
		j.spec.Args = pawl.Raw(r.Kind, []byte(*r.Args))
	}
	if j.spec.RunAt, err = time.Parse(time.RFC3339Nano, r.RunAt); err != nil {
		return j, fmt.Errorf("its time is %s, which Pawl cannot store", r.RunAt)
	}
	j.header("from", s.name+"/"+r.ID)
	j.header("created_at", r.CreatedAt)
	if r.MaxAttempts > 32767 {
		j.spec.MaxAttempts = 32767
		j.note("most attempts: 32767, the most there are")
	}
	if r.Attempt > 32766 {
		j.spec.Attempt = 32766
		j.note("attempts used: 32766, the most there are")
	}
	return j, nil
}

// in writes the source's schema into SQL.
func (s *source) in(text string) string {
	return strings.ReplaceAll(text, "source.", pgx.Identifier{s.schema}.Sanitize()+".")
}

// list is the query for the ids of a page of jobs, in the order in which their own workers would take them.
func (s *source) list() string {
	return s.in(`select j.id::text, ` + s.urgency + `, ` + s.since + `::text
		from ` + s.from + `
		where ` + s.live + ` and ` + s.created + ` <= $2::timestamptz and ` + s.choice(3, 4) + `
		  and ($5::bigint is null or (` + s.urgency + `, ` + s.since + `, j.id) > ($5::bigint, $6::text::timestamptz, $7::text::` + s.id + `))
		order by ` + s.urgency + `, ` + s.since + `, j.id
		limit $8::integer`)
}

// choice is the condition of Options.Queues and Kinds.
func (s *source) choice(queues, kinds int) string {
	chosen := s.queue
	if s.chosen != "" {
		chosen = s.chosen
	}
	return fmt.Sprintf("($%d::text[] is null or %s = any ($%d::text[])) and ($%d::text[] is null or %s = any ($%d::text[]))",
		queues, chosen, queues, kinds, s.kind, kinds)
}

// take is the query for jobs by their ids, those that can be imported still. With lock nobody else has them until the transaction ends.
func (s *source) take(lock bool) string {
	text := `select json_build_object('ID', j.id::text, 'State', ` + s.state + `, 'Queue', ` + s.queue + `, 'Kind', ` + s.kind + `, ` + s.row + `)::text
		from ` + s.from + `
		where j.id = any ($2::text[]::` + s.id + `[]) and ` + s.live
	if lock {
		if s.unlocked != "" {
			text += " and " + s.unlocked
		}
		text += " for update of j skip locked"
	}
	return s.in(text)
}

// census is the query for how many jobs are in which state.
func (s *source) census() string {
	return s.in(`select ` + s.state + `, count(*) from ` + s.from + ` where ` + s.choice(1, 2) + ` group by 1 order by 1`)
}

// find looks for the schema and checks its version.
func (s *source) find(ctx context.Context, db db) (version int, err error) {
	if s.schema == "" {
		found, err := one[*string](ctx, db, `select n.nspname::text from (select to_regclass($1::text) as oid) t
			left join pg_class c on c.oid = t.oid left join pg_namespace n on n.oid = c.relnamespace`, s.table)
		if err != nil {
			return 0, err
		}
		if found == nil {
			return 0, fmt.Errorf("there is no table %s along the search path: is this %s's database? If it has a schema of its own, name that (Options.Schema, --from-schema)", s.table, s.name)
		}
		s.schema = *found
	}
	name := s.in("source." + pgx.Identifier{s.table}.Sanitize())
	there, err := one[bool](ctx, db, "select to_regclass($1::text) is not null", name)
	if err == nil && !there {
		err = fmt.Errorf("there is no table %s.%s: is this %s's database and schema (Options.Schema, --from-schema)? Known is %s", s.schema, s.table, s.name, s.known)
	}
	if err != nil {
		return 0, err
	}
	found, err := one[*int](ctx, db, s.in(s.version))
	if refused, ok := errors.AsType[*pgconn.PgError](err); (ok && refused.Code == "42P01") || (err == nil && found == nil) || errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("the version of %s's schema cannot be told: its table of migrations is not there, or is empty. Known is %s", s.name, s.known)
	}
	if err != nil {
		return 0, err
	}
	if *found < s.oldest || *found > s.newest {
		return *found, fmt.Errorf("the schema of %s is at version %d; known is %s. %s", s.name, *found, s.known,
			map[bool]string{true: "Migrate it first", false: "A later Pawl may know it"}[*found < s.oldest])
	}
	return *found, nil
}

// db is where statements run: a pool or a transaction.
type db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// all are the rows of a query of one column. No prepared statement outlives it: there may be a pooler in between.
func all[T any](ctx context.Context, db db, text string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, text, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// one is the value of a query of one row and column.
func one[T any](ctx context.Context, db db, text string, args ...any) (value T, err error) {
	list, err := all[T](ctx, db, text, args...)
	if err == nil && len(list) == 0 {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return value, err
	}
	return list[0], nil
}
