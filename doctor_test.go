package pawl_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// A healthy installation at work has no finding. Its role is an ordinary one, which owns the database.
func TestDoctorFindsNothingWhenHealthy(t *testing.T) {
	t.Parallel()
	server := startInspectedServer(t)
	server.exec(t, "create role shop login", "create database shop owner shop")
	p := &inspected{TB: t, url: as(t, server.URL("shop"), "shop")}
	if err := migrate(t.Context(), p.url); err != nil {
		t.Fatal(err)
	}
	p.connect(p.url, pawl.Config{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, p.client, mux, pawl.RunnerConfig{})
	limited := pawl.Queue{Name: "limited", MaxRunning: 2, Rate: pawl.Rate{N: 1000}}
	if err := p.client.PutQueue(t.Context(), limited); err != nil {
		t.Fatal(err)
	}
	putCron(t, p.client, hourly("hourly"))
	last := p.insert(pawl.JobSpec{})
	for range 50 {
		p.insert(pawl.JobSpec{Queue: "limited"})
		last = p.insert(pawl.JobSpec{Channel: "c", Ordered: true})
	}
	p.insert(pawl.JobSpec{Delay: hour})
	await(t, p.client, last, pawlstate.Completed)
	if found := p.findings(); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	tx := begin(t, p.pool)
	if _, err := p.client.With(tx).Doctor(t.Context()); err == nil {
		t.Error("Doctor accepted a client of With")
	}
}

const randomText = "(select string_agg(md5(random()::text), '') from generate_series(1, 60) where i > 0)"

// doctorProblems are what can be wrong with one installation, made by hand. says is what the finding must contain.
var doctorProblems = map[string]struct {
	check string
	seed  func(*inspected) (says []string)
}{
	"not installed": {"schema", func(p *inspected) []string {
		p.exec("drop schema pawl cascade")
		return []string{"no schema pawl", "pawl install"}
	}},
	"newer schema": {"schema", func(p *inspected) []string {
		p.exec("insert into pawl.migration (version, name) values (9999, 'later')")
		return []string{"version 9999", "newer"}
	}},
	"function missing": {"schema", func(p *inspected) []string {
		p.exec("drop function pawl.validate_spec(jsonb)")
		return []string{"validate_spec (missing)", "pawl verify"}
	}},
	"table missing": {"schema", func(p *inspected) []string {
		p.exec("drop table pawl.permit")
		return []string{"table permit is missing"}
	}},
	"index missing": {"index", func(p *inspected) []string {
		p.exec("drop index pawl.dead_queue")
		return []string{"dead_queue is missing", "CREATE INDEX CONCURRENTLY dead_queue ON pawl.dead"}
	}},
	"index invalid": {"index", func(p *inspected) []string {
		p.exec("update pg_index set indisvalid = false where indexrelid = 'pawl.dead_queue'::regclass")
		return []string{"dead_queue is not valid", "reindex index concurrently pawl.dead_queue"}
	}},
	"partition missing": {"partition", func(p *inspected) []string {
		p.exec(fmt.Sprintf(eachPartition, "drop table"))
		return []string{"archive_20"}
	}},
	"autovacuum off for a table": {"autovacuum", func(p *inspected) []string {
		p.exec("alter table pawl.ready set (autovacuum_enabled = false)")
		return []string{"ready", "alter table pawl.ready reset (autovacuum_enabled)"}
	}},
	"settings changed": {"autovacuum", func(p *inspected) []string {
		p.exec("alter table pawl.job set (autovacuum_vacuum_scale_factor = 0.9)")
		p.exec("alter table pawl.job reset (vacuum_truncate), set (fillfactor = 30)")
		return []string{"table job", "scale_factor is 0.9, not 0.1", "vacuum_truncate is not set, not false",
			"alter table pawl.job set (autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false), reset (fillfactor)"}
	}},
	"dead rows": {"dead", func(p *inspected) []string {
		p.exec("alter table pawl.ready set (autovacuum_enabled = false)")
		p.exec("insert into pawl.ready select i, i, 1, 0, 'q', '' from generate_series(1, 110000) i")
		p.exec("delete from pawl.ready")
		p.strict()
		return []string{"table ready has 110000 dead rows", "vacuum pawl.ready"}
	}},
	"bloated index": {"bloat", func(p *inspected) []string {
		p.exec("insert into pawl.ready select i, i, 1, 0, 'q', repeat('x', 200) || i from generate_series(1, 10000) i")
		p.exec("delete from pawl.ready")
		p.exec("vacuum pawl.ready")
		p.strict()
		return []string{"index ready_pkey takes", "reindex index concurrently pawl.ready_pkey"}
	}},
	"bloated table": {"bloat", func(p *inspected) []string {
		p.exec("insert into pawl.ready select i, i, 1, 0, 'q', repeat('x', 200) || i from generate_series(1, 10000) i")
		p.exec("delete from pawl.ready")
		p.exec("vacuum pawl.ready")
		p.strict()
		return []string{"table ready takes", "vacuum full pawl.ready"}
	}},
	"old transaction": {"xmin", func(p *inspected) []string {
		conn, err := pgx.Connect(p.Context(), p.url+"&application_name=analysis")
		if err != nil {
			p.Fatal(err)
		}
		p.Cleanup(func() { conn.Close(context.Background()) })
		exec(p, conn, "begin isolation level repeatable read")
		exec(p, conn, "select * from pawl.queue")
		p.strict()
		pid := conn.PgConn().PID()
		return []string{
			fmt.Sprintf("session %d of postgres (analysis", pid), "idle in transaction", " since 20",
			fmt.Sprintf("pg_terminate_backend(%d)", pid),
		}
	}},
	"prepared transaction": {"xmin", func(p *inspected) []string {
		tx := begin(p, p.pool)
		exec(p, tx, "insert into pawl.queue (name) values ('q')")
		exec(p, tx, "prepare transaction 'it''s'")
		p.Cleanup(func() { p.pool.Exec(context.Background(), "rollback prepared 'it''s'") })
		p.strict()
		return []string{"the prepared transaction 'it''s' of postgres", " since 20", "rollback prepared 'it''s'"}
	}},
	"table locked": {"lock", func(p *inspected) []string {
		tx := begin(p, p.pool)
		exec(p, tx, "lock table pawl.queue in access exclusive mode")
		p.mustFind("unseen", "queue", "lock timeout")
		p.strict()
		return []string{fmt.Sprintf("session %d", tx.Conn().PgConn().PID()), "table queue", "pg_terminate_backend("}
	}},
	"queue paused": {"queue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{Queue: "ann's mail"})
		if err := p.client.PauseQueue(p.Context(), "ann's mail"); err != nil {
			p.Fatal(err)
		}
		p.strict()
		return []string{`queue 'ann'\''s mail': `, " since 20", "1 ready", "is paused", `pawl queue resume 'ann'\''s mail'`}
	}},
	"queue without a worker": {"queue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{Queue: "mail"})
		p.worker("other", "queues = '{other}'")
		p.strict()
		return []string{"queue mail", "no worker serves it", "pawl consume mail --"}
	}},
	"queue whose workers are suspended": {"queue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{Queue: "mail"})
		p.worker("v", "state = 'suspended'")
		p.worker("w", "state = 'suspended'")
		p.strict()
		return []string{
			"no worker serves it; worker 1 (v) is suspended, worker 2 (w) is suspended", "pawl worker resume 1 2",
		}
	}},
	"queue whose workers idle": {"queue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{Queue: "mail"})
		p.worker("w", "")
		p.strict()
		return []string{"1 worker serves it, and no job runs"}
	}},
	"scheduled jobs overdue": {"queue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{Queue: "mail", Delay: time.Millisecond})
		p.strict()
		return []string{"0 ready, 1 scheduled", "no worker serves it"}
	}},
	"limit used up": {"queue", func(p *inspected) []string {
		if err := p.client.PutQueue(p.Context(), pawl.Queue{Name: "default", MaxRunning: 1}); err != nil {
			p.Fatal(err)
		}
		first := p.insert(pawl.JobSpec{})
		p.insert(pawl.JobSpec{})
		claim(p, p.client, 1)
		p.strict()
		return []string{
			fmt.Sprintf("its limit of 1 running jobs is used up by job %d", first), "pawl queue set default --max-running 2",
		}
	}},
	"limit of nothing": {"queue", func(p *inspected) []string {
		p.exec("insert into pawl.queue (name, max_running) values ('default', 0)")
		p.insert(pawl.JobSpec{})
		p.strict()
		return []string{"its limit of 0 running jobs is used up", "--max-running 1"}
	}},
	"rate of next to nothing": {"queue", func(p *inspected) []string {
		daily := pawl.Queue{Name: "default", Rate: pawl.Rate{N: 1, Per: 24 * hour}}
		if err := p.client.PutQueue(p.Context(), daily); err != nil {
			p.Fatal(err)
		}
		p.insert(pawl.JobSpec{})
		p.insert(pawl.JobSpec{})
		claim(p, p.client, 1)
		p.strict()
		return []string{
			"with its rate of 1 jobs in 86400 s the next job starts in 23:59:5", "pawl queue set default --rate none",
		}
	}},
	"channel halted": {"halted-channel", func(p *inspected) []string {
		if err := p.client.PutQueue(p.Context(), pawl.Queue{Name: "default", HaltOnDead: true}); err != nil {
			p.Fatal(err)
		}
		id := p.insert(pawl.JobSpec{Channel: "acme", Ordered: true})
		p.insert(pawl.JobSpec{Channel: "acme", Ordered: true})
		if err := p.client.Fail(p.Context(), claim(p, p.client, 1), pawl.Dead(io.EOF)); err != nil {
			p.Fatal(err)
		}
		return []string{
			"channel acme of queue default has been halted since 20",
			fmt.Sprintf("by the dead job %d; jobs waiting behind it: 1", id), "select pawl.resume_channel('default', 'acme')",
		}
	}},
	"follow-up put aside": {"followup", func(p *inspected) []string {
		id, err := p.client.InsertBatch(p.Context(), pawl.BatchSpec{
			Jobs: notes(1), OnFinish: &pawl.JobSpec{Args: Note{2}},
		})
		must(p, err)
		p.exec("update pawl.batch set on_finish = '5'")
		must(p, p.client.Complete(p.Context(), claim(p, p.client, 1)))
		return []string{
			"the follow-ups of 1 finished jobs were put aside because they failed", fmt.Sprintf("batch %d", id),
			"cannot call jsonb_to_recordset on a non-array", "pawl verify --repair",
		}
	}},
	"rate that is none": {"policy", func(p *inspected) []string {
		p.exec(`insert into pawl.queue (name, rate) values ('mail', '{"n": 0, "per": "x"}')`)
		return []string{"the rate of queue mail cannot be read", "no job of the queue starts", "pawl queue set mail"}
	}},
	"weights that are none": {"policy", func(p *inspected) []string {
		p.exec(`insert into pawl.queue (name, weights) values ('mail', '[]')`)
		return []string{"the weights of queue mail cannot be read"}
	}},
	"lock of a stranger": {"advisory-lock", func(p *inspected) []string {
		conn, err := pgx.Connect(p.Context(), p.url+"&application_name=mallory")
		must(p, err)
		p.Cleanup(func() { conn.Close(context.Background()) })
		exec(p, conn, "select pg_advisory_lock(pawl.sleep_key('*'))")
		p.strict()
		return []string{"(mallory", "holds 1 advisory lock of runners that wait for queue *", "select pg_terminate_backend("}
	}},
	"job unprocessable": {"unprocessable", func(p *inspected) []string {
		id := p.insert(pawl.JobSpec{})
		p.insert(pawl.JobSpec{})
		breakColumn(p, p.pool, "args", id)
		must(p, p.client.Complete(p.Context(), claim(p, p.client, 2)))
		return []string{
			fmt.Sprintf("queue default: 1 job died as unprocessable in the last 7 days, such as job %d", id),
			fmt.Sprintf("pawl dead show %d", id),
		}
	}},
	"lease expired": {"overdue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{})
		claim(p, p.client, 1)
		p.exec("update pawl.lease set expires_at = now() - interval '2 minutes'")
		return []string{"no worker has rescued 1 lost lease since 20", "with up to 1 job"}
	}},
	"worker dead": {"overdue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{})
		claim(p, p.client, 1)
		p.worker("gone", `seen_at = now() - interval '2 hours', stale_after = '9 seconds',
			gone_at = now() - interval '1 hour'`)
		p.exec("update pawl.lease set expires_at = null, worker_id = (select id from pawl.worker)")
		return []string{"1 lost lease", "(gone)"}
	}},
	"cron overdue": {"overdue", func(p *inspected) []string {
		putCron(p, p.client, hourly("nightly"))
		p.exec("update pawl.cron set next_at = now() - interval '2 minutes'")
		return []string{"1 cron schedule has been due since 20", "nightly"}
	}},
	"reservation overdue": {"overdue", func(p *inspected) []string {
		id := p.insert(pawl.JobSpec{Reserve: hour})
		p.exec("update pawl.blocked set expires_at = now() - interval '2 minutes'")
		return []string{"no worker has removed 1 expired reservation since 20", fmt.Sprintf("job %d", id)}
	}},
	"dead jobs kept": {"overdue", func(p *inspected) []string {
		p.insert(pawl.JobSpec{})
		if err := p.client.Fail(p.Context(), claim(p, p.client, 1), pawl.Dead(io.EOF)); err != nil {
			p.Fatal(err)
		}
		p.exec("update pawl.dead set expires_at = now() - interval '2 days'")
		return []string{"no worker has removed dead jobs past their retention since 20"}
	}},
	"workers of two versions": {"worker", func(p *inspected) []string {
		p.worker("old", "")
		p.worker("new", "version = 'v2'")
		return []string{"workers of 2 versions", "v1 (1 worker, such as worker", "new"}
	}},
	"stuck handlers": {"worker", func(p *inspected) []string {
		p.worker("w", "stuck = '{mail,note,mail}'")
		return []string{"(w) has 3 stuck handlers", "2 of kind mail, 1 of kind note", "stacks in the worker's log"}
	}},
	"a worker that cannot claim": {"worker", func(p *inspected) []string {
		p.worker("w", "problem = 'claims have failed 9 times since 2030: permission denied'")
		return []string{"(w) is alive, but claims have failed 9 times since 2030: permission denied"}
	}},
	"clock set back": {"worker", func(p *inspected) []string {
		p.worker("w", "seen_at = now() + interval '1 hour'")
		return []string{"(w) has its last heartbeat in the future"}
	}},
	"partition not dropped": {"archive", func(p *inspected) []string {
		p.exec(`create table pawl.archive_20200101 partition of pawl.archive_chunk
			for values from ('2020-01-01') to ('2020-01-02')`)
		return []string{"1 partition of the archive is past its day but not dropped", "archive_20200101",
			"alter table pawl.archive_chunk detach partition pawl.archive_20200101 concurrently; " +
				"drop table pawl.archive_20200101"}
	}},
	"partition detached but not dropped": {"archive", func(p *inspected) []string {
		p.exec("create table pawl.archive_20200101 (like pawl.archive_chunk)")
		return []string{
			"1 table is past its day and detached from the archive, but not dropped", "drop table pawl.archive_20200101",
		}
	}},
	"default partition": {"archive", func(p *inspected) []string {
		p.exec("create table pawl.rest partition of pawl.archive_chunk default")
		return []string{"default partition, rest", "detach partition pawl.rest"}
	}},
	"archive oversized": {"archive", func(p *inspected) []string {
		month := pawl.Queue{Name: "hoard", RetainCompleted: 30 * 24 * hour, RetainCancelled: -1, RetainDead: -1}
		if err := p.client.PutQueue(p.Context(), month); err != nil {
			p.Fatal(err)
		}
		p.exec(`insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, ids, epochs,
				created_at, priority, attempt, channel, kind, data)
			select i, i, 1, now(), now() + interval '1 day', 'completed', 'q', array[i], '{1}', array[now()], '{0}', '{1}',
				'{""}', '{k}', array[` + randomText + `::bytea]
			from generate_series(1, 1000) i`)
		p.strict()
		return []string{"the archive takes", "longest retention is 720:00:00, of queue hoard"}
	}},
	"results lost in a crash": {"durability", func(p *inspected) []string {
		p.set("database %I", "synchronous_commit = off")
		return []string{"synchronous_commit is off (database)", "alter database inspected_", "reset synchronous_commit"}
	}},
	"read only": {"setting", func(p *inspected) []string {
		p.set("database %I", "default_transaction_read_only = on")
		return []string{"read only by default (database)", "reset default_transaction_read_only"}
	}},
	"isolation": {"setting", func(p *inspected) []string {
		p.set("database %I", "default_transaction_isolation = serializable")
		return []string{"transactions are serializable by default (database)"}
	}},
	"isolation of a role": {"setting", func(p *inspected) []string {
		p.set("role postgres in database %I", "default_transaction_isolation = serializable")
		return []string{
			"serializable by default (database user)", "alter role postgres in database inspected_",
			"reset default_transaction_isolation",
		}
	}},
	"connections used up": {"connection", func(p *inspected) []string {
		p.exec("do $$ begin execute format('alter database %I connection limit 1', current_database()); end $$")
		return []string{"1 connections of database inspected_", "connection limit 2"}
	}},
	"ids used up": {"sequence", func(p *inspected) []string {
		p.exec("select setval('pawl.worker_id_seq', 9223372036854775000)")
		return []string{"sequence worker_id_seq has 807 numbers left"}
	}},
	"a clock ahead": {"clock", func(p *inspected) []string {
		p.doctor = func(ctx context.Context) ([]pawl.Finding, error) { return p.client.DoctorAhead(ctx, hour) }
		return []string{"ahead of the database's", "timedatectl"}
	}},
	"a clock behind": {"clock", func(p *inspected) []string {
		p.doctor = func(ctx context.Context) ([]pawl.Finding, error) { return p.client.DoctorAhead(ctx, -hour) }
		return []string{"behind the database's"}
	}},
	"no server at ListenURL": {"listen", func(p *inspected) []string {
		p.connect(p.url, pawl.Config{ListenURL: "postgres://postgres@127.0.0.1:1/postgres"})
		return []string{"LISTEN does not work over Config.ListenURL: failed to connect"}
	}},
	"ListenURL of another database": {"listen", func(p *inspected) []string {
		p.connect(p.url, pawl.Config{ListenURL: p.server.URL("postgres")})
		return []string{"another database"}
	}},
	"ListenURL of a pooler": {"listen", func(p *inspected) []string {
		p.connect(p.url, pawl.Config{ListenURL: pooled(p, p.url)})
		return []string{"over Config.ListenURL: a transaction pooler is in between"}
	}},
	"a pooler without ListenURL": {"pooler", func(p *inspected) []string {
		p.connect(pooled(p, p.url), pawl.Config{})
		return []string{"a transaction pooler is between", "LISTEN does not work", "set Config.ListenURL"}
	}},
	"a role with fewer rights": {"privilege", func(p *inspected) []string {
		role := value[string](p, p.pool, "select 'limited_' || current_database()")
		p.exec("create role " + role + " login; grant usage on schema pawl to " + role)
		p.Cleanup(func() { p.pool.Exec(context.Background(), "drop owned by "+role+"; drop role "+role) })
		begin(p, p.pool)
		p.connect(as(p, p.url, role), pawl.Config{})
		p.mustFind("privilege", "does not see what sessions of other roles do", "grant pg_read_all_stats to "+role)
		p.mustFind("unseen", "permission denied")
		return []string{"role " + role + " may not read archive", "grant select on all tables"}
	}},
}

// Each problem of an installation is found with its object and its remedy, and only after it was made.
func TestDoctorNamesEachProblem(t *testing.T) {
	t.Parallel()
	server := startInspectedServer(t)
	for name, test := range doctorProblems {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := server.newInstallation(t)
			if found := p.findings(); len(found) > 0 {
				t.Fatalf("found before there is a problem: %+v", found)
			}
			p.mustFind(test.check, test.seed(p)...)
		})
	}
}
