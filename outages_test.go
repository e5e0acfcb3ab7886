package pawl_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlhealth"
	"github.com/pawlhq/pawl/pawlstate"
)

// lines counts the lines of a log, or those that contain a text.
func (b *book) lines(text string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range bytes.Lines(b.text.Bytes()) {
		if bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}

// A troubled runner works as a login of its own, whose rights a test takes away.
type troubled struct {
	*realm
	worker *pawl.Client
	book   *book
	claims chan error // The errors of its claims.
}

func newTroubled(t *testing.T) *troubled {
	t.Helper()
	r := &troubled{realm: installRoles(t), book: &book{}, claims: make(chan error, 1000)}
	pool := pgtest.Pool(t, r.url, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.User = 4, r.schema+"_user_worker" })
	var err error
	r.worker, err = pawl.New(pool, pawl.Config{
		Schema: r.schema, Logger: slog.New(slog.NewJSONHandler(r.book, nil)),
		OnClaim: func(_ context.Context, _ pawl.Jobs, _ time.Duration, err error) {
			if err != nil {
				r.claims <- err
			}
		},
	})
	must(t, err)
	return r
}

// owner executes a statement as the owner.
func (r *troubled) owner(text string) {
	r.t.Helper()
	exec(r.t, r.pool, r.in(text))
}

// failClaims waits until n claims have failed.
func (r *troubled) failClaims(n int) {
	r.t.Helper()
	for range n {
		receive(r.t, "a claim to fail", r.claims)
	}
}

const claimFunction = "pawl.claim(uuid, bigint, interval, integer, text[], integer[], text[], bigint[], bigint[], " +
	"integer[])"

// While claims fail, the worker is alive. So it can report that itself.
func TestClaimsThatFailAreToldOnce(t *testing.T) {
	t.Parallel()
	r := newTroubled(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	stop := start(t, r.worker, mux, pawl.RunnerConfig{Heartbeat: 300 * time.Millisecond, Name: "w"})
	await(t, r.client, insert(t, r.client, Note{1}), pawlstate.Completed)
	r.owner(fmt.Sprintf("revoke execute on function %s from public, %s_worker", claimFunction, r.schema))
	id := insert(t, r.client, Note{2})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.book.text.String())
		}
	})
	r.failClaims(4)
	if n := r.book.lines("claim failed"); n != 1 {
		t.Errorf("after 4 failed claims, %d lines say so; want one", n)
	}
	const says = "claims have failed"
	pgtest.Wait(t, "the worker to report it", func() bool {
		w := theWorker(t, r.client)
		return strings.Contains(w.Problem, says) && strings.Contains(w.Problem, "permission denied")
	})
	findings, err := r.client.Doctor(t.Context())
	must(t, err)
	if text := fmt.Sprint(findings); !strings.Contains(text, "(w) is alive, but "+says) {
		t.Errorf("doctor found %s", text)
	}
	if err := r.worker.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("Ready returned %v", err)
	}
	answer := httptest.NewRecorder()
	pawlhealth.Handler(r.worker).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/readyz", nil))
	if answer.Code != 503 || !strings.Contains(answer.Body.String(), says) {
		t.Errorf("/readyz is %d %q", answer.Code, answer.Body)
	}

	r.owner(fmt.Sprintf("grant execute on function %s to %s_worker", claimFunction, r.schema))
	await(t, r.client, id, pawlstate.Completed)
	pgtest.Wait(t, "the worker to be well", func() bool { return theWorker(t, r.client).Problem == "" })
	if err := r.worker.Ready(t.Context()); err != nil {
		t.Errorf("Ready returned %v", err)
	}
	if n := r.book.lines("claims work again"); n != 1 {
		t.Errorf("%d lines say that claims work again", n)
	}
	must(t, stop())
}

