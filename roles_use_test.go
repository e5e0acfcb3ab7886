package pawl_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A producer can insert in every way, from Go and from SQL, and nothing else.
func TestProducerInserts(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
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
	for _, batch := range []pawl.BatchSpec{{Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{10}}},
		{OnFinish: &pawl.JobSpec{Args: Note{11}}}} {
		_, err = client.InsertBatch(ctx, batch)
		must(t, err)
	}
	_, err = client.InsertSaga(ctx, pawl.JobSpec{Args: Note{12}, Undo: &pawl.JobSpec{Args: Note{13}}},
		pawl.JobSpec{Args: Note{14}})
	must(t, err)
	for _, text := range []string{
		"select pawl.insert('note', '{\"n\": 15}')",
		"select * from pawl.insert_many('[{\"kind\": \"note\"}]')",
		`create table users (id integer);
		 create function welcome() returns trigger language plpgsql as $$ begin perform pawl.insert('note',
			jsonb_build_object('n', new.id)); return new; end $$;
		 create trigger welcome after insert on users for each row execute function welcome();
		 insert into users values (16)`,
	} {
		exec(t, pool, r.in(text))
	}
	if n := value[int](t, r.pool, r.in("select count(*) from pawl.job")); n != 4+10+4500+1+1+1+1+(3+1)+3+3 {
		t.Errorf("%d jobs", n)
	}
	checkInvariant(t, r.client)
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, r.in("select args from pawl.job"))
		return err
	})
	wantRefused(t, "reading args", err)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	wantRefused(t, "Run", client.Run(ctx, mux, pawl.RunnerConfig{}))

	// A loader that is trusted with the tables copies.
	exec(t, r.pool, r.in(fmt.Sprintf("grant insert on pawl.job, pawl.ready, pawl.scheduled to %[1]s_user_producer; "+
		"grant execute on function pawl.wake, pawl.sleep_key, pawl.lock_is_free to %[1]s_user_producer", r.schema)))
	calls := &callCounter{}
	loader := r.of(pgtest.Pool(t, r.url, func(c *pgxpool.Config) {
		c.ConnConfig.User, c.ConnConfig.Tracer = r.schema+"_user_producer", calls
	}))
	_, err = loader.InsertMany(ctx, notes(2000))
	must(t, err)
	if n := calls.Load(); n != 0 {
		t.Errorf("insert was called %d times, want COPY", n)
	}
	checkInvariant(t, r.client)
}

// A callCounter is a tracer that counts calls of the SQL function insert.
type callCounter struct{ atomic.Int32 }

func (c *callCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "insert(") {
		c.Add(1)
	}
	return ctx
}

