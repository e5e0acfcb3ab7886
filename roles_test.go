package pawl_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pawlhq/pawl"
	migrator "github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
	pawlsql "github.com/pawlhq/pawl/sql"
)

var kinds = []string{"producer", "worker", "reader", "admin"}

// realm is a database with roles. They are the server's, so its schema has a name of its own, and they go after it.
type realm struct {
	t      testing.TB
	url    string
	schema string
	client *pawl.Client // The owner's,
	pool   *pgxpool.Pool
}

func newRealm(t testing.TB) *realm {
	t.Helper()
	keeper := pgtest.Empty(t)
	t.Cleanup(func() { // After the database is gone, and before the keeper's.
		conn, err := pgx.Connect(context.Background(), keeper)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), fmt.Sprintf(`do $$ declare r name; begin
			for r in select rolname from pg_roles where starts_with(rolname, '%s_') loop execute format('drop role %%I', r); end loop; end $$`, realmName(keeper))); err != nil {
			t.Error(err)
		}
	})
	r := &realm{t: t, url: pgtest.Empty(t), schema: realmName(keeper)}
	r.pool = pgtest.Pool(t, r.url, func(c *pgxpool.Config) { c.MaxConns = 4 })
	r.client = r.of(r.pool)
	return r
}

var lastOfURL = regexp.MustCompile(`pawl_test_\w+`)

func realmName(url string) string { return "realm_" + lastOfURL.FindString(url) }

func (r *realm) of(pool *pgxpool.Pool) *pawl.Client {
	r.t.Helper()
	config := pawl.Config{Schema: r.schema, Logger: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if pgtest.Pooled() { // As the option listens has it, and as the pool's role.
		direct, err := url.Parse(pgtest.Direct(r.t, r.url))
		must(r.t, err)
		query := direct.Query()
		query.Set("user", pool.Config().ConnConfig.User)
		direct.RawQuery = query.Encode()
		config.ListenURL = direct.String()
	}
	client, err := pawl.New(pool, config)
	must(r.t, err)
	return client
}

// installed is a realm with roles and a login for each, and for one that has none.
func installed(t testing.TB) *realm {
	t.Helper()
	r := newRealm(t)
	must(t, r.client.Migrate(t.Context()))
	must(t, r.client.CreateRoles(t.Context()))
	for _, kind := range kinds {
		exec(t, r.pool, fmt.Sprintf("create role %s_user_%[2]s login; grant %[1]s_%[2]s to %[1]s_user_%[2]s", r.schema, kind))
	}
	exec(t, r.pool, fmt.Sprintf("create role %s_user_nobody login", r.schema))
	return r
}

// as is a client of a login.
func (r *realm) as(kind string) (*pawl.Client, *pgxpool.Pool) {
	r.t.Helper()
	pool := pgtest.Pool(r.t, r.url, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.User = 4, r.schema+"_user_"+kind })
	return r.of(pool), pool
}

// in writes the schema's name into SQL.
func (r *realm) in(text string) string { return strings.ReplaceAll(text, "pawl.", r.schema+".") }

// refused fails the test unless the server said that this is not allowed.
func refused(t testing.TB, what string, err error) {
	t.Helper()
	if denied, ok := errors.AsType[*pgconn.PgError](err); !ok || denied.Code != "42501" {
		t.Errorf("%s: got %v, want it refused", what, err)
	}
}

