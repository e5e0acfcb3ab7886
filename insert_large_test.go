package pawl_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// recordStatements makes the database record how many jobs each statement inserts, and their size.
func recordStatements(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, "create table public.statement (jobs bigint, bytes bigint)")
	exec(t, pool, `create function public.record() returns trigger language plpgsql as $$
		begin
			insert into public.statement
			select count(*), sum(octet_length(n.args::text) + coalesce(octet_length(n.data), 0)) from new_rows n;
			return null;
		end $$`)
	exec(t, pool, `create trigger record after insert on pawl.job referencing new table as new_rows for each statement
		execute function public.record()`)
}

// refuse makes the database refuse jobs of the kind "refused" with a SQLSTATE.
func refuseInserts(t *testing.T, pool *pgxpool.Pool, state string) {
	t.Helper()
	exec(t, pool, fmt.Sprintf(`create function public.refuse() returns trigger language plpgsql as $$
		begin
			if new.kind = 'refused' then raise exception 'refused' using errcode = '%s'; end if;
			return new;
		end $$`, state))
	exec(t, pool, "create trigger refuse before insert on pawl.job for each row execute function public.refuse()")
}

// large returns n jobs with args of at least size bytes.
func large(n, size int) []pawl.JobSpec {
	jobs := make([]pawl.JobSpec, n)
	for i := range jobs {
		jobs[i].Args = pawl.Raw("note", fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", size)))
	}
	return jobs
}

// insertTogether calls Insert for all jobs. While a lock keeps the first two from the table, each in a statement of its
// own, the others wait, so that they share statements.
func insertTogether(t *testing.T, client *pawl.Client, pool *pgxpool.Pool, jobs []pawl.JobSpec) []error {
	t.Helper()
	tx := begin(t, pool)
	exec(t, tx, "lock table pawl.job in exclusive mode")
	errs := make([]error, len(jobs))
	var all sync.WaitGroup
	for i := range jobs {
		all.Go(func() { _, errs[i] = client.Insert(t.Context(), jobs[i]) })
		if i < 2 {
			awaitBlocked(t, pool, i+1)
		}
	}
	pgtest.Wait(t, "the inserts to share a statement", func() bool { return client.WaitingInserts() == len(jobs)-2 })
	commit(t, tx)
	all.Wait()
	return errs
}

// A statement of single inserts is bounded by bytes, so that no number of large jobs fails together.
func TestSharedInsertsAreBoundedByBytes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	recordStatements(t, pool)
	client.LimitStatements(50_000, 5000)
	for i, err := range insertTogether(t, client, pool, large(60, 8_000)) {
		if err != nil {
			t.Errorf("insert %d: %v", i, err)
		}
	}
	if most := value[int](t, pool, "select max(bytes) from public.statement"); most > 50_000 {
		t.Errorf("a statement inserted %d bytes", most)
	}
	if n := value[int](t, pool, "select sum(jobs) from public.statement"); n != 60 {
		t.Errorf("%d jobs, want 60", n)
	}
}

// Whatever the database has against a job, those that share its statement are inserted.
func TestTheInnocentOfASharedInsertAreInserted(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"22003", "23514", "54000", "53200", "P0001"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			refuseInserts(t, pool, state)
			jobs := large(40, 10)
			for _, i := range []int{0, 17, 39} {
				jobs[i].Args = pawl.Raw("refused", nil)
			}
			for i, err := range insertTogether(t, client, pool, jobs) {
				if bad := i == 0 || i == 17 || i == 39; (err != nil) != bad || bad && pg.SQLState(err) != state {
					t.Errorf("insert %d: %v", i, err)
				}
			}
			if n := liveRows(t, pool); n != 2*37 {
				t.Errorf("%d rows, want %d", n, 2*37)
			}
		})
	}
}

// onlyQueries is a handle of database/sql that can do nothing but run statements.
type onlyQueries struct{ db pawl.SQLDB }

func (o onlyQueries) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return o.db.ExecContext(ctx, query, args...)
}

func (o onlyQueries) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return o.db.QueryContext(ctx, query, args...)
}

// otherBegin is a wrapper of a pool that begins transactions of a type of its own, like bun's.
type otherBegin struct{ *sql.DB }

func (otherBegin) BeginTx(context.Context, *sql.TxOptions) (onlyQueries, error) {
	return onlyQueries{}, errors.New("never called")
}

