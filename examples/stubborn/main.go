// A worker that refuses to stop while it holds jobs: it asks their handlers to come to an end, waits, and only then ends.
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

// Worker runs jobs. Told to stop, it claims no more and waits for its handlers, however long they take: their contexts do not end,
// and no job is given back half done. Heartbeats go on meanwhile, so that nobody takes its jobs.
type Worker struct {
	client *pawl.Client
	mux    *pawl.Mux
	asked  chan struct{} // Closed when the handlers should come to an end.

	mu   sync.Mutex
	held map[pawl.ID]string
}

type askedKey struct{}

// Asked is closed when the worker wants to stop. A handler that can stop early, with a checkpoint, looks at it; others need not.
func Asked(ctx context.Context) <-chan struct{} {
	asked, _ := ctx.Value(askedKey{}).(chan struct{})
	return asked
}

// NewWorker makes a worker of a mux whose handlers are all registered.
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

// Holds is what keeps the worker from stopping.
func (w *Worker) Holds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Values(w.held))
}

// Run runs jobs until ctx ends, then asks, waits, and returns. Call it once.
func (w *Worker) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { close(w.asked) })()
	const forEver = 100 * 365 * 24 * time.Hour
	return w.client.Run(ctx, w.mux, pawl.RunnerConfig{DrainTimeout: forEver})
}

// Report is of a day; it takes as long as it takes.
type Report struct{ Day string }

func (Report) Kind() string { return "report" }

func main() {
	// A second signal does not help either: only SIGKILL, after which the jobs are rescued by another worker.
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
			return pawl.Snooze(0) // Nothing is half done: let another worker do it.
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
