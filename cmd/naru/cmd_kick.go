package main

import (
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/plugins/operator"
)

func kickCommand() *cobra.Command {
	var f nodeFlags
	var vhost string
	cmd := &cobra.Command{
		Use:   "kick NAME...",
		Short: "Disconnect clients",
		Long: `Disconnect clients by their names in "naru list connections" (MQTT: client id; AMQP: the
two ends), and return when their connections have ended.

To a client it is a lost connection: its will is published, its session stays, and it
may connect again at once. An AMQP client is told so (320 CONNECTION_FORCED). To keep it
out, take its user out of the configuration; to take its session away, see "naru delete
session".`,
		Example:           "  naru kick sensor-17\n  naru kick --vhost tenants a b c\n  naru kick '10.0.0.7:51234 -> 127.0.0.1:5672'\n  naru kick $'odd\\tname'        # as the shell writes what list shows as odd\\tname",
		Args:              arguments(1, math.MaxInt, "NAME"),
		ValidArgsFunction: f.complete("connections", "name"),
		RunE: f.ask(func(cmd *cobra.Command, args []string, c *operator.Client) error {
			return each(cmd, args, func(name string) error {
				if err := c.Kick(cmd.Context(), operator.Target{VHost: vhost, Name: name}); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is disconnected\n", printable(name))
				return nil
			})
		}),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&vhost, "vhost", "/", "the vhost of the clients")
	return cmd
}
