package main

import (
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/plugins/operator"
)

func pluginsCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:     "plugins",
		Short:   "List the parts of the running node, and where they listen",
		Long:    "List the adapters and plugins that run in the node, in the order of their start, with the\naddresses that they listen on. What is compiled in and not listed is switched off by the\nconfiguration: see \"naru config\".",
		Example: "  naru plugins\n  naru plugins --json",
		Args:    arguments(0, 0, ""),
		RunE: f.ask(func(cmd *cobra.Command, _ []string, c *operator.Client) error {
			all, err := c.Plugins(cmd.Context())
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			tb := table[operator.Plugin]{inOrder: true, columns: []column[operator.Plugin]{
				{head: "NAME", cell: func(p operator.Plugin) string { return p.Name }},
				{head: "LISTENS ON", cell: func(p operator.Plugin) string { return dash(strings.Join(p.Listens, ", ")) }},
			}}
			return tb.write(cmd.OutOrStdout(), func(yield func(json.RawMessage, error) bool) {
				for _, p := range all {
					if raw, err := json.Marshal(p); !yield(raw, err) {
						return
					}
				}
			})
		}),
	}
	f.registerJSON(cmd)
	return cmd
}
