package main

import (
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/plugins/operator"
)

func deleteCommand() *cobra.Command {
	missing := kindMissing("delete", "session", "queue", "retained")
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete sessions, queues or retained messages",
		Long:    "Delete sessions, queues or retained messages for good. The command returns when that is on disk.",
		Example: "  naru delete session sensor-17\n  naru delete queue orders\n  naru delete retained 'sensors/17/#'",
		Args:    missing,
		RunE:    func(*cobra.Command, []string) error { return nil }, // it never comes to that: see Args
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, _ error) error { return missing(cmd, cmd.Flags().Args()) })
	cmd.AddCommand(
		deleteOf("session", "CLIENTID", "sessions", "client_id", `Delete sessions by their client ids: their subscriptions, messages and packet ids.

A client that is connected is disconnected first, and its will is published. When it
connects again it begins anew, and what was sent to it and not acknowledged is gone.`,
			"  naru delete session sensor-17\n  naru list sessions --match 'old-*' --json | jq -r '.[].client_id' | xargs -d '\\n' naru delete session"),
		deleteOf("queue", "NAME", "queues", "name", `Delete declared queues with their messages and bindings.

Who consumes such a queue gets nothing more, and its acknowledgements come to nothing. A
queue that the configuration declares is there again, empty, after the next start. A
shared subscription is no declared queue: it goes when its last member unsubscribes.`,
			"  naru delete queue orders\n  naru delete queue --vhost tenants a b"),
		deleteOf("retained", "FILTER", "retained", "topic", `Delete the retained messages that match a topic filter, with + and # as in a subscription.

"naru list retained FILTER" shows what would go. Those who are subscribed are not told.`,
			"  naru delete retained sensors/17/state\n  naru delete retained 'sensors/17/#'"),
	)
	return cmd
}

func deleteOf(what, arg, list, field, long, example string) *cobra.Command {
	var f nodeFlags
	var vhost string
	cmd := &cobra.Command{
		Use:               what + " " + arg + "...",
		Short:             "Delete " + list,
		Long:              long,
		Example:           example,
		Args:              arguments(1, math.MaxInt, arg),
		ValidArgsFunction: f.complete(list, field),
		RunE: f.ask(func(cmd *cobra.Command, args []string, c *operator.Client) error {
			return each(cmd, args, func(name string) error {
				n, err := c.Delete(cmd.Context(), what, operator.Target{VHost: vhost, Name: name})
				if err != nil {
					return err
				}
				switch {
				case what != "retained":
					fmt.Fprintf(cmd.OutOrStdout(), "%s %s is deleted\n", what, printable(name))
				case n == 1:
					fmt.Fprintf(cmd.OutOrStdout(), "1 retained message of %s is deleted\n", printable(name))
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "%d retained messages of %s are deleted\n", n, printable(name))
				}
				return nil
			})
		}),
	}
	if what == "retained" {
		cmd.Short = "Delete retained messages"
	}
	f.register(cmd)
	cmd.Flags().StringVar(&vhost, "vhost", "/", "the vhost")
	return cmd
}
