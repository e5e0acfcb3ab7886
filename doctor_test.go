package pawl_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// hospital is a server set as one that is to keep what it is told.
type hospital struct {
	*localpg.Server
	count atomic.Int32
}

func build(t testing.TB) *hospital {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Config{Settings: map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_prepared_transactions": "5",
		"track_commit_timestamp": "on",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	h := &hospital{Server: server}
	h.exec(t, "create database healthy")
	if err := migrate(t.Context(), h.URL("healthy")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hospital) exec(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), h.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range statements {
		exec(t, conn, statement)
	}
}

// patient is an installation in a database of its own.
type patient struct {
	testing.TB
	client *pawl.Client
	pool   *pgxpool.Pool
	url    string
	doctor func(context.Context) ([]pawl.Finding, error)
}

func (h *hospital) admit(t testing.TB) *patient {
	t.Helper()
	name := fmt.Sprintf("patient_%d", h.count.Add(1))
	h.exec(t, "create database "+name+" template healthy strategy wal_log")
	p := &patient{TB: t, url: h.URL(name)}
	p.connect(p.url, pawl.Config{})
	return p
}

// connect gives the patient a client of that kind.
func (p *patient) connect(url string, config pawl.Config) {
	p.Helper()
	config.Logger = slog.New(slog.NewTextHandler(p.Output(), nil))
	p.pool = pgtest.Pool(p, url, func(c *pgxpool.Config) { c.MaxConns = 4 })
	client, err := pawl.New(p.pool, config)
	if err != nil {
		p.Fatal(err)
	}
	p.client, p.doctor = client, client.Doctor
}

func (p *patient) exec(sql string, args ...any) {
	p.Helper()
	exec(p, p.pool, sql, args...)
}

func (p *patient) anxious() { p.doctor = p.client.DoctorAnxious }

// insert inserts a job nobody runs.
func (p *patient) insert(spec pawl.JobSpec) pawl.ID {
	p.Helper()
	spec.Args = Note{1}
	return insert(p, p.client, spec)
}

// worker puts in a worker's row.
func (p *patient) worker(name, more string) {
	p.Helper()
	p.exec(`insert into pawl.worker (name, host, pid, version, queues, started_at, seen_at, stale_after)
		values ($1, 'h', 1, 'v1', null, now(), now(), '1 hour')`, name)
	if more != "" {
		p.exec("update pawl.worker set "+more+" where name = $1", name)
	}
}

func (p *patient) findings() []pawl.Finding {
	p.Helper()
	found, err := p.doctor(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	return found
}

// finds waits until there is a finding of the check that says all of it; a server's statistics take a moment.
func (p *patient) finds(check string, says ...string) {
	p.Helper()
	var found []pawl.Finding
	about := func(f pawl.Finding) bool {
		return f.Check == check && f.Remedy != "" && !slices.ContainsFunc(says, func(s string) bool { return !strings.Contains(f.Problem+" "+f.Remedy, s) })
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if found = p.findings(); slices.ContainsFunc(found, about) {
			return
		}
	}
	p.Errorf("no finding of %s says %q: %+v", check, says, found)
}

// A healthy installation at work has no finding; its role is an ordinary one, that owns its database.
func TestDoctorHealthy(t *testing.T) {
	t.Parallel()
	h := build(t)
	h.exec(t, "create role shop login", "create database shop owner shop")
	p := &patient{TB: t, url: as(t, h.URL("shop"), "shop")}
	if err := migrate(t.Context(), p.url); err != nil {
		t.Fatal(err)
	}
	p.connect(p.url, pawl.Config{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, p.client, mux, pawl.RunnerConfig{})
	if err := p.client.PutQueue(t.Context(), pawl.Queue{Name: "limited", MaxRunning: 2, Rate: pawl.Rate{N: 1000}}); err != nil {
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
		t.Error("Doctor took a client of With")
	}
}

// What is wrong with one installation is found, with whom and what, and was not before.
func TestDoctorFinds(t *testing.T) {
	t.Parallel()
	h := build(t)
	const random = "(select string_agg(md5(random()::text), '') from generate_series(1, 60) where i > 0)"
	for name, test := range map[string]struct {
		check string
		seed  func(*patient) (says []string)
	}{
		"not installed": {"schema", func(p *patient) []string {
			p.exec("drop schema pawl cascade")
			return []string{"no schema pawl", "pawl install"}
		}},
		"older schema": {"schema", func(p *patient) []string {
			p.exec("delete from pawl.migration where version > 5")
			return []string{"version 5", "older", "pawl migrate"}
		}},
		"newer schema": {"schema", func(p *patient) []string {
			p.exec("insert into pawl.migration (version, name) values (9999, 'later')")
			return []string{"version 9999", "newer"}
		}},
		"function missing": {"schema", func(p *patient) []string {
			p.exec("drop function pawl.validate_spec(jsonb)")
			return []string{"wrong (missing)", "pawl verify"}
		}},
		"table missing": {"schema", func(p *patient) []string {
			p.exec("drop table pawl.permit")
			return []string{"table permit is missing"}
		}},
		"index missing": {"index", func(p *patient) []string {
			p.exec("drop index pawl.dead_queue")
			return []string{"dead_queue is missing", "CREATE INDEX CONCURRENTLY dead_queue ON pawl.dead"}
		}},
		"index invalid": {"index", func(p *patient) []string {
			p.exec("update pg_index set indisvalid = false where indexrelid = 'pawl.dead_queue'::regclass")
			return []string{"dead_queue is not valid", "reindex index concurrently pawl.dead_queue"}
		}},
		"partition missing": {"partition", func(p *patient) []string {
			p.exec("do $$ declare p text; begin for p in select inhrelid::regclass from pg_inherits where inhparent = 'pawl.archive'::regclass loop execute 'drop table ' || p; end loop; end $$")
			return []string{"archive_20"}
		}},
		"autovacuum off for a table": {"autovacuum", func(p *patient) []string {
			p.exec("alter table pawl.ready set (autovacuum_enabled = false)")
			return []string{"ready", "alter table pawl.ready reset (autovacuum_enabled)"}
		}},
		"settings changed": {"autovacuum", func(p *patient) []string {
			p.exec("alter table pawl.job set (autovacuum_vacuum_scale_factor = 0.9), reset (vacuum_truncate), set (fillfactor = 30)")
			return []string{"table job", "scale_factor is 0.9, not 0.1", "vacuum_truncate is not set, not false",
				"alter table pawl.job set (autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false), reset (fillfactor)"}
		}},
		"dead rows": {"dead", func(p *patient) []string {
			p.exec("alter table pawl.ready set (autovacuum_enabled = false)")
			p.exec("insert into pawl.ready select i, i, 1, 0, 'q', '' from generate_series(1, 110000) i")
			p.exec("delete from pawl.ready")
			p.anxious()
			return []string{"table ready has 110000 dead rows", "vacuum pawl.ready"}
		}},
		"bloated index": {"bloat", func(p *patient) []string {
			p.exec("insert into pawl.ready select i, i, 1, 0, 'q', repeat('x', 200) || i from generate_series(1, 10000) i")
			p.exec("delete from pawl.ready")
			p.exec("vacuum pawl.ready")
			p.anxious()
			return []string{"index ready_pkey takes", "reindex index concurrently pawl.ready_pkey"}
		}},
		"bloated table": {"bloat", func(p *patient) []string {
			p.exec("insert into pawl.ready select i, i, 1, 0, 'q', repeat('x', 200) || i from generate_series(1, 10000) i")
			p.exec("delete from pawl.ready")
			p.exec("vacuum pawl.ready")
			p.anxious()
			return []string{"table ready takes", "vacuum full pawl.ready"}
		}},
		"old transaction": {"xmin", func(p *patient) []string {
			conn, err := pgx.Connect(p.Context(), p.url+"&application_name=analysis")
			if err != nil {
				p.Fatal(err)
			}
			p.Cleanup(func() { conn.Close(context.Background()) })
			exec(p, conn, "begin isolation level repeatable read")
			exec(p, conn, "select * from pawl.queue")
			p.anxious()
			return []string{fmt.Sprintf("session %d of postgres (analysis", conn.PgConn().PID()), "idle in transaction", " since 20",
				fmt.Sprintf("pg_terminate_backend(%d)", conn.PgConn().PID())}
		}},
		"prepared transaction": {"xmin", func(p *patient) []string {
			tx := begin(p, p.pool)
			exec(p, tx, "insert into pawl.queue (name) values ('q')")
			exec(p, tx, "prepare transaction 'it''s'")
			p.Cleanup(func() { p.pool.Exec(context.Background(), "rollback prepared 'it''s'") })
			p.anxious()
			return []string{"the prepared transaction 'it''s' of postgres", " since 20", "rollback prepared 'it''s'"}
		}},
		"table locked": {"lock", func(p *patient) []string {
			tx := begin(p, p.pool)
			exec(p, tx, "lock table pawl.queue in access exclusive mode")
			p.finds("unseen", "queue", "lock timeout")
			p.anxious()
			return []string{fmt.Sprintf("session %d", tx.Conn().PgConn().PID()), "table queue", "pg_terminate_backend("}
		}},
		"queue paused": {"queue", func(p *patient) []string {
			p.insert(pawl.JobSpec{Queue: "ann's mail"})
			if err := p.client.PauseQueue(p.Context(), "ann's mail"); err != nil {
				p.Fatal(err)
			}
			p.anxious()
			return []string{`queue 'ann'\''s mail': `, " since 20", "1 ready", "is paused", `pawl queue resume 'ann'\''s mail'`}
		}},
		"queue nobody serves": {"queue", func(p *patient) []string {
			p.insert(pawl.JobSpec{Queue: "mail"})
			p.worker("other", "queues = '{other}'")
			p.anxious()
			return []string{"queue mail", "no worker serves it", "pawl consume mail --"}
		}},
		"queue whose workers are suspended": {"queue", func(p *patient) []string {
			p.insert(pawl.JobSpec{Queue: "mail"})
			p.worker("v", "state = 'suspended'")
			p.worker("w", "state = 'suspended'")
			p.anxious()
			return []string{"no worker serves it; worker 1 (v) is suspended, worker 2 (w) is suspended", "pawl worker resume 1 2"}
		}},
		"queue whose workers idle": {"queue", func(p *patient) []string {
			p.insert(pawl.JobSpec{Queue: "mail"})
			p.worker("w", "")
			p.anxious()
			return []string{"1 worker serves it, and nothing runs"}
		}},
		"scheduled jobs overdue": {"queue", func(p *patient) []string {
			p.insert(pawl.JobSpec{Queue: "mail", Delay: time.Millisecond})
			p.anxious()
			return []string{"0 ready, 1 scheduled", "no worker serves it"}
		}},
		"limit used up": {"queue", func(p *patient) []string {
			if err := p.client.PutQueue(p.Context(), pawl.Queue{Name: "default", MaxRunning: 1}); err != nil {
				p.Fatal(err)
			}
			first := p.insert(pawl.JobSpec{})
			p.insert(pawl.JobSpec{})
			claim(p, p.client, 1)
			p.anxious()
			return []string{fmt.Sprintf("its limit of 1 at once is used up by job %d", first), "pawl queue set default --max-running 2"}
		}},
		"limit of nothing": {"queue", func(p *patient) []string {
			p.exec("insert into pawl.queue (name, max_running) values ('default', 0)")
			p.insert(pawl.JobSpec{})
			p.anxious()
			return []string{"its limit of 0 at once is used up", "--max-running 1"}
		}},
		"rate of next to nothing": {"queue", func(p *patient) []string {
			if err := p.client.PutQueue(p.Context(), pawl.Queue{Name: "default", Rate: pawl.Rate{N: 1, Per: 24 * hour}}); err != nil {
				p.Fatal(err)
			}
			p.insert(pawl.JobSpec{})
			p.insert(pawl.JobSpec{})
			claim(p, p.client, 1)
			p.anxious()
			return []string{"its rate of 1 in 86400 s lets the next one start in 23:59:5", "pawl queue set default --rate none"}
		}},
		"channel halted": {"halted_channel", func(p *patient) []string {
			if err := p.client.PutQueue(p.Context(), pawl.Queue{Name: "default", HaltOnDead: true}); err != nil {
				p.Fatal(err)
			}
			id := p.insert(pawl.JobSpec{Channel: "acme", Ordered: true})
			p.insert(pawl.JobSpec{Channel: "acme", Ordered: true})
			if err := p.client.Fail(p.Context(), claim(p, p.client, 1), pawl.Dead(io.EOF)); err != nil {
				p.Fatal(err)
			}
			return []string{"channel acme of queue default", " since 20", fmt.Sprintf("job %d died: 1 jobs wait", id), "select pawl.resume_channel('default', 'acme')"}
		}},
		"lease expired": {"overdue", func(p *patient) []string {
			p.insert(pawl.JobSpec{})
			claim(p, p.client, 1)
			p.exec("update pawl.lease set expires_at = now() - interval '2 minutes'")
			return []string{"1 leases are lost since 20", "1 jobs"}
		}},
		"worker dead": {"overdue", func(p *patient) []string {
			p.insert(pawl.JobSpec{})
			claim(p, p.client, 1)
			p.worker("gone", "seen_at = now() - interval '2 hours', stale_after = '9 seconds', gone_at = now() - interval '1 hour'")
			p.exec("update pawl.lease set expires_at = null, worker_id = (select id from pawl.worker)")
			return []string{"1 leases are lost", "(gone)"}
		}},
		"cron overdue": {"overdue", func(p *patient) []string {
			putCron(p, p.client, hourly("nightly"))
			p.exec("update pawl.cron set next_at = now() - interval '2 minutes'")
			return []string{"1 schedules have been due since 20", "nightly"}
		}},
		"reservation overdue": {"overdue", func(p *patient) []string {
			id := p.insert(pawl.JobSpec{Reserve: hour})
			p.exec("update pawl.blocked set expires_at = now() - interval '2 minutes'")
			return []string{"1 reservations", fmt.Sprintf("job %d", id)}
		}},
		"dead jobs kept": {"overdue", func(p *patient) []string {
			p.insert(pawl.JobSpec{})
			if err := p.client.Fail(p.Context(), claim(p, p.client, 1), pawl.Dead(io.EOF)); err != nil {
				p.Fatal(err)
			}
			p.exec("update pawl.dead set expires_at = now() - interval '2 days'")
			return []string{"dead jobs are kept since 20"}
		}},
		"workers of two versions": {"worker", func(p *patient) []string {
			p.worker("old", "")
			p.worker("new", "version = 'v2'")
			return []string{"workers of 2 versions", "v1 (1 workers", "new"}
		}},
		"clock set back": {"worker", func(p *patient) []string {
			p.worker("w", "seen_at = now() + interval '1 hour'")
			return []string{"(w) has its last heartbeat in the future"}
		}},
		"partition not dropped": {"archive", func(p *patient) []string {
			p.exec("create table pawl.archive_20200101 partition of pawl.archive for values from ('2020-01-01') to ('2020-01-02')")
			return []string{"1 partition of the archive is past its day and not dropped", "archive_20200101",
				"alter table pawl.archive detach partition pawl.archive_20200101 concurrently; drop table pawl.archive_20200101"}
		}},
		"partition detached and forgotten": {"archive", func(p *patient) []string {
			p.exec("create table pawl.archive_20200101 (like pawl.archive)")
			return []string{"1 table is past its day, detached from the archive, and still there", "drop table pawl.archive_20200101"}
		}},
		"default partition": {"archive", func(p *patient) []string {
			p.exec("create table pawl.rest partition of pawl.archive default")
			return []string{"default partition, rest", "detach partition pawl.rest"}
		}},
		"archive oversized": {"archive", func(p *patient) []string {
			if err := p.client.PutQueue(p.Context(), pawl.Queue{Name: "hoard", RetainCompleted: 30 * 24 * hour, RetainCancelled: -1, RetainDead: -1}); err != nil {
				p.Fatal(err)
			}
			p.exec(`insert into pawl.archive (id, finished_at, expires_at, created_at, epoch, priority, attempt, state, queue, channel, kind, data)
				select i, now(), now() + interval '1 day', now(), 1, 0, 1, 'completed', 'q', '', 'k', ` + random + `::bytea from generate_series(1, 1000) i`)
			p.anxious()
			return []string{"the archive takes", "longest retention is 720:00:00, of queue hoard"}
		}},
		"answers lost in a crash": {"durability", func(p *patient) []string {
			p.exec("do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$")
			p.pool.Reset()
			return []string{"synchronous_commit is off (database)", "alter database patient_", "reset synchronous_commit"}
		}},
		"read only": {"setting", func(p *patient) []string {
			p.exec("do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$")
			p.pool.Reset()
			return []string{"read only by default (database)", "reset default_transaction_read_only"}
		}},
		"isolation": {"setting", func(p *patient) []string {
			p.exec("do $$ begin execute format('alter database %I set default_transaction_isolation = serializable', current_database()); end $$")
			p.pool.Reset()
			return []string{"transactions are serializable by default (database)"}
		}},
		"isolation of a role": {"setting", func(p *patient) []string {
			p.exec("do $$ begin execute format('alter role postgres in database %I set default_transaction_isolation = serializable', current_database()); end $$")
			p.pool.Reset()
			return []string{"serializable by default (database user)", "alter role postgres in database patient_", "reset default_transaction_isolation"}
		}},
		"connections used up": {"connection", func(p *patient) []string {
			p.exec("do $$ begin execute format('alter database %I connection limit 1', current_database()); end $$")
			return []string{"1 connections of database patient_", "connection limit 2"}
		}},
		"ids used up": {"sequence", func(p *patient) []string {
			p.exec("select setval('pawl.worker_id_seq', 9223372036854775000)")
			return []string{"sequence worker_id_seq has 807 numbers left"}
		}},
		"a clock ahead": {"clock", func(p *patient) []string {
			p.doctor = func(ctx context.Context) ([]pawl.Finding, error) { return p.client.DoctorAhead(ctx, hour) }
			return []string{"ahead of the database's", "timedatectl"}
		}},
		"a clock behind": {"clock", func(p *patient) []string {
			p.doctor = func(ctx context.Context) ([]pawl.Finding, error) { return p.client.DoctorAhead(ctx, -hour) }
			return []string{"behind the database's"}
		}},
		"nobody there to listen to": {"listen", func(p *patient) []string {
			p.connect(p.url, pawl.Config{ListenURL: "postgres://postgres@127.0.0.1:1/postgres"})
			return []string{"LISTEN does not work over Config.ListenURL: failed to connect"}
		}},
		"listening elsewhere": {"listen", func(p *patient) []string {
			p.connect(p.url, pawl.Config{ListenURL: h.URL("postgres")})
			return []string{"another database"}
		}},
		"listening through a pooler": {"listen", func(p *patient) []string {
			p.connect(p.url, pawl.Config{ListenURL: pooled(p, p.url)})
			return []string{"over Config.ListenURL: a transaction pooler is in between"}
		}},
		"a pooler": {"pooler", func(p *patient) []string {
			p.connect(pooled(p, p.url), pawl.Config{})
			return []string{"a pooler is between", "no LISTEN", "set Config.ListenURL"}
		}},
		"a role that sees less": {"privilege", func(p *patient) []string {
			role := value[string](p, p.pool, "select 'nurse_' || current_database()")
			p.exec("create role " + role + " login; grant usage on schema pawl to " + role)
			p.Cleanup(func() { p.pool.Exec(context.Background(), "drop owned by "+role+"; drop role "+role) })
			begin(p, p.pool)
			p.connect(as(p, p.url, role), pawl.Config{})
			p.finds("privilege", "does not see what sessions of other roles do", "grant pg_read_all_stats to "+role)
			p.finds("unseen", "permission denied")
			return []string{"role " + role + " may not read archive", "grant select on all tables"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := h.admit(t)
			if found := p.findings(); len(found) > 0 {
				t.Fatalf("found before there is anything: %+v", found)
			}
			p.finds(test.check, test.seed(p)...)
		})
	}
}

// What is wrong with a server is found; one after the other, for there is one server.
func TestDoctorFindsOfServers(t *testing.T) {
	t.Parallel()
	h := build(t)
	p := h.admit(t)
	if found := p.findings(); len(found) > 0 {
		t.Fatalf("found before there is anything: %+v", found)
	}
	for _, setting := range []string{"autovacuum", "track_counts"} {
		h.exec(t, "alter system set "+setting+" = off", "select pg_reload_conf()")
		p.finds("autovacuum", setting+" is off (configuration file)", "alter system set "+setting+" = on")
		h.exec(t, "alter system reset "+setting, "select pg_reload_conf()")
	}
	for _, setting := range []string{"fsync", "full_page_writes"} {
		h.exec(t, "alter system set "+setting+" = off", "select pg_reload_conf()")
		p.finds("durability", setting+" is off (configuration file)", "alter system set "+setting+" = on")
		h.exec(t, "alter system reset "+setting, "select pg_reload_conf()")
	}
	pgtest.Wait(t, "the server to be well again", func() bool { return len(p.findings()) == 0 })

	p.anxious()
	for _, slot := range []string{"", "backup"} {
		if slot != "" {
			h.exec(t, "select pg_create_physical_replication_slot('backup', true)")
		}
		stop := standby(t, p, slot)
		burn := func() {
			for range 3 {
				h.exec(t, "select pg_current_xact_id()")
			}
		}
		burn()
		if slot == "" {
			p.finds("xmin", "the standby far", "hot_standby_feedback")
			stop()
			continue
		}
		p.finds("xmin", "the replication slot backup (in use by process", "hot_standby_feedback")
		stop()
		p.finds("xmin", "the replication slot backup (in use by nobody", ", since about 20", "pg_drop_replication_slot('backup')")
		pgtest.Wait(t, "the slot to be dropped", func() bool {
			_, err := p.pool.Exec(t.Context(), "select pg_drop_replication_slot('backup')")
			return err == nil
		})
	}

	p.doctor = p.client.Doctor
	const far = "set datfrozenxid = ((pg_current_xact_id()::text::bigint - %d + 4294967296) %% 4294967296)::text::xid where datname = current_database()"
	p.exec("update pg_database " + fmt.Sprintf(far, 1_200_000_000))
	p.finds("wraparound", "1200 million transactions old", "vacuum (freeze)")
}

// Connections of the whole server, and room for locks.
func TestDoctorFindsSmallServers(t *testing.T) {
	t.Parallel()
	server, err := localpg.Start(t.Context(), localpg.Config{Settings: map[string]string{"max_connections": "12", "max_locks_per_transaction": "32"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	p := &patient{TB: t, url: server.URL("postgres")}
	if err := migrate(t.Context(), p.url); err != nil {
		t.Fatal(err)
	}
	p.connect(p.url, pawl.Config{})
	p.finds("setting", "384 locks", "max_locks_per_transaction = 256")
	if slices.Contains(checksOf(p.findings()), "connection") {
		t.Error("connections are short before they are")
	}
	for range 8 {
		conn, err := pgx.Connect(t.Context(), p.url+"&application_name=greedy")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
	}
	p.finds("connection", "of 9 connections of the server", "by greedy", "max_connections = 18")
}

// The database going away is an error, and soon.
func TestDoctorWithoutServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	p := &patient{TB: t, url: server.URL("postgres")}
	if err := migrate(t.Context(), p.url); err != nil {
		t.Fatal(err)
	}
	p.connect(p.url, pawl.Config{})
	if err := server.StopServer(t.Context(), localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	for verb, do := range map[string]func(context.Context) ([]pawl.Finding, error){"Verify": p.client.Verify, "Repair": p.client.Repair, "Doctor": p.client.Doctor} {
		if found, err := do(t.Context()); err == nil {
			t.Errorf("%s without a server: %+v", verb, found)
		}
	}
}

// as is a URL for another role.
func as(t testing.TB, database, role string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("user", role)
	u.RawQuery = query.Encode()
	return u.String()
}

// standby pretends to be one that reads, and tells the server of its horizon.
func standby(t testing.TB, p *patient, slot string) (stop func()) {
	t.Helper()
	config, err := pgconn.ParseConfig(p.url)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["replication"] = "true"
	config.RuntimeParams["application_name"] = "far"
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	at, err := conn.Exec(t.Context(), "IDENTIFY_SYSTEM").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	start := "START_REPLICATION "
	if slot != "" {
		start += "SLOT " + slot + " "
	}
	conn.Frontend().Send(&pgproto3.Query{String: start + "PHYSICAL " + string(at[0].Rows[0][2])})
	horizon := value[int64](t, p.pool, "select pg_current_xact_id()::text::bigint")
	feedback := binary.BigEndian.AppendUint64([]byte{'h'}, 0)
	feedback = binary.BigEndian.AppendUint32(feedback, uint32(horizon))
	feedback = binary.BigEndian.AppendUint32(feedback, uint32(horizon>>32))
	feedback = append(feedback, make([]byte, 8)...)
	conn.Frontend().Send(&pgproto3.CopyData{Data: feedback})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	stop = func() { conn.Conn().Close() }
	t.Cleanup(stop)
	return stop
}

// pooled is a URL that leads through something that does to LISTEN what a transaction pooler does: the server process is another than is
// announced, and notifications do not come.
func pooled(t testing.TB, target string) string {
	t.Helper()
	config, err := pgconn.ParseConfig(target)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", fmt.Sprintf("%s/.s.PGSQL.%d", config.Host, config.Port))
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				io.Copy(server, client)
				server.Close()
			}()
			go func() {
				defer client.Close()
				for header := make([]byte, 5); ; {
					if _, err := io.ReadFull(server, header); err != nil {
						return
					}
					body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
					if _, err := io.ReadFull(server, body); err != nil {
						return
					}
					switch header[0] {
					case 'K':
						binary.BigEndian.PutUint32(body, 1)
					case 'A':
						continue
					}
					if _, err := client.Write(append(slices.Clone(header), body...)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", config.User, listener.Addr(), config.Database)
}
