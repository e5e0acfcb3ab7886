package pawl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// If many processes see the same tick at the same moment, it becomes one job.
func TestCronTicksOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	client, pool := connect(t, url)
	others := []*pawl.Client{client}
	for range 3 {
		other, _ := connect(t, url)
		others = append(others, other)
	}
	const n, rounds = 30, 5
	for i := range n {
		putCron(t, client, hourly(fmt.Sprint(i)))
	}
	for range rounds {
		makeCronsLate(t, pool, "1 millisecond")
		var all sync.WaitGroup
		for _, other := range others {
			all.Go(func() {
				for value[int](t, pool, "select count(*) from pawl.cron where next_at <= clock_timestamp()") > 0 {
					if err := other.TickCrons(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	if got := values[int](t, pool, "select count(*) from pawl.job group by fingerprint"); len(got) != n {
		t.Errorf("%d of %d crons ticked", len(got), n)
	} else {
		for _, jobs := range got {
			if jobs != rounds {
				t.Errorf("a cron ticked %d times in %d rounds", jobs, rounds)
			}
		}
	}
	if value[int](t, pool, "select count(*) from (select distinct fingerprint, opts -> 'headers' ->> 'tick', run_at "+
		"from pawl.job) x") != n*rounds {
		t.Error("two jobs have one tick")
	}
}

// If a process dies before it commits a tick, another process takes the tick once the server has ended the transaction.
func TestCronTickSurvivesADeadProcess(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	putCron(t, client, hourly("a"), hourly("b"))
	makeCronsLate(t, pool, "1 second")
	tx := begin(t, pool)
	taken := value[string](t, tx, "select name from pawl.take_cron('{}', '{}', '{}')")
	if limit := value[string](t, tx, "show idle_in_transaction_session_timeout"); limit != "10s" {
		t.Errorf("a frozen taker holds the cron for %s", limit)
	}
	insert(t, client.With(tx), pawl.JobSpec{Args: Note{2}, Headers: map[string]string{"cron": taken}})
	exec(t, tx, "select pawl.tick_cron($1, clock_timestamp(), clock_timestamp() + interval '1 hour')", taken)
	tickCrons(t, client)
	if n := countCronJobs(t, pool, taken); n != 0 {
		t.Errorf("%d jobs of a tick that another process holds", n)
	}
	if n := liveRows(t, pool); n != 2 { // A job and its ticket: of the other cron.
		t.Errorf("%d rows, want the other cron's two", n)
	}
	pid := value[int](t, tx, "select pg_backend_pid()")
	exec(t, pool, "select pg_terminate_backend($1::int)", pid)
	pgtest.Wait(t, "the taker to be gone", func() bool {
		return value[bool](t, pool, "select not exists (select from pg_stat_activity where pid = $1::int)", pid)
	})
	tickCrons(t, client)
	tickCrons(t, client)
	if n := countCronJobs(t, pool, taken); n != 1 {
		t.Errorf("%d jobs of one tick after its first taker died", n)
	}
}

func TestCronCatchUp(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for catchUp := range 6 {
		cron := hourly(fmt.Sprint(catchUp))
		cron.CatchUp = catchUp
		putCron(t, client, cron)
	}
	makeCronsLate(t, pool, "3 hours 5 minutes") // Four ticks.
	tickCrons(t, client)
	for catchUp, want := range []int{0, 1, 2, 3, 4, 4} {
		if got := countCronJobs(t, pool, fmt.Sprint(catchUp)); got != want {
			t.Errorf("CatchUp %d: %d jobs, want %d", catchUp, got, want)
		}
		cron := oneCron(t, client, fmt.Sprint(catchUp))
		if cron.LastAt.IsZero() != (want == 0) {
			t.Errorf("CatchUp %d: LastAt %v", catchUp, cron.LastAt)
		}
		if left := cron.NextAt.Sub(value[time.Time](t, pool, "select clock_timestamp()")); left < 50*time.Minute ||
			left > 55*time.Minute {
			t.Errorf("CatchUp %d: the next tick is in %v", catchUp, left)
		}
	}
	makeCronsLate(t, pool, "30 seconds") // Late, but not missed.
	tickCrons(t, client)
	if got := countCronJobs(t, pool, "0"); got != 1 {
		t.Errorf("%d jobs of a tick that was 30 s late", got)
	}
}

// A cron that this binary cannot read, or whose job the database refuses, does not stop other crons.
func TestBadCronsStopNoOthers(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var lines lockedBuffer
	client, pool := connect(t, url, func(c *pawl.Config) { c.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
	putCron(t, client, hourly("odd spec"), hourly("odd zone"), hourly("refused"), hourly("good"), hourly("last"))
	exec(t, pool, `create function no() returns trigger language plpgsql as $$
		begin if new.fingerprint = 'refused' then raise 'not this one' using errcode = '23514'; end if; return new; end $$`)
	exec(t, pool, "create trigger no before insert on pawl.job for each row execute function no()")
	exec(t, pool, "update pawl.cron set spec = 'every other tuesday' where name = 'odd spec'")
	exec(t, pool, "update pawl.cron set zone = 'Mars/Olympus' where name = 'odd zone'")
	makeCronsLate(t, pool, "20 seconds")
	runMaintenance(t, client)
	pgtest.Wait(t, "good crons to tick beside bad ones", func() bool { return liveRows(t, pool) == 4 })
	exec(t, pool, "update pawl.cron set next_at = clock_timestamp() where name = 'last'") // A second round.
	pgtest.Wait(t, "another tick", func() bool { return countCronJobs(t, pool, "last") == 2 })
	if n := strings.Count(lines.String(), "cannot read"); n != 2 {
		t.Errorf("two unreadable crons made %d log lines:\n%s", n, lines.String())
	}
	// At the end of a round.
	pgtest.Wait(t, "the refused job to be logged", func() bool { return strings.Contains(lines.String(), "not this one") })
	// Repaired.
	putCron(t, client, hourly("odd zone"))
	exec(t, pool, "update pawl.cron set next_at = clock_timestamp() where name = 'odd zone'")
	pgtest.Wait(t, "a repaired cron to tick", func() bool { return countCronJobs(t, pool, "odd zone") == 1 })
}

// Rows of cron that no client writes, but a restore, another version or a hand: none stops the others, and Crons lists
// all.
func TestHostileCronRowsStopNoOthers(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for name, change := range map[string]string{
		"next tick never":  "next_at = 'infinity'",
		"next tick always": "next_at = '-infinity'",
		"last tick always": "last_at = '-infinity', next_at = clock_timestamp()",
		"last tick never":  "last_at = 'infinity', next_at = clock_timestamp()",
		"jitter":           "jitter = '170000 years', next_at = clock_timestamp()",
		"negative jitter":  "jitter = '-170000 years', next_at = clock_timestamp()",
		"catch up":         "catch_up = 2147483647, next_at = clock_timestamp() - interval '10 years'",
		"negative":         "catch_up = -5, next_at = clock_timestamp()",
		"no job":           "job = '5', next_at = clock_timestamp()",
		"odd job":          `job = '{"kind": "note", "queue": "default", "priority": "x"}', next_at = clock_timestamp()`,
		"odd constraints": `job = '{"kind": "note", "queue": "default", "constraints": {"key": 5}}',
			next_at = clock_timestamp()`,
		"no queue": `job = '{"kind": "note"}', next_at = clock_timestamp()`,
	} {
		putCron(t, client, hourly(name))
		exec(t, pool, "update pawl.cron set "+change+" where name = $1", name)
	}
	putCron(t, client, hourly("good"))
	exec(t, pool, "update pawl.cron set next_at = clock_timestamp() where name = 'good'")
	runMaintenance(t, client)
	pgtest.Wait(t, "the good cron to tick", func() bool { return countCronJobs(t, pool, "good") == 1 })
	crons, err := client.Crons(t.Context())
	if err != nil || len(crons) != 13 {
		t.Errorf("%d crons: %v", len(crons), err)
	}
	if _, err := client.Doctor(t.Context()); err != nil {
		t.Error(err)
	}
	// A worker cannot write such times.
	for _, call := range []string{
		"select pawl.tick_cron('good', null, '-infinity')", "select pawl.tick_cron('good', null, 'infinity')",
		"select pawl.tick_cron('good', null, null)", "select pawl.tick_cron('good', 'infinity', now() + interval '1 hour')",
		"select pawl.put_cron('{x}', '{@hourly}', '{UTC}', '{5}', '{0}', '{0}', '{0}', '{now}')",
		"select pawl.put_cron('{x}', '{@hourly}', '{UTC}', array['{\"kind\": \"x\"}'], '{0}', '{0}', '{0}', '{infinity}')",
	} {
		_, err := pool.Exec(t.Context(), call)
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "22023" {
			t.Errorf("%s: %v", call, err)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// runMaintenance runs maintenance during the test.
func runMaintenance(t testing.TB, client *pawl.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Maintain(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Tend: %v", err)
		}
	})
}

// With two processes, a cron of every second ticks once in each second.
func TestACronTicksEverySecond(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	client, pool := connect(t, url)
	other, _ := connect(t, url)
	putCron(t, client, pawl.Cron{Name: "second", Spec: "* * * * * *", Job: pawl.JobSpec{Args: Note{1}}})
	runMaintenance(t, client)
	runMaintenance(t, other)
	pgtest.Wait(t, "five ticks", func() bool { return countCronJobs(t, pool, "second") >= 5 })
	ticks := values[time.Time](t, pool, "select run_at from pawl.job order by run_at, id limit 5")
	for i := range ticks[1:] {
		if step := ticks[i+1].Sub(ticks[i]); step != time.Second {
			t.Errorf("ticks %v and %v", ticks[i], ticks[i+1])
		}
	}
	t.Log("later than the tick by", values[string](t, pool,
		"select (created_at - run_at)::text from pawl.job order by run_at"))
}

// With many crons, due_cron reads one row and not all, even with a plan that was made while there were no crons.
func TestDueCronReadsOne(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	client, pool := connect(t, url)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	const look = "select pawl.due_cron('{a}', '{b}', '{c}'), pawl.take_cron('{a}', '{b}', '{c}')"
	exec(t, conn, "vacuum analyze pawl.cron")
	exec(t, conn, look)
	crons := make([]pawl.Cron, 3000)
	for i := range crons {
		crons[i] = hourly(fmt.Sprint(i))
	}
	putCron(t, client, crons...)
	exec(t, pool, "update pawl.cron set next_at = clock_timestamp() where name < '2'")
	exec(t, pool, "vacuum pawl.cron")
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	const count = "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables where " +
		"relid = 'pawl.cron'::regclass"
	before := value[int](t, tx, count)
	exec(t, tx, look)
	exec(t, tx, "select pawl.tick_cron('1', clock_timestamp(), clock_timestamp() + interval '1 hour')")
	if n := value[int](t, tx, count) - before; n > 10 {
		t.Errorf("%d rows read", n)
	}
}
