package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/plugins/operator"
)

func purgeCommand() *cobra.Command {
	var f nodeFlags
	var t operator.Target
	cmd := &cobra.Command{
		Use:   "purge QUEUE",
		Short: "Empty a queue of what has not been sent",
		Long: `Remove the messages of a declared queue, of a shared subscription ($share/group/filter)
or, with --session, of a session, and return when they are gone from disk.

What has been sent to a client stays until it is settled. So does, in a session,
what may have been sent to a former connection: its client may hold the packet id,
and at QoS 2 would take another message under that id for one it has. Only deleting
the session takes those away: see "naru delete session".`,
		Example:           "  naru purge orders\n  naru purge '$share/workers/jobs/#'\n  naru purge --session sensor-17",
		Args:              arguments(1, 1, "QUEUE"),
		ValidArgsFunction: f.complete("queues", "name"),
		RunE: f.ask(func(cmd *cobra.Command, args []string, c *operator.Client) error {
			t.Name = args[0]
			n, err := c.Purge(cmd.Context(), t)
			if err != nil {
				return err
			}
			removed := fmt.Sprint(n, " messages")
			if n == 1 {
				removed = "1 message"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s removed from %s\n", removed, printable(t.Name))
			return nil
		}),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&t.VHost, "vhost", "/", "the vhost of the queue")
	cmd.Flags().BoolVar(&t.Session, "session", false, "QUEUE is the client id of a session")
	return cmd
}