// Results wait for a privilege to come back. They are not thrown away, and the log does not name each of them.
func TestResultsWaitForAPrivilege(t *testing.T) {
	t.Parallel()
	r := newTroubled(t)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	const n = 20
	for i := range n {
		insert(t, r.client, Note{i})
	}
	stop := start(t, r.worker, mux, pawl.RunnerConfig{Min: n, Max: n, Heartbeat: 20 * time.Second})
	for range n {
		receive(t, "a job", g.running)
	}
	r.owner(fmt.Sprintf("revoke usage on schema %[1]s from public, %[1]s_worker", r.schema))
	close(g.leave)
	pgtest.Wait(t, "the delivery to fail for a while", func() bool { return r.book.lines("results not delivered") == 2 })
	r.owner(fmt.Sprintf("grant usage on schema %[1]s to %[1]s_worker", r.schema))
	pgtest.Wait(t, "all results to be delivered", func() bool {
		return value[int](t, r.pool, r.in("select count(*) from pawl.archive where attempt = 1 and state = 'completed'")) == n
	})
	if n := r.book.lines("result"); n > 5 {
		t.Errorf("%d lines are about results; want a few", n)
	}
	must(t, stop())
	if c := r.worker.Counters()[0]; c.Completed != n || c.Lost != 0 {
		t.Errorf("counted %+v", c)
	}
}

// A runner whose login is refused does not fill the log: neither by its claims, nor by heartbeats, tasks and listeners.
func TestALoginThatIsRefusedIsToldOnce(t *testing.T) {
	t.Parallel()
	r := newTroubled(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	stop := start(t, r.worker, mux, pawl.RunnerConfig{Heartbeat: 100 * time.Millisecond})
	await(t, r.client, insert(t, r.client, Note{1}), pawlstate.Completed)
	exec(t, r.pool, fmt.Sprintf("alter role %s_user_worker nologin", r.schema))
	exec(t, r.pool, "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", r.schema+"_user_worker")
	id := insert(t, r.client, Note{2})
	pgtest.Wait(t, "more claims to fail", func() bool { return r.book.lines("claim failed") == 2 })
	warnings := r.book.lines(`"WARN"`)
	// Claims, heartbeats, LISTEN, and five tasks that are done each second or more often: each once, and perhaps again
	// after 5 s.
	if warnings > 20 {
		t.Errorf("%d warnings; want a few", warnings)
	}
	exec(t, r.pool, fmt.Sprintf("alter role %s_user_worker login", r.schema))
	await(t, r.client, id, pawlstate.Completed)
	must(t, stop())
	t.Logf("%d warnings", warnings)
}

// An operator expects that a cancelled job's handler ends. So its answer is no warning, whether the handler learned of
// the cancel or not.
func TestTheLateAnswerOfACancelledJobIsNoWarning(t *testing.T) {
	t.Parallel()
	for name, listens := range map[string]bool{"the handler learns of it": true, "the handler answers before": false} {
		for answer, err := range map[string]error{"nil": nil, "an error": errBoom} {
			t.Run(name+" and returns "+answer, func(t *testing.T) {
				t.Parallel()
				b := &book{}
				client, _ := install(t, func(c *pawl.Config) { c.Logger = slog.New(slog.NewJSONHandler(b, nil)) })
				running, leave := make(chan struct{}), make(chan struct{})
				mux := new(pawl.Mux)
				pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[Note]) error {
					close(running)
					select {
					case <-ctx.Done():
					case <-leave:
					}
					return err
				})
				heartbeat := rareBeat
				if listens {
					heartbeat = 100 * time.Millisecond
				}
				id := insert(t, client, Note{1})
				stop := start(t, client, mux, pawl.RunnerConfig{Heartbeat: heartbeat, NoMaintenance: true})
				receive(t, "the job", running)
				wantCount(t, 1)(client.Cancel(t.Context(), id))
				if !listens {
					close(leave)
				}
				const says = "pawl: the job was cancelled while its handler ran; the handler's result is discarded"
				pgtest.Wait(t, "the line", func() bool { return len(b.jobs(t, says)) == 1 })
				must(t, stop())
				if n := b.lines(`"WARN"`) + b.lines("lease lost"); n > 0 {
					t.Errorf("%d lines warn:\n%s", n, b.text.String())
				}
				if c := client.Counters()[0]; c.Cancelled != 1 || c.Lost+c.Failed+c.Completed != 0 {
					t.Errorf("counted %+v", c)
				}
			})
		}
	}
}
