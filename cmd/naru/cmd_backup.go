package main

import (
	"fmt"
	"path/filepath"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/narumq/naru/plugins/operator"
)

func backupCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Write a backup of the running node",
		Long: `Write what the node keeps on disk, as it is at one moment, to a directory that does not
exist or is empty. The node goes on meanwhile. Everything that was acknowledged
before is in it: sessions, subscriptions, messages, packet ids, retained messages.

The node itself writes, so DIR is on its machine and its user must be allowed to. On
the file system of data_dir files are shared with the node and take hardly any
space, but do not survive that disk: copy DIR elsewhere. The configuration is not in it.

"naru restore" makes a data directory of it.`,
		Example: "  naru backup /backup/naru-$(date +%F)\n  naru backup --socket /run/naru/naru.sock /mnt/backup/today",
		Args:    arguments(1, 1, "DIR"),
		RunE: f.ask(func(cmd *cobra.Command, args []string, c *operator.Client) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			var bar *progressbar.ProgressBar
			m, err := c.Backup(cmd.Context(), dir, func(p operator.Progress) {
				if bar == nil {
					bar = newBar(cmd.ErrOrStderr(), "backup", max(p.Total, 1))
				}
				bar.Set64(p.Done) //nolint:errcheck // it is only shown
			})
			if bar != nil {
				bar.Finish() //nolint:errcheck // as above
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "backup of %s in %d files: %s\n", size(m.Bytes()), len(m.Files), printable(dir))
			return nil
		}),
	}
	f.register(cmd)
	return cmd
}
