package main

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

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// demoURLEnv tells a worker its database. Not a flag: the URL may hold a password, and flags are seen by everyone.
const demoURLEnv = "PAWL_DEMO_DATABASE_URL"

func demoWorkerCommand() *cobra.Command {
	var name string
	var heartbeat time.Duration
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "One of the demo's workers; ends with its standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url := os.Getenv(demoURLEnv)
			if url == "" {
				return errors.New("demo worker: this is started by `pawl demo`; run that instead")
			}
			return runDemoWorker(cmd.Context(), url, name, heartbeat)
		},
	}
	cmd.Flags().StringVar(&name, "name", "A", "of the worker")
	cmd.Flags().DurationVar(&heartbeat, "heartbeat", 500*time.Millisecond, "a worker is taken for dead after three")
	return cmd
}

// demoEvent is what a worker tells the demo, a line each, written at once: a worker killed later has still said it.
type demoEvent struct {
	What   string        `json:"what"` // start, end, rescued, warning
	Job    pawl.ID       `json:"job,omitempty"`
	Kind   string        `json:"kind,omitempty"`
	Waited time.Duration `json:"waited,omitempty"` // Insert to start, of a job that was ready at once.
	Jobs   int           `json:"jobs,omitempty"`
	Text   string        `json:"text,omitempty"`
}

type reporter struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (r *reporter) tell(e demoEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Encode(e) // If nobody listens, standard input has ended too.
}

// aroundHandler is middleware: the demo learns what each worker holds.
func (r *reporter) aroundHandler(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
	e := demoEvent{What: "start", Job: job.ID, Kind: job.Kind}
	if job.Attempt == 1 && job.RunAt.IsZero() {
		e.Waited = job.StartedAt.Sub(job.CreatedAt)
	}
	r.tell(e)
	err := next(ctx)
	r.tell(demoEvent{What: "end", Job: job.ID})
	return err
}

// The library's log becomes events: warnings are kept for the case that a check fails, and a rescue is a thing to show.
func (r *reporter) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (r *reporter) WithAttrs([]slog.Attr) slog.Handler               { return r }
func (r *reporter) WithGroup(string) slog.Handler                    { return r }

func (r *reporter) Handle(_ context.Context, record slog.Record) error {
	e := demoEvent{What: "warning", Text: record.Message}
	record.Attrs(func(a slog.Attr) bool {
		if record.Message == "pawl: rescued" && a.Key == "jobs" {
			e.What, e.Jobs = "rescued", int(a.Value.Int64())
		}
		e.Text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	r.tell(e)
	return nil
}

func runDemoWorker(ctx context.Context, url, name string, heartbeat time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		// Standard input ends when the demo says so, and when it is no more. Then the server may be gone too.
		io.Copy(io.Discard, os.Stdin)
		stop()
		time.AfterFunc(workerStops, func() { os.Exit(1) })
	}()
	events := &reporter{out: json.NewEncoder(os.Stdout)}
	pool, client, err := openDemoClient(ctx, url, slog.New(events))
	if err != nil {
		return err
	}
	defer pool.Close()
	shop := &shop{pool: pool, client: client}
	mux := new(pawl.Mux)
	mux.Use(events.aroundHandler)
	pawl.Handle(mux, shop.email)
	pawl.Handle(mux, shop.thumbnail)
	pawl.Handle(mux, shop.invoice, pawl.KindOptions{Max: 8}) // Of the pool's connections; the rest is the runner's.
	pawl.Handle(mux, shop.reminder)
	pawl.Handle(mux, shop.report)
	err = client.Run(ctx, mux, pawl.RunnerConfig{Name: name, Heartbeat: heartbeat, DrainTimeout: time.Second})
	if ctx.Err() != nil && err != nil {
		events.tell(demoEvent{What: "warning", Text: err.Error()})
		return nil
	}
	return err
}

// shop has the handlers.
type shop struct {
	pool   *pgxpool.Pool
	client *pawl.Client
}

// work stands for what a real handler does meanwhile.
func work(ctx context.Context, d time.Duration) error {
	if !pause(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}

func (*shop) email(ctx context.Context, job *pawl.Job[emailJob]) error {
	if err := work(ctx, time.Duration(4+job.Args.User%7)*time.Millisecond); err != nil {
		return err
	}
	if job.Attempt <= job.Args.Refused {
		return errors.New("451 mail server is busy, try again later")
	}
	return nil
}

func (*shop) thumbnail(ctx context.Context, job *pawl.Job[thumbnailJob]) error {
	if err := work(ctx, time.Duration(15+job.Args.Image%30)*time.Millisecond); err != nil {
		return err
	}
	switch {
	case job.Args.Broken:
		return errors.New("unexpected end of image data")
	case job.Attempt <= job.Args.Refused:
		return errors.New("503 image store is being restarted")
	}
	return nil
}

// invoice writes its row and completes the job in one transaction: whatever happens, both or neither.
func (s *shop) invoice(ctx context.Context, job *pawl.Job[invoiceJob]) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, "insert into pawl_demo_app.invoice (order_id, job_id, cents) values ($1, $2, $3)",
		job.Args.Order, int64(job.ID), job.Args.Cents); err != nil {
		return err
	}
	if err := work(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	if job.Args.Fails && job.Attempt == 1 {
		return errors.New("the printer is out of paper")
	}
	if err := s.client.With(tx).Complete(ctx, job); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func (*shop) reminder(ctx context.Context, job *pawl.Job[reminderJob]) error {
	if job.Args.Unknown {
		return pawl.Dead(errors.New("there is no such order"))
	}
	return work(ctx, 5*time.Millisecond)
}

func (*shop) report(ctx context.Context, job *pawl.Job[reportJob]) error {
	if err := work(ctx, job.Args.Takes); err != nil {
		return err
	}
	if job.Args.Broken {
		return errors.New("the books of this month do not balance")
	}
	return nil
}
