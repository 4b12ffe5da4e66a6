package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/config"
)

// A source says where the configuration comes from.
type source struct {
	file string
	set  []string
}

func (s *source) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.file, "config", "c", os.Getenv("NARU_CONFIG"), "configuration file (YAML)")
	cmd.Flags().StringArrayVar(&s.set, "set", nil, "set one key, as in mqtt.max_packet_size=64KiB (may be repeated)")
}

func (s *source) load() (*config.Config, *config.Report, error) {
	cfg := config.Default()
	report, err := config.Load(&cfg, config.Sources{File: s.file, Env: os.Environ(), Set: s.set})
	if err != nil {
		return nil, nil, fmt.Errorf("configuration:\n%w", err)
	}
	return &cfg, report, nil
}

// fileByFlag is for commands without arguments that might be given a file as one.
func fileByFlag(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return wrongUsage(cmd, fmt.Errorf("%q: a configuration file is given by --config", args[0]))
	}
	return nil
}

func configCommand() *cobra.Command {
	var src source
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration that is in force, and where each value comes from",
		Args:  fileByFlag,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, report, err := src.load()
			if err != nil {
				return err
			}
			return report.Print(cmd.OutOrStdout())
		},
	}
	src.flags(cmd)
	return cmd
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, and the certificates and keys that it names",
		Long: `Check a configuration file, and the certificates and keys that it names.

The files are read as "naru serve" reads them when it starts: run it as the same user,
and in the same directory if their names are relative.`,
		Args: arguments(1, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			src := source{file: args[0]}
			cfg, report, err := src.load()
			if err != nil {
				return err
			}
			doubts, err := cfg.CheckFiles()
			for _, w := range append(report.Warnings, doubts...) {
				fmt.Fprintln(cmd.OutOrStdout(), "warning:", w)
			}
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), args[0], "is good")
			return nil
		},
	}
}