func (c *callCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A worker can do all that Run, its maintenance, handlers and consumers do, from Go and from SQL.
func TestWorkerRoleRunsJobs(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	ctx := t.Context()
	client, pool := r.as("worker")
	must(t, r.client.PutQueue(ctx, pawl.Queue{Name: "limited", MaxRunning: 1, Rate: pawl.Rate{N: 1000}}))
	must(t, r.client.PutCron(ctx, pawl.Cron{Name: "tick", Spec: "@every 1h", Job: pawl.JobSpec{Args: Note{100}}}))
	exec(t, r.pool, r.in(`update pawl.cron set next_at = clock_timestamp();
		create table pawl.archive_20200229 (like pawl.archive_chunk including defaults including indexes);
		alter table pawl.archive_chunk attach partition pawl.archive_20200229 for values from ('2020-02-29 00:00:00+00') to
			('2020-03-01 00:00:00+00');
		insert into pawl.dead (id, finished_at, expires_at, created_at, epoch, priority, attempt, crashes, reason, queue,
			channel, kind)
		values (1000000, now(), now() - interval '1 second', now(), 1, 0, 1, 0, 'attempts', 'default', '', 'note')`))
	future := value[string](t, r.pool, "select max(c.relname::text) from pg_class c where c.relnamespace = "+
		"$1::text::regnamespace and c.relname ~ '^archive_2' and c.relkind = 'r'", r.schema)
	exec(t, r.pool, r.in("drop table pawl."+future))

	insert(t, r.client, Note{1})
	lost, err := r.client.Claim(ctx, "default", 1, time.Hour) // The worker is gone.
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
		return value[int](t, r.pool, r.in("select count(*) from pawl.archive")) >= 13 &&
			value[int](t, r.pool, r.in("select count(*) from pawl.job")) == 0
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
	parts := values[string](t, r.pool, "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid "+
		"where i.inhparent = ($1 || '.archive_chunk')::regclass", r.schema)
	if !slices.Contains(parts, future) || slices.Contains(parts, "archive_20200229") ||
		value[bool](t, r.pool, r.in("select to_regclass('pawl.archive_20200229') is not null")) {
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
	wantCount(t, 1)(client.Delete(ctx, jobs[4]))
	wantCount(t, 1)(client.Cancel(ctx, jobs[5:]))
	_, err = client.Delete(ctx, jobs[3].ID)
	wantRefused(t, "deleting what it does not hold", err)
	if n := value[int](t, pool, r.in("select count(*) from (select pawl.extend(id, epoch, lease, '1 hour'), "+
		"pawl.complete(id, epoch) from pawl.claim('hand', 1)) c")); n != 1 {
		t.Errorf("%d jobs by SQL", n)
	}
	exec(t, pool, r.in("select pawl.fail(id, epoch, 'no') from pawl.claim('hand', 1)"))
	checkInvariant(t, r.client)

	// Asleep on its lock, it is woken by a producer.
	producer, _ := r.as("producer")
	woken := make(chan error, 1)
	go func() { woken <- client.Wait(ctx, "quiet") }()
	awaitSleepers(t, r.pool, 1)
	insert(t, producer, pawl.JobSpec{Args: Note{1}, Queue: "quiet"})
	must(t, <-woken)
}

// A reader can read everything and change nothing.
func TestReaderReads(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
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
	if jobs, err := client.List(ctx, pawl.Filter{Queue: "default",
		States: []pawlstate.State{pawlstate.Ready}}); err != nil || len(jobs) != 3 {
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

// An admin can change jobs, queues, crons and workers, but not the schema.
func TestAdminAdministers(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	ctx := t.Context()
	client, pool := r.as("admin")
	must(t, client.PutQueue(ctx, pawl.Queue{Name: "default", MaxAttempts: 3, RetainCompleted: 400 * 24 * time.Hour,
		RetainCancelled: hour, RetainDead: hour}))
	must(t, client.PauseQueue(ctx, "default"))
	must(t, client.ResumeQueue(ctx, "default"))
	for n := range 6 {
		insert(t, client, Note{n})
	}
	jobs := claim(t, client, 2)
	must(t, client.Fail(ctx, jobs[0], pawl.Dead(errBoom)))
	must(t, client.Complete(ctx, jobs[1])) // Into a partition that was not there.
	wantCount(t, 1)(client.Retry(ctx, jobs[0].ID))
	wantCount(t, 5)(client.Update(ctx, pawl.Filter{Queue: "default", States: []pawlstate.State{pawlstate.Ready}},
		pawl.JobUpdate{Delay: time.Hour}))
	wantCount(t, 1)(client.Cancel(ctx, jobs[0].ID))
	wantCount(t, 1)(client.Delete(ctx, jobs[0].ID))
	wantCount(t, 4)(client.PurgeQueue(ctx, "default"))
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
	wantRefused(t, "Uninstall", client.Uninstall(ctx))
	for _, text := range []string{"truncate pawl.job", "drop table pawl.job", "create table pawl.mine (n int)",
		"alter table pawl.job add column more int", "select pawl.grant_roles(true)"} {
		_, err := pool.Exec(ctx, r.in(text))
		wantRefused(t, text, err)
	}
	checkInvariant(t, r.client)
}
