// Command naru is a multi-protocol messaging gateway: one bus, every protocol a
// thin edge over it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build (see the Makefile).
var version = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		var said *exitError
		if !errors.As(err, &said) {
			fmt.Fprintln(os.Stderr, "naru:", err)
			os.Exit(1)
		}
		os.Exit(said.code)
	}
}

// An exitError ends the process with a code, after everything has been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "naru",
		Short:         "A multi-protocol messaging gateway",
		Long:          "Naru is a messaging gateway: one bus, every protocol a thin edge over it.\n\nWhat it acknowledges is on disk.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(wrongUsage)
	root.AddCommand(serveCommand(), configCommand(), checkCommand(), passwdCommand(), benchCommand(), pubCommand(), subCommand(), versionCommand())
	root.AddCommand(statusCommand(), listCommand(), purgeCommand(), deleteCommand(), kickCommand(), backupCommand(), restoreCommand(), pluginsCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(0, 0, ""),
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "naru", version) },
	}
}
