package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/plugins/operator"
)

func statusCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the running node is",
		Long: `Show how the running node is: what it holds, what an acknowledgement means, and
whether an alarm holds publishers back.

The node is asked by its socket in data_dir, which only the user that runs it may
use. Exit code 0: it answers; 1: it does not.`,
		Example: "  naru status\n  naru status --config /etc/naru/naru.yaml\n  naru status --socket /run/naru/naru.sock --json | jq .alarms",
		Args:    arguments(0, 0, ""),
		RunE: f.ask(func(cmd *cobra.Command, _ []string, c *operator.Client) error {
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), s)
			}
			printStatus(cmd.OutOrStdout(), &s)
			return nil
		}),
	}
	f.registerJSON(cmd)
	return cmd
}

func printStatus(w io.Writer, s *operator.Status) {
	alarms := "none"
	if len(s.Alarms) > 0 {
		alarms = strings.Join(s.Alarms, ", ") + ": publishers wait"
	}
	data := s.Data
	if s.StoreBytes > 0 {
		data += ", " + size(s.StoreBytes)
	}
	fmt.Fprintf(w, "naru %s, process %d, running for %v\n\n", printable(s.Version), s.PID, time.Since(s.Started).Round(time.Second))
	for _, l := range [][2]string{
		{"data", data},
		{"acknowledged is", s.Promises},
		{"alarms", alarms},
		{"connections", fmt.Sprint(s.Connections)},
		{"sessions", fmt.Sprint(s.Sessions)},
		{"queues", fmt.Sprintf("%d declared, %d shared subscriptions", s.Queues, s.Shared)},
		{"bindings", fmt.Sprintf("%d, with subscriptions", s.Bindings)},
		{"retained", fmt.Sprintf("%d messages, with those of $SYS", s.Retained)},
		{"stored", fmt.Sprintf("%d messages, %s; %s of messages in memory", s.Stored, size(s.StoredBytes), size(s.QueueMemory))},
		{"since the start", fmt.Sprintf("%d messages received, %d sent, %d dropped", s.ReceivedTotal, s.SentTotal, s.DroppedTotal)},
		{"process memory", size(s.ProcessMemory)},
	} {
		fmt.Fprintf(w, "%-16s %s\n", l[0], printable(l[1]))
	}
}