// tellAll says to a client what may be said to one, and returns what came of it, by who may say it.
func tellAll(ctx context.Context, c *pawl.Client, id pawl.ID) map[string]map[string]error {
	_, get := c.Get(ctx, id)
	_, list := c.List(ctx, pawl.Filter{})
	_, count := c.Count(ctx, pawl.Filter{})
	_, stats := c.Stats(ctx)
	_, channels := c.Channels(ctx, "default")
	_, queues := c.Queues(ctx)
	_, workers := c.Workers(ctx)
	_, crons := c.Crons(ctx)
	findings, verify := c.Verify(ctx)
	if slices.ContainsFunc(findings, func(f pawl.Finding) bool { return f.Check == "privilege" }) {
		verify = &pgconn.PgError{Code: "42501"} // It says so instead of failing.
	}
	_, batch := c.GetBatch(ctx, 1)
	_, claim := c.Claim(ctx, "nothing here", 1, 0)
	_, cancel := c.Cancel(ctx, id)
	_, retry := c.Retry(ctx, id)
	_, update := c.Update(ctx, id, pawl.JobUpdate{Delay: time.Hour})
	_, remove := c.Delete(ctx, id)
	_, purge := c.PurgeQueue(ctx, "default")
	_, forget := c.PurgeWorkers(ctx, time.Hour)
	_, release := c.ReleaseWorker(ctx, 1)
	_, insert := c.Insert(ctx, pawl.JobSpec{Args: Note{1}, Queue: "verbs", Delay: time.Hour})
	_, many := c.InsertMany(ctx, []pawl.JobSpec{{Args: Note{1}, Queue: "verbs", Delay: time.Hour, Unique: pawl.Unique{Key: "verbs"}}})
	return map[string]map[string]error{
		"producer": {"Insert": insert, "InsertMany": many, "Commit": c.CommitReserved(ctx, id), "Abort": c.AbortReserved(ctx, id)},
		"worker":   {"Claim": claim},
		"reader": {"Get": get, "List": list, "Count": count, "Stats": stats, "Channels": channels, "Queues": queues, "Workers": workers, "Crons": crons,
			"Verify": verify, "Batch": batch},
		"admin": {"Cancel": cancel, "Retry": retry, "Update": update, "Delete": remove, "PurgeQueue": purge, "PurgeWorkers": forget, "ReleaseWorker": release,
			"PutQueue": c.PutQueue(ctx, pawl.Queue{Name: "default"}), "PauseQueue": c.PauseQueue(ctx, "default"), "DeleteQueue": c.DeleteQueue(ctx, "default"),
			"PutCron": c.PutCron(ctx, hourly("hourly")), "PauseCron": c.PauseCron(ctx, "hourly"), "DeleteCron": c.DeleteCron(ctx, "hourly"),
			"SuspendWorker": c.SuspendWorker(ctx, 1), "ResumeChannel": c.ResumeChannel(ctx, "default", "")},
		"owner": {"Migrate": c.Migrate(ctx), "Uninstall": c.Uninstall(ctx)},
	}
}

// Each role is refused every verb that is not its, and none that is.
func TestRolesAndVerbs(t *testing.T) {
	t.Parallel()
	r := installed(t)
	can := map[string][]string{"producer": {"producer"}, "worker": {"producer", "worker"}, "reader": {"reader"}, "admin": {"producer", "worker", "reader", "admin"}}
	for _, kind := range append(slices.Clone(kinds), "nobody") {
		result, err := r.client.Insert(t.Context(), Note{1})
		must(t, err)
		client, _ := r.as(kind)
		for who, said := range tellAll(t.Context(), client, result.ID) {
			for verb, err := range said {
				denied, _ := errors.AsType[*pgconn.PgError](err)
				switch allowed := slices.Contains(can[kind], who); {
				case allowed && denied != nil && denied.Code == "42501":
					t.Errorf("%s: %s: %v", kind, verb, err)
				case !allowed:
					refused(t, kind+": "+verb, err)
				}
			}
		}
	}
	if _, err := r.client.Stats(t.Context()); err != nil {
		t.Errorf("what is left: %v", err)
	}
}

