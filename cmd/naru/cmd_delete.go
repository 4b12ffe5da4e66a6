package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/plugins/operator"
)

func deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete sessions, queues or retained messages",
		Long:    "Delete sessions, queues or retained messages for good. The command returns when that is on disk.",
		Example: "  naru delete session sensor-17\n  naru delete queue orders\n  naru delete retained 'sensors/17/#'",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return wrongUsage(cmd, fmt.Errorf("%q cannot be deleted; session, queue and retained can", args[0]))
			}
			return wrongUsage(cmd, fmt.Errorf("delete what? session, queue or retained"))
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // not without arguments: see Args
	}
	cmd.SetFlagErrorFunc(wrongUsage)
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
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: f.complete(list, field),
		RunE: f.ask(func(cmd *cobra.Command, args []string, c *operator.Client) error {
			for _, name := range args {
				n, err := c.Delete(cmd.Context(), what, operator.Target{VHost: vhost, Name: name})
				if err != nil {
					return err
				}
				if what == "retained" {
					fmt.Fprintf(cmd.OutOrStdout(), "%d retained messages of %s are deleted\n", n, printable(name))
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "%s %s is deleted\n", what, printable(name))
				}
			}
			return nil
		}),
	}
	if what == "retained" {
		cmd.Short = "Delete retained messages"
	}
	f.register(cmd)
	cmd.Flags().StringVar(&vhost, "vhost", "/", "the vhost")
	return cmd
}
