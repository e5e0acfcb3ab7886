package pawl_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
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
)

// verified returns the checks of Verify that found something.
func verified(t testing.TB, client *pawl.Client) []string {
	t.Helper()
	found, err := client.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return checksOf(found)
}

func checksOf(found []pawl.Finding) (checks []string) {
	for _, f := range found {
		checks = append(checks, f.Check)
	}
	slices.Sort(checks)
	return slices.Compact(checks)
}

// repair runs Repair, which must repair all it finds, and find exactly these checks.
func repair(t testing.TB, client *pawl.Client, checks ...string) {
	t.Helper()
	found, err := client.Repair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if !f.Repaired {
			t.Errorf("not repaired: %+v", f)
		}
		if f.Problem == "" || f.Remedy == "" {
			t.Errorf("a finding without problem or remedy: %+v", f)
		}
	}
	slices.Sort(checks)
	if got := checksOf(found); !slices.Equal(got, checks) {
		t.Errorf("repair found %q, want %q", got, checks)
	}
	if got := verified(t, client); len(got) > 0 {
		t.Errorf("after the repair Verify finds %q", got)
	}
}

// runs runs all jobs until they end. It returns how often each note ran.
func runs(t testing.TB, client *pawl.Client, pool *pgxpool.Pool) map[int]int {
	t.Helper()
	var mu sync.Mutex
	counts := map[int]int{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		counts[job.Args.N]++
		return nil
	})
	const rest = "select (select count(*) from pawl.job) + (select count(*) from pawl.followup)"
	if value[int](t, pool, rest) == 0 {
		return counts
	}
	stop := start(t, client, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all jobs and follow-ups to end", func() bool { return value[int](t, pool, rest) == 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	return counts
}

// broken is an installation with one fault.
type broken struct {
	testing.TB
	client *pawl.Client
	pool   *pgxpool.Pool
	runs   []int  // The notes that must run after the repair, once each.
	after  func() // Checks that follow the repair.
}

func (f *broken) exec(sql string, args ...any) {
	f.Helper()
	exec(f, f.pool, sql, args...)
}

// insertJob inserts a job that must run after the repair.
func (f *broken) insertJob(n int, spec pawl.JobSpec) pawl.ID {
	f.Helper()
	spec.Args = Note{n}
	f.runs = append(f.runs, n)
	return insert(f, f.client, spec)
}

// loseJob inserts a job and deletes its row and its ticket.
func (f *broken) loseJob(n int, spec pawl.JobSpec) pawl.ID {
	f.Helper()
	spec.Args = Note{n}
	id := insert(f, f.client, spec)
	f.exec("delete from pawl.ready where job_id = $1", id)
	f.exec("delete from pawl.job where id = $1", id)
	return id
}

// addTicket inserts another ticket for a job.
func (f *broken) addTicket(id pawl.ID, pos string) {
	f.Helper()
	f.exec(`insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
		select `+pos+`, id, epoch, priority, queue, channel from pawl.job where id = $1`, id)
}

// mustHaveLost reports a result for jobs whose lease the repair has revoked.
func (f *broken) mustHaveLost(held pawl.Jobs) {
	f.Helper()
	if err := f.client.Complete(f.Context(), held); !errors.Is(err, pawl.ErrLeaseLost) {
		f.Errorf("the worker that held the job before the repair gets %v", err)
	}
}

// inspectedServer is a server with durable settings, as Doctor wants them.
type inspectedServer struct {
	*localpg.Server
	count atomic.Int32
}

func startInspectedServer(t testing.TB) *inspectedServer {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Config{Settings: map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_prepared_transactions": "5",
		"track_commit_timestamp": "on",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	h := &inspectedServer{Server: server}
	h.exec(t, "create database template_pawl")
	if err := migrate(t.Context(), h.URL("template_pawl")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *inspectedServer) exec(t testing.TB, statements ...string) {
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

// inspected is an installation in a database of its own.
type inspected struct {
	testing.TB
	server *inspectedServer
	client *pawl.Client
	pool   *pgxpool.Pool
	url    string
	doctor func(context.Context) ([]pawl.Finding, error)
}

// newInstallation makes a database with an installation.
func (h *inspectedServer) newInstallation(t testing.TB) *inspected {
	t.Helper()
	name := fmt.Sprintf("inspected_%d", h.count.Add(1))
	h.exec(t, "create database "+name+" template template_pawl strategy wal_log")
	p := &inspected{TB: t, server: h, url: h.URL(name)}
	p.connect(p.url, pawl.Config{})
	return p
}

// connect gives the installation a client with that configuration.
func (p *inspected) connect(url string, config pawl.Config) {
	p.Helper()
	config.Logger = slog.New(slog.NewTextHandler(p.Output(), nil))
	p.pool = pgtest.Pool(p, url, func(c *pgxpool.Config) { c.MaxConns = 4 })
	client, err := pawl.New(p.pool, config)
	if err != nil {
		p.Fatal(err)
	}
	p.client, p.doctor = client, client.Doctor
}

func (p *inspected) exec(sql string, args ...any) {
	p.Helper()
	exec(p, p.pool, sql, args...)
}

// strict makes Doctor report problems of any age and size.
func (p *inspected) strict() { p.doctor = p.client.DoctorStrict }

// set changes a setting where %I is the database, and opens new connections, which have it.
func (p *inspected) set(where, setting string) {
	p.Helper()
	p.exec("do $$ begin execute format('alter " + where + " set " + setting + "', current_database()); end $$")
	p.pool.Reset()
}

// insert inserts a job that no worker runs.
func (p *inspected) insert(spec pawl.JobSpec) pawl.ID {
	p.Helper()
	spec.Args = Note{1}
	return insert(p, p.client, spec)
}

// worker inserts a worker's row and sets the columns in more.
func (p *inspected) worker(name, more string) {
	p.Helper()
	p.exec(`insert into pawl.worker (name, host, pid, version, queues, started_at, seen_at, stale_after)
		values ($1, 'h', 1, 'v1', null, now(), now(), '1 hour')`, name)
	if more != "" {
		p.exec("update pawl.worker set "+more+" where name = $1", name)
	}
}

func (p *inspected) findings() []pawl.Finding {
	p.Helper()
	found, err := p.doctor(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	return found
}

// mustFind waits until the check has a finding that contains all of says. Statistics arrive with a delay.
func (p *inspected) mustFind(check string, says ...string) {
	p.Helper()
	var found []pawl.Finding
	about := func(f pawl.Finding) bool {
		text := f.Problem + " " + f.Remedy
		return f.Check == check && f.Remedy != "" &&
			!slices.ContainsFunc(says, func(s string) bool { return !strings.Contains(text, s) })
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if found = p.findings(); slices.ContainsFunc(found, about) {
			return
		}
	}
	p.Errorf("no finding of %s says %q: %+v", check, says, found)
}

// as returns the URL with another role.
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

// standby acts as a standby with hot_standby_feedback, which reports its horizon to the server.
func standby(t testing.TB, p *inspected, slot string) (stop func()) {
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

// pooled returns a URL of a proxy that breaks LISTEN as a transaction pooler does: the announced process id is not that
// of the server process, and notifications do not arrive.
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