// A producer's whole work, by Go and by SQL.
func TestAProducerProduces(t *testing.T) {
	t.Parallel()
	r := installed(t)
	exec(t, r.pool, fmt.Sprintf("grant create on schema public to %s_user_producer", r.schema))
	client, pool := r.as("producer")
	ctx := t.Context()
	insert(t, client, Note{1})
	parent := insert(t, client, pawl.JobSpec{Args: Note{2}, Queue: "mail", Delay: time.Hour})
	must(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := client.With(tx).Insert(ctx, Note{3})
		return err
	}))
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{})
	must(t, err)
	_, err = client.WithSQL(tx).Insert(ctx, Note{4})
	must(t, err)
	must(t, tx.Commit())
	few, err := client.InsertMany(ctx, notes(10))
	must(t, err)
	many, err := client.InsertMany(ctx, notes(4500)) // Not by COPY.
	must(t, err)
	if len(few) != 10 || len(many) != 4500 || many[0].ID == many[4499].ID {
		t.Errorf("%d and %d results", len(few), len(many))
	}
	bad := notes(3000)
	bad[2999].Args = pawl.Raw("note", []byte(`"\u0000"`))
	if _, err := client.InsertMany(ctx, bad); err == nil {
		t.Error("a zero byte was accepted")
	}
	unique := pawl.JobSpec{Args: Note{5}, Unique: pawl.Unique{Key: "once", Replace: true}}
	insert(t, client, unique)
	if again, err := client.Insert(ctx, unique); err != nil || !again.Duplicate {
		t.Errorf("a duplicate: %+v, %v", again, err)
	}
	insert(t, client, pawl.JobSpec{Args: Note{6}, Ordered: true, Channel: "line"})
	insert(t, client, pawl.JobSpec{Args: Note{7}, AfterOK: []pawl.ID{parent}})
	one := insert(t, client, pawl.JobSpec{Args: Note{8}, Reserve: time.Minute})
	other := insert(t, client, pawl.JobSpec{Args: Note{9}, Reserve: time.Minute})
	must(t, client.ExtendReserved(ctx, time.Hour, one, other))
	must(t, client.CommitReserved(ctx, one))
	must(t, client.AbortReserved(ctx, other))
	if err := client.AbortReserved(ctx, other); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("aborted twice: %v", err)
	}
	if err := client.AbortReserved(ctx, parent); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("aborted a job that is not reserved: %v", err)
	}
	for _, batch := range []pawl.BatchSpec{{Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{10}}}, {OnFinish: &pawl.JobSpec{Args: Note{11}}}} {
		_, err = client.InsertBatch(ctx, batch)
		must(t, err)
	}
	_, err = client.InsertSaga(ctx, pawl.JobSpec{Args: Note{12}, Undo: &pawl.JobSpec{Args: Note{13}}}, pawl.JobSpec{Args: Note{14}})
	must(t, err)
	for _, text := range []string{
		"select pawl.insert('note', '{\"n\": 15}')",
		"select * from pawl.insert_many('[{\"kind\": \"note\"}]')",
		`create table users (id integer);
		 create function welcome() returns trigger language plpgsql as $$ begin perform pawl.insert('note', jsonb_build_object('n', new.id)); return new; end $$;
		 create trigger welcome after insert on users for each row execute function welcome();
		 insert into users values (16)`,
	} {
		exec(t, pool, r.in(text))
	}
	if n := value[int](t, r.pool, r.in("select count(*) from pawl.job")); n != 4+10+4500+1+1+1+1+(3+1)+3+3 {
		t.Errorf("%d jobs", n)
	}
	check(t, r.client)
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, r.in("select args from pawl.job")); return err })
	refused(t, "reading args", err)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	refused(t, "Run", client.Run(ctx, mux, pawl.RunnerConfig{}))

	// A loader that is trusted with the tables copies.
	exec(t, r.pool, r.in(fmt.Sprintf("grant insert on pawl.job, pawl.ready, pawl.scheduled to %[1]s_user_producer; grant execute on function pawl.wake, pawl.sleep_key, pawl.lock_is_free to %[1]s_user_producer", r.schema)))
	calls := &callCounter{}
	loader := r.of(pgtest.Pool(t, r.url, func(c *pgxpool.Config) {
		c.ConnConfig.User, c.ConnConfig.Tracer = r.schema+"_user_producer", calls
	}))
	_, err = loader.InsertMany(ctx, notes(2000))
	must(t, err)
	if n := calls.Load(); n != 0 {
		t.Errorf("insert was called %d times, want COPY", n)
	}
	check(t, r.client)
}

// callCounter is a tracer that counts calls of insert.
type callCounter struct{ atomic.Int32 }

