package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstats"
	"github.com/spf13/cobra"
)

func queueCommand(p *program) *cobra.Command {
	command := &cobra.Command{
		Use:   "queue",
		Short: "Look at queues, pause them, say how they work",
		Long: `A queue comes into being when a job is first inserted into it; it need not be created. What is said of it here is kept in the database
and obeyed by every worker.`,
		GroupID: groupJobs,
	}
	command.AddCommand(
		queueListCommand(p), queueShowCommand(p), queueCreateCommand(p), queueSetCommand(p),
		queuePauseCommand(p), queueResumeCommand(p), queuePurgeCommand(p), queueDeleteCommand(p),
		queueMetricsCommand(p), queueChannelsCommand(p), queueResumeChannelCommand(p),
		queueGetCommand(p), queueMessagesCommand(p), queueArchiveDLQCommand(p),
	)
	return command
}

// queueRow is a queue in a list: whether it is paused, and its figures.
type queueRow struct {
	Name      string    `json:"name"`
	Paused    bool      `json:"paused"`
	Ready     int64     `json:"ready"`
	Running   int64     `json:"running"`
	Scheduled int64     `json:"scheduled"`
	Waiting   int64     `json:"waiting"`
	Reserved  int64     `json:"reserved" table:"-"`
	Dead      int64     `json:"dead"`
	Archived  int64     `json:"archived"`
	Estimated mark      `json:"estimated" table:",omitempty"`
	CreatedAt time.Time `json:"created_at" table:"-"`
}

// knownQueue is a queue as it is printed: what was said of it, and its figures.
type knownQueue struct {
	pawl.Queue
	stats pawlstats.Queue
}

func (q knownQueue) row() queueRow {
	return queueRow{
		Name: q.Name, Paused: q.Paused, Ready: q.stats.Ready, Running: q.stats.Running, Scheduled: q.stats.Scheduled, Waiting: q.stats.Waiting,
		Reserved: q.stats.Reserved, Dead: q.stats.Dead, Archived: q.stats.Archived, Estimated: mark(q.stats.Estimated || q.stats.ArchivedEstimated),
		CreatedAt: q.CreatedAt,
	}
}

// knownQueues are the queues somebody said something of, and those with jobs, live or finished, by name.
func knownQueues(ctx context.Context, client *pawl.Client) ([]knownQueue, pawlstats.Stats, error) {
	said, err := client.Queues(ctx)
	if err != nil {
		return nil, pawlstats.Stats{}, err
	}
	stats, err := client.Stats(ctx)
	if err != nil {
		return nil, pawlstats.Stats{}, err
	}
	byName := map[string]knownQueue{}
	for _, q := range said {
		byName[q.Name] = knownQueue{Queue: q}
	}
	for _, figures := range stats.Queues {
		q := byName[figures.Queue]
		q.Name, q.stats = figures.Queue, figures
		byName[figures.Queue] = q
	}
	queues := make([]knownQueue, 0, len(byName))
	for _, q := range byName {
		queues = append(queues, q)
	}
	slices.SortFunc(queues, func(a, b knownQueue) int { return strings.Compare(a.Name, b.Name) })
	return queues, stats, nil
}

// findQueue is a queue that is known, or ErrNotFound.
func findQueue(ctx context.Context, client *pawl.Client, name string) (knownQueue, error) {
	queues, _, err := knownQueues(ctx, client)
	if err != nil {
		return knownQueue{}, err
	}
	i := slices.IndexFunc(queues, func(q knownQueue) bool { return q.Name == name })
	if i < 0 {
		return knownQueue{}, noQueue(name)
	}
	return queues[i], nil
}

func noQueue(name string) error {
	return fmt.Errorf("queue %q: %w: it has no jobs, and nothing was said of it (pawl queue create makes it known)", name, pawl.ErrNotFound)
}

func queueListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the queues, with their jobs by state",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			queues, _, err := knownQueues(command.Context(), client)
			if err != nil {
				return err
			}
			rows := make([]queueRow, len(queues))
			for i, q := range queues {
				rows[i] = q.row()
			}
			return p.print(rows)
		},
	}
}

// shownQueue is all of a queue.
type shownQueue struct {
	queueRow
	policyRow
}

func (p *program) printQueue(ctx context.Context, client *pawl.Client, name string) error {
	q, err := findQueue(ctx, client, name)
	if err != nil {
		return err
	}
	return p.print(shownQueue{q.row(), rowOfPolicy(q.Queue)})
}

func queueShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a queue: its jobs by state and what was said of it",
		Long:  "Show prints a queue's figures and what was said of it; the rest is as by default, which pawl queue set --help tells.",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			return p.printQueue(command.Context(), client, args[0])
		},
	}
}

// pausedQueue is what pause and resume have done.
type pausedQueue struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
}

func queuePauseCommand(p *program) *cobra.Command {
	return pauseCommand(p, true, &cobra.Command{
		Use:   "pause NAME...",
		Short: "Stop claims of queues, at once and everywhere; running jobs go on",
	}, (*pawl.Client).PauseQueue)
}