// InsertMany of more than one statement takes is all or none, whatever handle the client has.
func TestInsertManySplits(t *testing.T) {
	t.Parallel()
	type handle struct {
		client func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (in *pawl.Client, commit func() error)
	}
	none := func() error { return nil }
	handles := map[string]handle{
		"pool": {func(_ *testing.T, client *pawl.Client, _ *pgxpool.Pool) (*pawl.Client, func() error) {
			return client, none
		}},
		"With pool": {func(_ *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
			return client.With(pool), none
		}},
		"With conn": {func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
			conn, err := pool.Acquire(t.Context())
			must(t, err)
			t.Cleanup(conn.Release)
			return client.With(conn), none
		}},
		"With conn that began": {
			func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
				conn, err := pool.Acquire(t.Context())
				must(t, err)
				t.Cleanup(conn.Release)
				exec(t, conn, "begin")
				return client.With(conn), func() error { _, err := conn.Exec(t.Context(), "commit"); return err }
			},
		},
		"With tx": {func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
			tx := begin(t, pool)
			return client.With(tx), func() error { return tx.Commit(t.Context()) }
		}},
		"WithSQL db": {func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
			db := stdlib.OpenDBFromPool(pool)
			t.Cleanup(func() { db.Close() })
			return client.WithSQL(db), none
		}},
		"WithSQL conn": {func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
			db := stdlib.OpenDBFromPool(pool)
			conn, err := db.Conn(t.Context())
			must(t, err)
			t.Cleanup(func() { conn.Close(); db.Close() })
			return client.WithSQL(conn), none
		}},
		"WithSQL tx": {func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
			tx := stdTx(t, pool)
			return client.WithSQL(tx), tx.Commit
		}},
		"WithSQL wrapped db": {func(
			t *testing.T,
			client *pawl.Client,
			pool *pgxpool.Pool,
		) (*pawl.Client, func() error) {
			db := stdlib.OpenDBFromPool(pool)
			t.Cleanup(func() { db.Close() })
			return client.WithSQL(otherBegin{db}), none
		}},
		"WithSQL wrapped tx": {
			func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (*pawl.Client, func() error) {
				tx := stdTx(t, pool)
				return client.WithSQL(onlyQueries{tx}), tx.Commit
			},
		},
	}
	for name, h := range handles {
		for _, constrained := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, constrained %t", name, constrained), func(t *testing.T) {
				t.Parallel()
				client, pool := install(t)
				client.LimitStatements(20_000, 7)
				refuseInserts(t, pool, "22003")
				jobs := large(30, 4_000)
				for i := range jobs {
					jobs[i].Data = []byte{byte(i), 0, '\\'}
					if constrained {
						jobs[i].Unique.Key = fmt.Sprint(i)
					}
				}
				in, commit := h.client(t, client, pool)
				results, err := in.InsertMany(t.Context(), jobs)
				must(t, err)
				must(t, commit())
				got := values[int](t, pool, "select (args ->> 'n')::int from pawl.job where data = "+
					`set_byte('\x00005c', 0, (args ->> 'n')::int) order by id`)
				if len(got) != 30 || !slices.IsSorted(got) || len(results) != 30 {
					t.Errorf("inserted %v", got)
				}
				for i, r := range results {
					if n := value[int](t, pool, "select (args ->> 'n')::int from pawl.job where id = $1", int64(r.ID)); n != i {
						t.Errorf("job %d has the id of %d", i, n)
					}
				}

				jobs = large(30, 4_000)
				jobs[29].Args = pawl.Raw("refused", nil)
				jobs[29].Unique.Key = "refused"
				in, _ = h.client(t, client, pool)
				if _, err := in.InsertMany(t.Context(), jobs); err == nil {
					t.Error("a job that the database refuses was inserted")
				}
				if n := value[int](t, pool, "select count(*) from pawl.job"); n != 30 {
					t.Errorf("%d jobs after an insert that failed, want 30", n)
				}
			})
		}
	}
}

// A handle that cannot begin a transaction, and is in none, gets an error before anything is inserted.
func TestInsertManyNeedsATransactionToSplit(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	client.LimitStatements(20_000, 7)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { db.Close() })
	in := client.WithSQL(onlyQueries{db})
	if _, err := in.InsertMany(t.Context(), large(30, 4_000)); !errors.Is(err, pg.ErrNoTx) {
		t.Errorf("got %v, want %v", err, pg.ErrNoTx)
	}
	if n := liveRows(t, pool); n != 0 {
		t.Errorf("%d rows", n)
	}
	if _, err := in.InsertMany(t.Context(), large(3, 400)); err != nil { // One statement.
		t.Error(err)
	}
}