func (c *callCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "insert(") {
		c.Add(1)
	}
	return ctx
}
func (c *callCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A worker's whole work: Run with retries, rescue, cron, retention, limits, order and all that handlers do; consumers by Go and by SQL.
func TestAWorkerWorks(t *testing.T) {
	t.Parallel()
	r := installed(t)
	ctx := t.Context()
	client, pool := r.as("worker")
	must(t, r.client.PutQueue(ctx, pawl.Queue{Name: "limited", MaxRunning: 1, Rate: pawl.Rate{N: 1000}}))
	must(t, r.client.PutCron(ctx, pawl.Cron{Name: "tick", Spec: "@every 1h", Job: pawl.JobSpec{Args: Note{100}}}))
	exec(t, r.pool, r.in(`update pawl.cron set next_at = clock_timestamp();
		create table pawl.archive_20200229 (like pawl.archive including defaults including indexes);
		alter table pawl.archive attach partition pawl.archive_20200229 for values from ('2020-02-29 00:00:00+00') to ('2020-03-01 00:00:00+00');
		insert into pawl.dead (id, finished_at, expires_at, created_at, epoch, priority, attempt, crashes, reason, queue, channel, kind)
		values (1000000, now(), now() - interval '1 second', now(), 1, 0, 1, 0, 'attempts', 'default', '', 'note')`))
	future := value[string](t, r.pool, "select max(c.relname::text) from pg_class c where c.relnamespace = $1::text::regnamespace and c.relname ~ '^archive_2' and c.relkind = 'r'", r.schema)
	exec(t, r.pool, r.in("drop table pawl."+future))

	insert(t, r.client, Note{1})
	lost, err := r.client.Claim(ctx, "default", 1, time.Hour) // By somebody who is gone.
	must(t, err)
	exec(t, r.pool, r.in("update pawl.lease set expires_at = clock_timestamp()"))
	for n := 2; n < 8; n++ {
		insert(t, r.client, Note{n})
	}
	insert(t, r.client, pawl.JobSpec{Args: Note{8}, Queue: "limited"})
	insert(t, r.client, pawl.JobSpec{Args: Note{9}, Queue: "limited"})
	insert(t, r.client, pawl.JobSpec{Args: Note{10}, Ordered: true, Channel: "line"})
	insert(t, r.client, pawl.JobSpec{Args: Note{11}, Ordered: true, Channel: "line"})
	insert(t, r.client, pawl.JobSpec{Args: Note{12}, Unique: pawl.Unique{Key: "once"}, Delay: 100 * time.Millisecond})

	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		if _, err := pawl.Step(ctx, "step", func(context.Context) (int, error) { return job.Args.N, nil }); err != nil {
			return err
		}
		if err := job.Progress(ctx, 50, "half"); err != nil {
			return err
		}
		switch {
		case job.Args.N == 2 && job.Attempt == 1:
			return pawl.RetryAfter(10*time.Millisecond, errBoom)
		case job.Args.N == 3 && job.Attempt == 1:
			_, err := client.Insert(ctx, Note{13}) // What follows.
			return errors.Join(err, pawl.RetryAfter(10*time.Millisecond, errBoom))
		case job.Args.N == 4:
			return pawl.Dead(errBoom)
		case job.Args.N == 5:
			return pawl.Cancel(errBoom)
		case job.Args.N == 6:
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return client.With(tx).Complete(ctx, job) })
		}
		return nil
	}, pawl.KindOptions{Permit: client.Semaphore(4, func(*pawl.JobInfo) []string { return []string{"key"} })})
	stop := start(t, client, mux, pawl.RunnerConfig{Heartbeat: time.Second})
	pgtest.Wait(t, "all to be done", func() bool {
		return value[int](t, r.pool, r.in("select count(*) from pawl.archive")) >= 13 && value[int](t, r.pool, r.in("select count(*) from pawl.job")) == 0
	})
	if n := value[int](t, r.pool, r.in("select count(*) from pawl.dead where id < 1000000")); n != 1 {
		t.Errorf("%d dead, want 1", n)
	}
	if n := value[int](t, r.pool, r.in("select count(*) from pawl.archive where args = '{\"n\": 100}'")); n != 1 {
		t.Errorf("the cron ticked %d times, want once", n)
	}
	if job, err := r.client.Get(ctx, lost[0].ID); err != nil || job.State != pawlstate.Completed {
		t.Errorf("the job that was lost: %+v, %v", job, err)
	}
	must(t, stop())
	must(t, client.Retain(ctx))
	must(t, client.MakePartitions(ctx))
	parts := values[string](t, r.pool, "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = ($1 || '.archive')::regclass", r.schema)
	if !slices.Contains(parts, future) || slices.Contains(parts, "archive_20200229") || value[bool](t, r.pool, r.in("select to_regclass('pawl.archive_20200229') is not null")) {
		t.Errorf("the partitions are %v", parts)
	}
	if n := value[int](t, r.pool, r.in("select count(*) from pawl.dead where id = 1000000")); n != 0 {
		t.Error("a dead job is kept past its time")
	}
	for _, day := range []string{"current_date + 1", "(now() at time zone 'UTC')::date", "null"} {
		_, err := pool.Exec(ctx, r.in("select pawl.drop_partition("+day+")"))
		if denied, ok := errors.AsType[*pgconn.PgError](err); !ok || denied.Code != "22023" {
			t.Errorf("a worker drops the partition of %s: %v", day, err)
		}
	}

	for n := range 8 {
		insert(t, r.client, pawl.JobSpec{Args: Note{n}, Queue: "hand"})
	}
	must(t, client.Wait(ctx, "hand"))
	jobs, err := client.Claim(ctx, "hand", 6, time.Minute)
	must(t, err)
	must(t, client.Extend(ctx, jobs[:2], time.Hour))
	must(t, client.Checkpoint(ctx, jobs[0], pawl.Checkpoint{Value: 7}))
	must(t, client.Complete(ctx, jobs[0]))
	jobs[1].Keep = true
	must(t, client.Complete(ctx, jobs[1]))
	must(t, client.Fail(ctx, jobs[2], errBoom))
	must(t, client.Release(ctx, jobs[3], time.Hour))
	must1(t, 1)(client.Delete(ctx, jobs[4]))
	must1(t, 1)(client.Cancel(ctx, jobs[5:]))
	_, err = client.Delete(ctx, jobs[3].ID)
	refused(t, "deleting what it does not hold", err)
	if n := value[int](t, pool, r.in("select count(*) from (select pawl.extend(id, epoch, lease, '1 hour'), pawl.complete(id, epoch) from pawl.claim('hand', 1)) c")); n != 1 {
		t.Errorf("%d jobs by SQL", n)
	}
	exec(t, pool, r.in("select pawl.fail(id, epoch, 'no') from pawl.claim('hand', 1)"))
	check(t, r.client)

	// Asleep on its lock, it is woken by a producer.
	producer, _ := r.as("producer")
	woken := make(chan error, 1)
	go func() { woken <- client.Wait(ctx, "quiet") }()
	asleep(t, r.pool, 1)
	insert(t, producer, pawl.JobSpec{Args: Note{1}, Queue: "quiet"})
	must(t, <-woken)
}

