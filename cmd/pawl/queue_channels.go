package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// channelRow is a row of queue channels.
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
	Estimated   output.Mark   `json:"estimated" table:",omitempty"`
}

func queueChannelsCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "channels NAME",
		Short: "List a queue's channels, with their jobs by state",
		Long: `Channels prints the figures of a queue's channels. Jobs without a channel are in the channel
without a name. A channel is halted if the job at its head died and the queue's policy is to halt (see pawl
queue resume-channel). In an ordered channel, the jobs behind the head are waiting, and these figures do not
include them. If a queue has more than 10,000 jobs of a state, the figures are estimates.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			channels, err := client.Channels(command.Context(), args[0])
			if err != nil {
				return err
			}
			if len(channels) == 0 {
				if _, err := lookup.QueueByName(command.Context(), client, args[0]); err != nil {
					return err
				}
			}
			rows := make([]channelRow, len(channels))
			for i, c := range channels {
				rows[i] = channelRow{
					c.Channel, c.Ready, c.Running, c.Scheduled, c.Reserved, c.Dead, c.OldestReady, c.Lag, c.Halted,
					output.Mark(c.Estimated),
				}
			}
			return p.Print(rows)
		},
	}
}

func queueResumeChannelCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "resume-channel NAME CHANNEL",
		Short: "Resume a halted channel",
		Long: `An ordered channel is halted if the job at its head died and the queue's policy is to halt (pawl
queue set --halt-on-dead). Resume-channel lets the channel continue without that job. pawl dead retry lets it
continue with the job.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			if err := client.ResumeChannel(command.Context(), args[0], args[1]); err != nil {
				return err
			}
			return p.Print(struct {
				Queue   string `json:"queue"`
				Channel string `json:"channel"`
				Halted  bool   `json:"halted"`
			}{args[0], args[1], false})
		},
	}
}