func queueResumeCommand(p *program) *cobra.Command {
	return pauseCommand(p, false, &cobra.Command{
		Use:   "resume NAME...",
		Short: "End a pause",
	}, (*pawl.Client).ResumeQueue)
}

func pauseCommand(p *program, paused bool, command *cobra.Command, do func(*pawl.Client, context.Context, string) error) *cobra.Command {
	command.Args = cobra.MinimumNArgs(1)
	command.RunE = func(command *cobra.Command, names []string) error {
		ctx := command.Context()
		client, err := p.open(ctx)
		if err != nil {
			return err
		}
		queues, err := client.Queues(ctx)
		if err != nil {
			return err
		}
		for _, name := range names { // Before the first is changed: a pause of what is not there would only be forgotten.
			if !slices.ContainsFunc(queues, func(q pawl.Queue) bool { return q.Name == name }) {
				return noQueue(name)
			}
		}
		var done []pausedQueue
		for _, name := range names {
			if err := do(client, ctx, name); err != nil {
				return err
			}
			done = append(done, pausedQueue{name, paused})
		}
		return p.print(done)
	}
	return command
}

func queuePurgeCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "purge NAME",
		Short: "Delete a queue's live jobs, running ones too",
		Long: `Purge deletes the live jobs of a queue and leaves nothing of them. Those inserted meanwhile stay, and so do finished jobs: those are for
pawl archive purge and pawl dead purge. What was said of the queue stays too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			n, err := client.Count(ctx, pawl.Filter{Queue: name, States: liveStates})
			if err != nil {
				return err
			}
			if n > 0 {
				if err := p.confirm(ctx, "delete %s of queue %s", counted(n, "live job"), printable(name)); err != nil {
					return err
				}
			}
			deleted, err := client.PurgeQueue(ctx, name)
			if err != nil {
				return err
			}
			return p.print(struct {
				Name    string `json:"name"`
				Deleted int64  `json:"deleted"`
			}{name, deleted})
		},
	}
}

func queueDeleteCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Forget what was said of a queue",
		Long: `Delete forgets a queue's policy, its pause and its channels that stand still. It is refused while the queue has live jobs (see pawl
queue purge) or a worker lives that runs it by name. Finished jobs stay until their time has passed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			if q, err := findQueue(ctx, client, name); err != nil {
				return err
			} else if q.CreatedAt.IsZero() && q.stats.Live() == 0 {
				return fmt.Errorf("queue %q: %w: nothing was said of it; it is listed as long as finished jobs of it are kept", name, pawl.ErrNotFound)
			} else if !q.CreatedAt.IsZero() {
				if err := p.confirm(ctx, "forget what was said of queue %s", printable(name)); err != nil {
					return err
				}
			}
			if err := client.DeleteQueue(ctx, name); err != nil {
				return err
			}
			return p.print(struct {
				Name    string `json:"name"`
				Deleted bool   `json:"deleted"`
			}{name, true})
		},
	}
}

// channelRow are the figures of a channel.
type channelRow struct {
	Channel     string        `json:"channel"`
	Ready       int64         `json:"ready"`
	Running     int64         `json:"running"`
	Scheduled   int64         `json:"scheduled"`
	Reserved    int64         `json:"reserved" table:"-"`
	Dead        int64         `json:"dead"`
	OldestReady time.Duration `json:"oldest_ready"`
	Lag         time.Duration `json:"lag"`
	Halted      bool          `json:"halted"`
	Estimated   mark          `json:"estimated" table:",omitempty"`
}

func queueChannelsCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "channels NAME",
		Short: "List a queue's channels, with their jobs by state",
		Long: `Channels prints the figures of a queue's channels; jobs without a channel are in the one without a name. A halted channel stands still,
because the job at its head died and the queue's policy is to halt: see pawl queue resume-channel. Of an ordered channel the jobs
behind the head are waiting, and not in these figures. Where a queue has more than 10,000 jobs of a state they are estimated.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			channels, err := client.Channels(command.Context(), args[0])
			if err != nil {
				return err
			}
			if len(channels) == 0 {
				if _, err := findQueue(command.Context(), client, args[0]); err != nil {
					return err
				}
			}
			rows := make([]channelRow, len(channels))
			for i, c := range channels {
				rows[i] = channelRow{c.Channel, c.Ready, c.Running, c.Scheduled, c.Reserved, c.Dead, c.OldestReady, c.Lag, c.Halted, mark(c.Estimated)}
			}
			return p.print(rows)
		},
	}
}

func queueResumeChannelCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "resume-channel NAME CHANNEL",
		Short: "Let an ordered channel go on that stands still",
		Long: `An ordered channel stands still when the job at its head died and the queue's policy is to halt (pawl queue set --halt-on-dead).
Resume-channel lets it go on without that job; pawl dead retry lets it go on with it.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			if err := client.ResumeChannel(command.Context(), args[0], args[1]); err != nil {
				return err
			}
			return p.print(struct {
				Queue   string `json:"queue"`
				Channel string `json:"channel"`
				Halted  bool   `json:"halted"`
			}{args[0], args[1], false})
		},
	}
}