// A reader sees everything.
func TestAReaderReads(t *testing.T) {
	t.Parallel()
	r := installed(t)
	ctx := t.Context()
	id := insert(t, r.client, Note{1})
	must(t, r.client.PutQueue(ctx, pawl.Queue{Name: "default", MaxAttempts: 3}))
	must(t, r.client.PutCron(ctx, hourly("hourly")))
	batch, err := r.client.InsertBatch(ctx, pawl.BatchSpec{Jobs: notes(2)})
	must(t, err)
	client, pool := r.as("reader")
	if job, err := client.Get(ctx, id); err != nil || note(t, job).N != 1 {
		t.Errorf("%+v, %v", job, err)
	}
	if jobs, err := client.List(ctx, pawl.Filter{Queue: "default", States: []pawlstate.State{pawlstate.Ready}}); err != nil || len(jobs) != 3 {
		t.Errorf("%+v, %v", jobs, err)
	}
	if n, err := client.Count(ctx, pawl.Filter{Kind: "note"}); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if stats, err := client.Stats(ctx); err != nil || len(stats.Queues) != 1 || stats.Queues[0].Ready != 3 {
		t.Errorf("%+v, %v", stats, err)
	}
	if channels, err := client.Channels(ctx, "default"); err != nil || len(channels) != 1 {
		t.Errorf("%+v, %v", channels, err)
	}
	if queues, err := client.Queues(ctx); err != nil || len(queues) != 1 || queues[0].MaxAttempts != 3 {
		t.Errorf("%+v, %v", queues, err)
	}
	if crons, err := client.Crons(ctx); err != nil || len(crons) != 1 {
		t.Errorf("%+v, %v", crons, err)
	}
	if b, err := client.GetBatch(ctx, batch); err != nil || b.Total != 2 {
		t.Errorf("%+v, %v", b, err)
	}
	if findings, err := client.Verify(ctx); err != nil || len(findings) != 0 {
		t.Errorf("%+v, %v", findings, err)
	}
	must(t, r.client.Complete(ctx, claim(t, r.client, 3)))
	if job, err := client.Await(ctx, id); err != nil || job.State != pawlstate.Completed {
		t.Errorf("%+v, %v", job, err)
	}
	if n := value[int](t, pool, r.in("select count(*) from pawl.archive where args ? 'n'")); n != 3 {
		t.Errorf("%d archived jobs", n)
	}
}

// An admin's verbs do what they say.
func TestAnAdminAdministers(t *testing.T) {
	t.Parallel()
	r := installed(t)
	ctx := t.Context()
	client, pool := r.as("admin")
	must(t, client.PutQueue(ctx, pawl.Queue{Name: "default", MaxAttempts: 3, RetainCompleted: 400 * 24 * time.Hour, RetainCancelled: hour, RetainDead: hour}))
	must(t, client.PauseQueue(ctx, "default"))
	must(t, client.ResumeQueue(ctx, "default"))
	for n := range 6 {
		insert(t, client, Note{n})
	}
	jobs := claim(t, client, 2)
	must(t, client.Fail(ctx, jobs[0], pawl.Dead(errBoom)))
	must(t, client.Complete(ctx, jobs[1])) // Into a partition that was not there.
	must1(t, 1)(client.Retry(ctx, jobs[0].ID))
	must1(t, 5)(client.Update(ctx, pawl.Filter{Queue: "default", States: []pawlstate.State{pawlstate.Ready}}, pawl.JobUpdate{Delay: time.Hour}))
	must1(t, 1)(client.Cancel(ctx, jobs[0].ID))
	must1(t, 1)(client.Delete(ctx, jobs[0].ID))
	must1(t, 4)(client.PurgeQueue(ctx, "default"))
	must(t, client.PutCron(ctx, hourly("hourly")))
	must(t, client.PauseCron(ctx, "hourly"))
	must(t, client.ResumeCron(ctx, "hourly"))
	_, err := client.RunCron(ctx, "hourly")
	must(t, err)
	must(t, client.DeleteCron(ctx, "hourly"))

	entered, leave := make(chan bool, 1), make(chan bool)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		entered <- true
		select {
		case <-leave:
		case <-ctx.Done():
		}
		return nil
	})
	worker, _ := r.as("worker")
	start(t, worker, mux, pawl.RunnerConfig{Heartbeat: time.Second})
	<-entered
	workers, err := client.Workers(ctx)
	must(t, err)
	must(t, client.SuspendWorker(ctx, workers[0].ID))
	pgtest.Wait(t, "its job to be given back", func() bool {
		n, err := client.ReleaseWorker(ctx, workers[0].ID)
		must(t, err)
		return n == 1
	})
	close(leave)
	must(t, client.StopWorker(ctx, workers[0].ID))
	pgtest.Wait(t, "it to be gone", func() bool { n, err := client.PurgeWorkers(ctx, 0); must(t, err); return n == 1 })
	exec(t, pool, r.in("update pawl.job set fingerprint = 'by hand'"))
	refused(t, "Uninstall", client.Uninstall(ctx))
	for _, text := range []string{"truncate pawl.job", "drop table pawl.job", "create table pawl.mine (n int)", "alter table pawl.job add column more int", "select pawl.grant_roles(true)"} {
		_, err := pool.Exec(ctx, r.in(text))
		refused(t, text, err)
	}
	check(t, r.client)
}