// A split insert means what the whole means: unique keys within it, changes by duplicates, ordered channels,
// dependencies, reservations.
func TestASplitInsertMeansTheSame(t *testing.T) {
	t.Parallel()
	describe := func(rows int) (text string) {
		client, pool := install(t)
		if rows > 0 {
			client.LimitStatements(1000, rows)
		}
		parent := insert(t, client, pawl.JobSpec{Args: Note{100}, Delay: hour})
		insert(t, client, pawl.JobSpec{Args: Note{101}, Delay: hour, Unique: pawl.Unique{Key: "before"}})
		jobs := notes(20)
		for i := range jobs {
			jobs[i].Data = []byte{byte(i)}
			switch i % 5 {
			case 0:
				jobs[i].Unique = pawl.Unique{Key: fmt.Sprint("k", i%10), Replace: true}
			case 1:
				jobs[i].Ordered, jobs[i].Channel = true, fmt.Sprint("c", i%2)
			case 2:
				jobs[i].AfterOK = []pawl.ID{parent}
			case 3:
				jobs[i].Reserve = hour
				jobs[i].Unique = pawl.Unique{Key: fmt.Sprint("s", i%2), UntilStart: true}
			}
		}
		jobs[19].Unique = pawl.Unique{Key: "before", Replace: true, Reschedule: true}
		jobs[19].Delay = 2 * hour
		batch, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: jobs})
		must(t, err)
		b, err := client.GetBatch(t.Context(), batch)
		must(t, err)
		lines := values[string](t, pool, `
			select format('%s %s %s key %s, ordered %s, blocked %s, ready %s, scheduled %s, dependencies %s, due %s',
				j.kind, j.args, j.data, u.key, o.channel, (b.job_id is not null)::text, (r.job_id is not null)::text,
				(s.job_id is not null)::text, (select count(*) from pawl.dependency d where d.child_id = j.id),
				round(extract(epoch from j.run_at - j.created_at) / 3600))
			from pawl.job j left join pawl.unique_key u on u.job_id = j.id left join pawl.ordered_job o on o.job_id = j.id
			left join pawl.blocked b on b.job_id = j.id left join pawl.ready r on r.job_id = j.id
			left join pawl.scheduled s on s.job_id = j.id order by j.id`)
		return fmt.Sprint(b.Total, " jobs\n", strings.Join(lines, "\n"))
	}
	whole := describe(0)
	for _, rows := range []int{1, 3, 7} {
		if split := describe(rows); split != whole {
			t.Errorf("in parts of %d:\n%s\nwant:\n%s", rows, split, whole)
		}
	}
}

