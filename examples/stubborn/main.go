// This program shows a worker that does not stop while it has jobs: it asks their handlers to come to an end, waits
// for them, and then stops.
package main

import (
	"context"
	"fmt"
	"log"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// A Worker runs jobs. When it is told to stop, it claims no more jobs and waits for its handlers, however long they
// take. Their contexts do not end, and no job is released half done. Heartbeats continue, so no other worker takes
// its jobs.
type Worker struct {
	client *pawl.Client
	mux    *pawl.Mux
	asked  chan struct{} // Closed when the handlers are asked to come to an end.

	mu   sync.Mutex
	held map[pawl.ID]string
}

type askedKey struct{}

// Asked returns a channel that is closed when the worker is asked to stop. A handler that can stop early, with a
// checkpoint, may watch it.
func Asked(ctx context.Context) <-chan struct{} {
	asked, _ := ctx.Value(askedKey{}).(chan struct{})
	return asked
}

// NewWorker returns a worker of a mux. Register all handlers before.
func NewWorker(client *pawl.Client, mux *pawl.Mux) *Worker {
	w := &Worker{client: client, mux: mux, asked: make(chan struct{}), held: map[pawl.ID]string{}}
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		w.hold(job, true)
		defer w.hold(job, false)
		return next(context.WithValue(ctx, askedKey{}, w.asked))
	})
	return w
}

func (w *Worker) hold(job *pawl.JobInfo, holds bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.held, job.ID); holds {
		w.held[job.ID] = fmt.Sprintf("job %d, %s", job.ID, job.Kind)
	}
}

// Holds returns the jobs that keep the worker from stopping.
func (w *Worker) Holds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Values(w.held))
}

// Run runs jobs until ctx ends. Then it asks the handlers to come to an end, waits for them, and returns. Call it once.
func (w *Worker) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { close(w.asked) })()
	const forEver = 100 * 365 * 24 * time.Hour
	return w.client.Run(ctx, w.mux, pawl.RunnerConfig{DrainTimeout: forEver})
}

// A Report is the report of a day. It takes long.
type Report struct{ Day string }

func (Report) Kind() string { return "report" }

func main() {
	// A second signal changes nothing. Only SIGKILL stops the worker, and another worker then rescues its jobs.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	check(err)
	client, err := pawl.New(pool, pawl.Config{})
	check(err)
	check(client.Migrate(ctx))
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Report]) error {
		select {
		case <-Asked(ctx):
			return pawl.Snooze(0) // The report has not started: another worker can do it.
		case <-time.After(time.Minute):
			return nil
		}
	})
	worker := NewWorker(client, mux)
	go func() {
		<-ctx.Done()
		for ; ; time.Sleep(5 * time.Second) {
			log.Println("will not stop yet, these are at work:", worker.Holds())
		}
	}()
	check(worker.Run(ctx))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