// Every function of the catalog is in the table of docs/roles.md, and each login is let in or refused as it says: by the catalog and when
// it tries. So it is with every table and sequence.
func TestRolesAreAsDocumented(t *testing.T) {
	t.Parallel()
	r := installed(t)
	page, err := os.ReadFile("docs/roles.md")
	must(t, err)
	told := map[string][]string{} // By function, the roles.
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (yes|) ?\\| (yes|) ?\\| (yes|) ?\\| (yes|) ?\\|$").FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = nil
		for i, kind := range kinds {
			if m[2+i] == "yes" {
				told[m[1]] = append(told[m[1]], kind)
			}
		}
	}
	type function struct {
		Name, Signature, Call string
		Definer, Fixed, Pure  bool
	}
	rows, _ := r.pool.Query(t.Context(), `select p.proname::text, p.oid::regprocedure::text,
		format('select * from %s.%I(%s)', $1::text, p.proname, (select string_agg(case when p.provariadic <> 0 and u.ord = p.pronargs then 'variadic ' else '' end || 'null::' || format_type(u.oid, null), ', ' order by u.ord)
			from unnest(p.proargtypes) with ordinality as u (oid, ord))),
		p.prosecdef, coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false), p.provolatile = 'i'
		from pg_proc p where p.pronamespace = $1::text::regnamespace`, r.schema)
	functions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[function])
	must(t, err)
	names := map[string]bool{}
	for _, f := range functions {
		names[f.Name] = true
		may, known := told[f.Name]
		if !known {
			t.Errorf("docs/roles.md does not say who may call %s; say it there and in sql/function/admin/grant_roles.sql", f.Name)
		}
		if f.Definer != f.Fixed || f.Definer != (len(may) > 1 && !f.Pure) {
			t.Errorf("%s: security definer %t, fixed search_path %t, for %v", f.Signature, f.Definer, f.Fixed, may)
		}
	}
	for name := range told {
		if !names[name] {
			t.Errorf("docs/roles.md has a function %s, and the schema has none", name)
		}
	}

	tables := values[string](t, r.pool, "select relname::text from pg_class where relnamespace = $1::text::regnamespace and relkind in ('r', 'p') and not relispartition", r.schema)
	partitions := values[string](t, r.pool, "select relname::text from pg_class where relnamespace = $1::text::regnamespace and relkind = 'r' and relispartition", r.schema)
	sequences := values[string](t, r.pool, "select relname::text from pg_class where relnamespace = $1::text::regnamespace and relkind = 'S'", r.schema)
	if len(tables) < 15 || len(partitions) < 5 || len(sequences) < 3 {
		t.Fatalf("%d tables, %d partitions, %d sequences: the test shows nothing", len(tables), len(partitions), len(sequences))
	}
	rights := func(kind, table string) (list []string) {
		switch {
		case kind == "admin":
			return []string{"select", "insert", "update", "delete"}
		case kind == "reader", table == "migration" && kind != "nobody", table == "queue" && kind == "worker":
			return []string{"select"}
		}
		return nil
	}
	for _, kind := range append(slices.Clone(kinds), "nobody") {
		_, pool := r.as(kind)
		try := func(text string) (state string) {
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				exec(t, tx, "set local statement_timeout = '2s'; set local lock_timeout = '1s'")
				_, err := tx.Exec(t.Context(), text)
				return errors.Join(err, errBoom) // Nothing is to stay.
			})
			if denied, ok := errors.AsType[*pgconn.PgError](err); ok {
				return denied.Code
			}
			return ""
		}
		expect := func(allowed bool, text string) {
			t.Helper()
			if state := try(text); (state == "42501") == allowed {
				t.Errorf("%s: %s: allowed %t, and got SQLSTATE %q", kind, text, allowed, state)
			}
		}
		for _, f := range functions {
			allowed := slices.Contains(told[f.Name], kind)
			if has := value[bool](t, r.pool, "select has_function_privilege($1::text, $2::text, 'execute')", r.schema+"_user_"+kind, f.Signature); has != allowed {
				t.Errorf("%s: execute %s: %t", kind, f.Signature, has)
			}
			expect(allowed, f.Call)
		}
		relation := func(name string, list []string) {
			for _, right := range []string{"select", "insert", "update", "delete", "truncate", "references", "trigger"} {
				if has := value[bool](t, r.pool, "select has_table_privilege($1::text, $2::text, $3::text)", r.schema+"_user_"+kind, r.schema+"."+name, right); has != slices.Contains(list, right) {
					t.Errorf("%s: %s on %s: %t", kind, right, name, has)
				}
			}
			for _, right := range []string{"select", "insert", "update", "references"} {
				if has := value[bool](t, r.pool, "select has_any_column_privilege($1::text, $2::text, $3::text)", r.schema+"_user_"+kind, r.schema+"."+name, right); has != slices.Contains(list, right) {
					t.Errorf("%s: %s on a column of %s: %t", kind, right, name, has)
				}
			}
			column := value[string](t, r.pool, "select quote_ident(attname) from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and attgenerated = '' and attidentity = '' limit 1", r.schema+"."+name)
			on := r.schema + "." + name
			expect(slices.Contains(list, "select"), "select * from "+on+" limit 1")
			expect(slices.Contains(list, "insert"), fmt.Sprintf("insert into %s (%s) select %[2]s from %[1]s where false", on, column))
			expect(slices.Contains(list, "update"), fmt.Sprintf("update %s set %s = null where false", on, column))
			expect(slices.Contains(list, "delete"), "delete from "+on+" where false")
			expect(false, "truncate "+on)
			expect(false, "alter table "+on+" set (fillfactor = 90)")
			expect(false, "drop table "+on)
		}
		for _, name := range tables {
			relation(name, rights(kind, name))
		}
		for _, name := range partitions {
			relation(name, nil)
		}
		for _, name := range sequences {
			draws := kind == "admin" || name == "pos" && (kind == "producer" || kind == "worker")
			expect(draws, fmt.Sprintf("select nextval('%s.%s')", r.schema, name))
			expect(kind == "admin" || name == "pos" && kind == "reader", fmt.Sprintf("select last_value from %s.%s", r.schema, name))
			expect(false, fmt.Sprintf("select setval('%s.%s', 1)", r.schema, name))
		}
		expect(false, "create table "+r.schema+".mine (n int)")
		expect(false, "create function "+r.schema+".mine() returns int language sql as 'select 1'")
		expect(false, "drop schema "+r.schema+" cascade")
	}
}

