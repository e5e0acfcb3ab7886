// Package lookup finds queues, workers and messages by their names and IDs.
package lookup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstats"
)

// Queue is a queue with its policy and its figures.
type Queue struct {
	pawl.Queue
	Stats pawlstats.Queue
}

// Queues returns the queues that have a policy or jobs, live or finished, by name.
func Queues(ctx context.Context, client *pawl.Client) ([]Queue, pawlstats.Stats, error) {
	known, err := client.Queues(ctx)
	if err != nil {
		return nil, pawlstats.Stats{}, err
	}
	stats, err := client.Stats(ctx)
	if err != nil {
		return nil, pawlstats.Stats{}, err
	}
	byName := map[string]Queue{}
	for _, q := range known {
		byName[q.Name] = Queue{Queue: q}
	}
	for _, figures := range stats.Queues {
		q := byName[figures.Queue]
		q.Name, q.Stats = figures.Queue, figures
		byName[figures.Queue] = q
	}
	queues := make([]Queue, 0, len(byName))
	for _, q := range byName {
		queues = append(queues, q)
	}
	slices.SortFunc(queues, func(a, b Queue) int { return strings.Compare(a.Name, b.Name) })
	return queues, stats, nil
}

// QueueByName returns a queue that has a policy or jobs. Otherwise it returns pawl.ErrNotFound.
func QueueByName(ctx context.Context, client *pawl.Client, name string) (Queue, error) {
	queues, _, err := Queues(ctx, client)
	if err != nil {
		return Queue{}, err
	}
	i := slices.IndexFunc(queues, func(q Queue) bool { return q.Name == name })
	if i < 0 {
		return Queue{}, NoQueue(name)
	}
	return queues[i], nil
}

// NoQueue returns the error for a queue without jobs and policy.
func NoQueue(name string) error {
	return fmt.Errorf("queue %q: %w: it has no jobs and was not created (pawl queue create)", name, pawl.ErrNotFound)
}
