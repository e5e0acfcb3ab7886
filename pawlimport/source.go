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

// A source is a queue to import from. In its SQL the alias j stands for a job and "source." for the schema.
type source struct {
	name           string
	schema         string // If empty, find sets it to the schema in which the search path has table.
	table          string
	version        string // A query for the version of the schema. Null or no row: the version is unknown.
	oldest, newest int    // The versions that this package supports.
	known          string // The same in words.

	// These are SQL expressions over a job, unless said otherwise.

	from           string // The tables in the from clause.
	id             string // The type of j.id.
	urgency, since string // Jobs run in the order of urgency, since and id.
	created        string
	state          string
	queue, kind    string
	chosen         string // What Options.Queues are compared with, if that is not queue.
	live           string // Whether the job may be imported. $1 is Options.Running.
	unlocked       string // Whether no other session has what the job depends on. Used in the statement that locks jobs.
	row            string // The further fields of a row, as pairs for json_build_object.
	remove         string // A statement that deletes the jobs $1.

	why  map[string]string                       // why says for a state why its jobs are left.
	read func(r *row) (job, error)               // read turns a row into a job.
	also func(ctx context.Context, r *run) error // also imports or reports what is not a job.
}

// A row is a job as the source has it. Between two databases it is kept as JSON.
type row struct {
	ID          string
	State       string
	Queue       string
	Kind        string
	Args        *string // JSON as text, so that no digit is lost.
	RunAt       string
	CreatedAt   string
	Priority    int64
	Attempt     int // The number of attempts used.
	MaxAttempts int
	More        json.RawMessage // What only this source has.
}

// A job is what a row becomes in Pawl.
type job struct {
	spec  pawl.JobSpec
	notes []string // notes say what was not carried over as it was.
}

func (j *job) note(format string, args ...any) {
	j.notes = append(j.notes, fmt.Sprintf(format, args...))
}

// header keeps in a header what Pawl has no field for.
func (j *job) header(name, value string) { j.spec.Headers["import."+name] = value }

// begin returns the part of a job that all sources have in common.
func (s *source) begin(r *row) (j job, err error) {
	j.spec = pawl.JobSpec{
		Queue: r.Queue, Attempt: r.Attempt, MaxAttempts: r.MaxAttempts, Headers: map[string]string{},
	}
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
		j.note("most attempts: cut to 32767")
	}
	if r.Attempt > 32766 {
		j.spec.Attempt = 32766
		j.note("attempts used: cut to 32766")
	}
	return j, nil
}

// in replaces "source." in SQL with the name of the source's schema.
func (s *source) in(text string) string {
	return strings.ReplaceAll(text, "source.", pgx.Identifier{s.schema}.Sanitize()+".")
}

// list returns the query for a page of job ids, in the order in which the source's workers would run the jobs.
func (s *source) list() string {
	return s.in(`select j.id::text, ` + s.urgency + `, ` + s.since + `::text
		from ` + s.from + `
		where ` + s.live + ` and ` + s.created + ` <= $2::timestamptz and ` + s.choice(3, 4) + `
		  and ($5::bigint is null or (` + s.urgency + `, ` + s.since + `, j.id)
			> ($5::bigint, $6::text::timestamptz, $7::text::` + s.id + `))
		order by ` + s.urgency + `, ` + s.since + `, j.id
		limit $8::integer`)
}

// choice returns the condition for Options.Queues and Kinds, which are the parameters of these numbers.
func (s *source) choice(queues, kinds int) string {
	chosen := s.queue
	if s.chosen != "" {
		chosen = s.chosen
	}
	return fmt.Sprintf("($%[1]d::text[] is null or %[2]s = any ($%[1]d::text[])) and "+
		"($%[3]d::text[] is null or %[4]s = any ($%[3]d::text[]))", queues, chosen, kinds, s.kind)
}

// take returns the query for those jobs of a list of ids that can still be imported. With lock it locks them and leaves
// out jobs that another session has locked.
func (s *source) take(lock bool) string {
	text := `select json_build_object('ID', j.id::text, 'State', ` + s.state + `,
			'Queue', ` + s.queue + `, 'Kind', ` + s.kind + `, ` + s.row + `)::text
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

// census returns the query for the number of jobs in each state.
func (s *source) census() string {
	return s.in(`select ` + s.state + `, count(*) from ` + s.from + `
		where ` + s.choice(1, 2) + ` group by 1 order by 1`)
}

// find finds the source's schema and checks its version.
func (s *source) find(ctx context.Context, db db) (version int, err error) {
	if s.schema == "" {
		found, err := one[*string](ctx, db, `select n.nspname::text from (select to_regclass($1::text) as oid) t
			left join pg_class c on c.oid = t.oid left join pg_namespace n on n.oid = c.relnamespace`, s.table)
		if err != nil {
			return 0, err
		}
		if found == nil {
			return 0, fmt.Errorf("there is no table %s along the search path: connect to %s's database, "+
				"or give its schema (Options.Schema, --from-schema)", s.table, s.name)
		}
		s.schema = *found
	}
	name := s.in("source." + pgx.Identifier{s.table}.Sanitize())
	there, err := one[bool](ctx, db, "select to_regclass($1::text) is not null", name)
	if err == nil && !there {
		err = fmt.Errorf("there is no table %s.%s: connect to %s's database and give its schema "+
			"(Options.Schema, --from-schema); supported are %s", s.schema, s.table, s.name, s.known)
	}
	if err != nil {
		return 0, err
	}
	found, err := one[*int](ctx, db, s.in(s.version))
	refused, ok := errors.AsType[*pgconn.PgError](err)
	noTable, noVersion := ok && refused.Code == "42P01", err == nil && found == nil || errors.Is(err, pgx.ErrNoRows)
	if noTable || noVersion {
		return 0, fmt.Errorf("the version of %s's schema cannot be told: its migration table is missing or empty; "+
			"supported are %s", s.name, s.known)
	}
	if err != nil {
		return 0, err
	}
	if *found < s.oldest || *found > s.newest {
		remedy := "use a later Pawl"
		if *found < s.oldest {
			remedy = "migrate it first"
		}
		return *found, fmt.Errorf("the schema of %s is at version %d; supported are %s: %s",
			s.name, *found, s.known, remedy)
	}
	return *found, nil
}

// db is a pool or a transaction.
type db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// all returns the rows of a query of one column. It leaves no prepared statement behind, because a transaction pooler
// may give the next statement another connection.
func all[T any](ctx context.Context, db db, text string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, text, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// one returns the value of a query of one row and column.
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