// Jobs of COPY and of several statements commit together, so that a reader sees all or none.
func TestInvalidLargeJobsAreRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) { c.MaxArgsBytes = 100 })
	tx := begin(t, pool)
	in := client.With(tx)
	for field, job := range map[string]pawl.JobSpec{
		"Args":    {Args: pawl.Raw("note", []byte(`"`+strings.Repeat("x", 100)+`"`))},
		"Data":    {Args: Note{1}, Data: make([]byte, 101)},
		"Headers": {Args: Note{1}, Headers: map[string]string{"a": strings.Repeat("x", 100)}},
	} {
		if _, err := in.InsertMany(t.Context(), []pawl.JobSpec{{Args: Note{1}}, job}); !isInvalid(err, field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	insert(t, in, Note{1}) // The transaction has not failed.
	if _, err := pawl.New(pool, pawl.Config{MaxArgsBytes: 1 << 30}); err == nil ||
		!strings.Contains(err.Error(), "MaxArgsBytes") {
		t.Errorf("MaxArgsBytes of 1 GiB: %v", err)
	}
}

// What JSON takes as jsonb is known before it is sent.
func TestJSONBSize(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	for _, text := range []string{
		"1", `"x"`, "[]", "{}", "[[],[],{}]", "[1,2,3,4.5,-6,12345678901234567890]",
		`{"a":1,"b":[true,false,null],"c":"ü\u00fc"}`,
		"[" + strings.Repeat("1,", 999) + "1]", "[" + strings.Repeat(`"",`, 999) + `""]`,
		"[" + strings.Repeat(`{"a":0.125,"bc":"def"}, `, 999) + "{}]",
		"[" + strings.Repeat(`[], `, 999) + "[]]",
		`{"pad":"` + strings.Repeat("x", 10_000) + `"}`,
	} {
		got, want := pawl.JSONBSize(
			[]byte(text),
		), value[int](
			t,
			pool,
			"select pg_column_size($1::text::jsonb) - 4",
			text,
		)
		if got < want-want/50-16 || got > want+want/50+16 {
			t.Errorf("%.40s: %d bytes, want about %d", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"[" + strings.Repeat("0,", 100) + "0]":      "elements",
		"{" + strings.Repeat(`"":0,`, 50) + `"":0}`: "members",
		`{"a":"` + strings.Repeat("x", 1999) + `"}`: "bytes as",
		"[" + strings.Repeat("0,", 99) + "0]":       "",
		"{" + strings.Repeat(`"":0,`, 49) + `"":0}`: "",
		`{"a":"` + strings.Repeat("x", 1980) + `"}`: "",
	} {
		reason := pawl.RefuseStorable([]byte(text), 2000, 100, 50)
		if (want == "") != (reason == "") || !strings.Contains(reason, want) {
			t.Errorf("%.20s: %q, want %q", text, reason, want)
		}
	}
}

// Args and data that a change cannot hold are refused by Update, and by an insert that may become a change.
func TestALargeChangeIsRefused(t *testing.T) {
	t.Parallel()
	client, _ := install(t, func(c *pawl.Config) { c.MaxArgsBytes = 200 << 20 })
	data := make([]byte, 200<<20)
	_, err := client.Update(t.Context(), pawl.ID(1), pawl.JobUpdate{Data: data})
	if !isInvalid(err, "Args") {
		t.Errorf("Update: %v", err)
	}
	spec := pawl.JobSpec{Args: Note{1}, Data: data, Unique: pawl.Unique{Key: "k"}}
	if err := client.Validate(spec); err != nil {
		t.Error(err)
	}
	spec.Unique.Replace = true
	if err := client.Validate(spec); !isInvalid(err, "Args") {
		t.Errorf("Replace: %v", err)
	}
}

// The callbacks of a batch become one value of jsonb when it finishes: one that is too large is refused at once.
func TestALargeCallbackIsRefused(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) { c.MaxArgsBytes = 128 << 20 })
	callback := &pawl.JobSpec{Args: pawl.Raw("note", nil), Data: make([]byte, 100<<20)}
	_, err := client.InsertBatch(context.Background(), pawl.BatchSpec{Jobs: notes(1), OnFinish: callback})
	if err == nil || !strings.Contains(err.Error(), "OnFinish: with its args and data it takes") {
		t.Errorf("got %v", err)
	}
	if n := liveRows(t, pool); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// A split of jobs keeps its order and its bounds.
func TestArgsAreReadOnce(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`{"a":1}`: 7, `1e3`: 4, `[1e10, 0.5e-3]`: 11 + 5 + 4, `"1e9"`: 5, `"\"1e9"`: 7, `-1E+2`: 3,
	} {
		size, reason := pawl.RefuseJSON([]byte(text))
		if reason != "" || size < len(text) || size > max(want, len(text))+1 {
			t.Errorf("%s: %d bytes (%s), want about %d", text, size, reason, want)
		}
		if !json.Valid([]byte(text)) {
			t.Error(text)
		}
	}
}

// SQL inserts an array in parts, and keeps its order and meaning.
func TestSQLInsertManyOfManyJobs(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	got := value[string](t, pool, `
		select format('%s rows, %s ids, %s in order, duplicates %s', count(*), count(distinct r.id),
			count(*) filter (where j.args = to_jsonb(r.ord)), array_agg(r.ord) filter (where r.duplicate))
		from pawl.insert_many((
			select jsonb_agg(jsonb_build_object('kind', 'note', 'args', i,
				'opts', case when i in (1, 20001) then '{"unique": {"key": "k"}}'::jsonb else '{}' end) order by i)
			from generate_series(1, 20001) i)) with ordinality r (id, duplicate, ord)
		left join pawl.job j on j.id = r.id`)
	_ = got
	n := value[string](t, pool, `select format('%s jobs, %s keys, args from %s to %s in order: %s', count(*),
		count(unique_key), min(args::int), max(args::int), bool_and(args::int = ord))
		from (select *, row_number() over (order by id) as ord from pawl.job) j`)
	if want := "20000 jobs, 1 keys, args from 1 to 20000 in order: t"; n != want {
		t.Errorf("%s, want %s", n, want)
	}
	if want := "20001 rows, 20000 ids, "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "{20001}") {
		t.Errorf("%s, want %s… {20001}", got, want)
	}
}

// Every column that may be large is compressed by lz4, also in partitions, if the server has lz4.
func TestLargeColumnsAreCompressed(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.MakePartitions(t.Context()))
	want := ""
	if value[bool](t, pool, "select 'lz4' = any (enumvals) from pg_settings where name = 'default_toast_compression'") {
		want = "l"
	}
	columns := values[string](
		t,
		pool,
		`select format('%s.%s=%s', c.oid::regclass, a.attname, trim(a.attcompression::text))
		from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		where c.relnamespace = 'pawl'::regnamespace and c.relkind in ('r', 'p')
			and a.atttypid in ('jsonb'::regtype, 'bytea'::regtype, 'jsonb[]'::regtype, 'bytea[]'::regtype)`,
	)
	if len(columns) < 20 {
		t.Errorf("there are only %v", columns)
	}
	for _, c := range columns {
		if !strings.HasSuffix(c, "="+want) {
			t.Errorf("%s, want %q", c, want)
		}
	}
	id := insert(t, client, large(1, 100_000)[0])
	if got := value[int](t, pool, "select pg_column_size(args) from pawl.job where id = $1", int64(id)); got > 10_000 {
		t.Errorf("100 kB of one letter take %d bytes", got)
	}
}