// Rights are the same after a second time, and none are given where nobody asked for roles.
func TestRolesTwiceAndNever(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	const granted = "select count(*) from pg_proc p where p.pronamespace = $1::text::regnamespace and (p.proacl is not null or p.prosecdef)"
	for range 2 {
		must(t, r.client.Migrate(t.Context()))
		if n := value[int](t, r.pool, granted, r.schema) + value[int](t, r.pool, "select count(*) from pg_roles where starts_with(rolname, $1)", r.schema); n != 0 {
			t.Errorf("%d functions and roles changed, and nobody asked for it", n)
		}
	}
	must(t, r.client.CreateRoles(t.Context()))
	once := schemaOf(t, r.pool, r.schema)
	for name, again := range map[string]func(context.Context) error{"CreateRoles": r.client.CreateRoles, "Migrate": r.client.Migrate} {
		must(t, again(t.Context()))
		if schemaOf(t, r.pool, r.schema) != once {
			t.Errorf("a second %s changed something", name)
		}
	}
	// CreateRoles does the same after a migration by script.
	other := pgtest.Empty(t)
	var printed strings.Builder
	client, err := pawl.New(pgtest.Pool(t, other), pawl.Config{Schema: r.schema})
	must(t, err)
	must(t, client.WriteMigration(t.Context(), &printed, 0))
	if _, ok := errors.AsType[*pawl.SchemaError](client.CreateRoles(t.Context())); !ok {
		t.Error("CreateRoles without a schema did not return a SchemaError")
	}
	script(t, connectTo(t, other), printed.String())
	must(t, client.CreateRoles(t.Context()))
	if schemaOf(t, pgtest.Pool(t, other), r.schema) != once {
		t.Error("after a migration by script CreateRoles granted something else")
	}
	// What somebody did to them by hand is undone, what he did to others stays.
	exec(t, r.pool, r.in(fmt.Sprintf(`grant select on pawl.job to %[1]s_producer; revoke all on function pawl.insert(text, jsonb, jsonb) from %[1]s_producer;
		grant execute on all functions in schema %[1]s to public; create role %[1]s_other; grant select on pawl.dead to %[1]s_other`, r.schema)))
	must(t, r.client.Migrate(t.Context()))
	exec(t, r.pool, r.in(fmt.Sprintf("revoke select on pawl.dead from %s_other", r.schema))) // It was there, or this would say so.
	if schemaOf(t, r.pool, r.schema) != once {
		t.Error("what was changed by hand stayed")
	}
}

