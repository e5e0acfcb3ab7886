package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/pawlhq/pawl"
)

// URLVariable passes the database to a worker. A flag would be visible to all users, and the URL may contain a
// password.
const URLVariable = "PAWL_DEMO_DATABASE_URL"

// An event is one line of a worker's standard output. It is written at once, so that a kill loses none.
type event struct {
	What   string        `json:"what"` // start, end, rescued, warning
	Job    pawl.ID       `json:"job,omitempty"`
	Kind   string        `json:"kind,omitempty"`
	Waited time.Duration `json:"waited,omitempty"` // From insert to start, of a job that was ready at once.
	Jobs   int           `json:"jobs,omitempty"`
	Text   string        `json:"text,omitempty"`
}

type reporter struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (r *reporter) write(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.out.Encode(e) // If the demo has ended, so has standard input, which ends this worker.
}

// aroundHandler is a middleware that reports the start and the end of each job.
func (r *reporter) aroundHandler(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
	e := event{What: "start", Job: job.ID, Kind: job.Kind}
	if job.Attempt == 1 && job.RunAt.IsZero() {
		e.Waited = job.StartedAt.Sub(job.CreatedAt)
	}
	r.write(e)
	err := next(ctx)
	r.write(event{What: "end", Job: job.ID})
	return err
}

// The reporter is also the handler of the library's log: warnings and rescues become events.

// Enabled reports whether a level becomes an event.
func (r *reporter) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// WithAttrs returns r.
func (r *reporter) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup returns r.
func (r *reporter) WithGroup(string) slog.Handler { return r }

// Handle writes a record as an event.
func (r *reporter) Handle(_ context.Context, record slog.Record) error {
	e := event{What: "warning", Text: record.Message}
	record.Attrs(func(a slog.Attr) bool {
		if record.Message == "pawl: rescued" && a.Key == "jobs" {
			e.What, e.Jobs = "rescued", int(a.Value.Int64())
		}
		e.Text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	r.write(e)
	return nil
}

// RunWorker is a worker process of the demo. It ends when standard input ends.
func RunWorker(ctx context.Context, name string, heartbeat time.Duration) error {
	url := os.Getenv(URLVariable)
	if url == "" {
		return errors.New("demo worker: pawl demo starts this command; run pawl demo instead")
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		// Standard input ends when the demo stops the worker, and when the demo itself ends. The server may be gone
		// then.
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
		time.AfterFunc(stopTimeout, func() { os.Exit(1) })
	}()
	events := &reporter{out: json.NewEncoder(os.Stdout)}
	pool, client, err := openClient(ctx, url, slog.New(events))
	if err != nil {
		return err
	}
	defer pool.Close()
	shop := &shop{pool: pool, client: client}
	mux := new(pawl.Mux)
	mux.Use(events.aroundHandler)
	pawl.Handle(mux, shop.email)
	pawl.Handle(mux, shop.thumbnail)
	pawl.Handle(mux, shop.invoice, pawl.KindOptions{Max: 8}) // The runner needs the other connections of the pool.
	pawl.Handle(mux, shop.reminder)
	pawl.Handle(mux, shop.report)
	err = client.Run(ctx, mux, pawl.RunnerConfig{Name: name, Heartbeat: heartbeat, DrainTimeout: time.Second})
	if ctx.Err() != nil && err != nil {
		events.write(event{What: "warning", Text: err.Error()})
		return nil
	}
	return err
}
