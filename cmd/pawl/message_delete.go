package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func messageDeleteCommand(p *program.Program) *cobra.Command {
	var epoch lookup.EpochFlag
	command := &cobra.Command{
		Use:   "delete QUEUE ID",
		Short: "Delete a message; this finishes a message that was read",
		Long: `Delete deletes a message in any state. The archive does not keep it. Without --epoch, delete
deletes the message even if another reader holds it, for example because your lock time has run out. With
--epoch, the number that pawl message read has printed, delete deletes the message only if you still hold it.
Otherwise it changes nothing, and the exit code is 1.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			job, err := epoch.Message(command, client, args[0], args[1])
			if err != nil {
				return err
			}
			var which pawl.Selector = job.ID
			if epoch.Given(command) {
				which = job
			}
			n, err := client.Delete(command.Context(), which)
			if err == nil && n == 0 {
				err = fmt.Errorf("message %d: %w", job.ID, pawl.ErrLeaseLost)
			}
			if err != nil {
				return err
			}
			return p.Print(struct {
				ID      pawl.ID `json:"id"`
				Deleted bool    `json:"deleted"`
			}{job.ID, true})
		},
	}
	epoch.Add(command)
	return command
}