// What a later migration adds is covered by it, without being asked.
func TestRolesOfWhatIsNew(t *testing.T) {
	t.Parallel()
	r := installed(t)
	next := following(t)
	must(t, r.pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
		return next.Up(t.Context(), conn.Conn(), r.schema, migrator.Options{After: []string{"select pawl.grant_roles(false);"}})
	}))
	for what, want := range map[string]bool{
		"select has_table_privilege('$_reader', '$.region', 'select')":                                                       true,
		"select has_table_privilege('$_worker', '$.region', 'select')":                                                       false,
		"select has_table_privilege('$_admin', '$.region', 'delete')":                                                        true,
		"select has_function_privilege('$_worker', '$.heartbeat(bigint, integer, bigint[], integer[], text)', 'execute')":    true,
		"select has_function_privilege('$_reader', '$.heartbeat(bigint, integer, bigint[], integer[], text)', 'execute')":    false,
		"select has_function_privilege('$_user_nobody', '$.heartbeat(bigint,integer,bigint[],integer[],text)', 'execute')":   false,
		"select prosecdef from pg_proc where proname = 'heartbeat' and pronamespace = '$'::regnamespace and pronargs = 5":    true,
		"select count(*) = 1 from pg_proc where proname = 'heartbeat' and pronamespace = '$'::regnamespace and pronargs > 1": true,
		"select has_function_privilege('$_producer', '$.insert(text, jsonb, jsonb)', 'execute')":                             true,
	} {
		if got := value[bool](t, r.pool, strings.ReplaceAll(what, "$", r.schema)); got != want {
			t.Errorf("%s: %t", what, got)
		}
	}
}

// Without the right to make roles one may still migrate with roles, if they are there.
func TestRolesWithoutCreaterole(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	exec(t, r.pool, fmt.Sprintf("create role %s_user_owner login", r.schema))
	exec(t, r.pool, fmt.Sprintf("grant create on database %s to %s_user_owner", r.pool.Config().ConnConfig.Database, r.schema))
	client, _ := r.as("owner")
	must(t, client.Migrate(t.Context()))
	before := schemaOf(t, r.pool, r.schema)
	refused(t, "CreateRoles", client.CreateRoles(t.Context()))
	if schemaOf(t, r.pool, r.schema) != before {
		t.Error("CreateRoles failed and changed something")
	}
	for _, kind := range kinds {
		exec(t, r.pool, fmt.Sprintf("create role %s_%s", r.schema, kind))
	}
	must(t, client.CreateRoles(t.Context()))
	exec(t, r.pool, fmt.Sprintf("create role %s_user_producer login; grant %[1]s_producer to %[1]s_user_producer", r.schema))
	producer, _ := r.as("producer")
	insert(t, producer, Note{1})
	must(t, client.Uninstall(t.Context()))
	must(t, client.Migrate(t.Context()))
	_, err := producer.Insert(t.Context(), Note{1})
	refused(t, "a producer of an installation before", err)
}

// Names fit and differ, however long the schema's is.
func TestRoleNames(t *testing.T) {
	t.Parallel()
	conn := connectTo(t, pgtest.Empty(t))
	source, err := migrator.Load(pawlsql.Files, "pawl.")
	must(t, err)
	text, err := pawlsql.Files.ReadFile("function/admin/role_name.sql")
	must(t, err)
	seen := map[string]string{}
	for _, schema := range []string{"pawl", "Pawl", "select", "x$1", strings.Repeat("x", 54), strings.Repeat("x", 55), strings.Repeat("x", 62), strings.Repeat("x", 63), strings.Repeat("x", 62) + "y"} {
		exec(t, conn, "create schema "+pgx.Identifier{schema}.Sanitize())
		exec(t, conn, source.Into(schema, "create table pawl.job (id int)"))
		exec(t, conn, source.Into(schema, string(text)))
		for _, kind := range kinds {
			name := value[string](t, conn, source.Into(schema, "select pawl.role_name($1)"), kind)
			if len(name) > 63 || !strings.HasSuffix(name, "_"+kind) || !strings.HasPrefix(name, schema[:min(len(schema), 45)]) {
				t.Errorf("%s of %s is %s", kind, schema, name)
			}
			if other, twice := seen[name]; twice {
				t.Errorf("%s is of %s and of %s", name, schema, other)
			}
			seen[name] = schema
		}
	}
	if seen["pawl_producer"] != "pawl" {
		t.Error("pawl's producer is not pawl_producer")
	}
}
