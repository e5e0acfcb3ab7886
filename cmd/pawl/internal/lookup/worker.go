package lookup

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/pawlstate"
)

// Worker returns a worker by its ID, or pawl.ErrNotFound.
func Worker(ctx context.Context, client *pawl.Client, id int64) (pawl.Worker, error) {
	workers, err := client.Workers(ctx)
	if err != nil {
		return pawl.Worker{}, err
	}
	return workerOf(workers, id)
}

func workerOf(workers []pawl.Worker, id int64) (pawl.Worker, error) {
	i := slices.IndexFunc(workers, func(w pawl.Worker) bool { return w.ID == id })
	if i < 0 {
		return pawl.Worker{}, fmt.Errorf("worker %d: %w", id, pawl.ErrNotFound)
	}
	return workers[i], nil
}

// JobsOfWorker returns a worker and at most 10,000 jobs that it runs. It writes a note if another live worker has the
// same name, because the jobs of both are returned.
func JobsOfWorker(
	ctx context.Context, client *pawl.Client, id int64, notes io.Writer,
) (pawl.Worker, pawl.Jobs, error) {
	workers, err := client.Workers(ctx)
	if err != nil {
		return pawl.Worker{}, nil, err
	}
	worker, err := workerOf(workers, id)
	if err != nil {
		return pawl.Worker{}, nil, err
	}
	if slices.ContainsFunc(workers, func(w pawl.Worker) bool {
		return w.ID != id && w.Name == worker.Name && w.GoneAt.IsZero()
	}) {
		fmt.Fprintf(notes, "note: another live worker has the name %s; its jobs are listed, too\n",
			output.Printable(worker.Name))
	}
	running, err := client.List(ctx, pawl.Filter{
		Worker: worker.Name, States: []pawlstate.State{pawlstate.Running}, Limit: 10_000,
	})
	return worker, running, err
}

// RunsQueue reports whether a worker runs jobs of a queue. Every worker runs the queue "".
func RunsQueue(w pawl.Worker, queue string) bool {
	return queue == "" || w.Queues == nil || slices.Contains(w.Queues, queue)
}
