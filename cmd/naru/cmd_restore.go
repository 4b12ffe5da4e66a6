package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/config"
	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/pebblestore"
	"github.com/narumq/naru/plugins/operator"
)

func restoreCommand() *cobra.Command {
	var src source
	var force bool
	cmd := &cobra.Command{
		Use:   "restore DIR",
		Short: "Make a data directory from a backup, for a node that is stopped",
		Long: `Copy a backup to the data_dir of the configuration, for a node that is not running. The
next start goes on from the moment of the backup: what was acknowledged later is gone,
and what was settled later comes again.

It refuses a data directory that a node is using. One that is not empty is refused
unless --force is given; then what is in it is moved aside, to store.before-restore-TIME
beside the new one, and not deleted. The backup is left as it is.`,
		Example: "  naru restore /backup/naru-2026-11-21 --config /etc/naru/naru.yaml\n  naru restore --set data_dir=./elsewhere /backup/today",
		Args:    arguments(1, 1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := src.load()
			if err != nil {
				return err
			}
			return explain(cmd, restore(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], cfg, force))
		},
	}
	src.flags(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "restore over a data directory that is not empty")
	return cmd
}

// restore makes a new store beside the one that may be there, looks whether this
// program can read it, and puts it into its place: whatever fails before leaves
// everything as it was.
func restore(ctx context.Context, out, progress io.Writer, from string, cfg *config.Config, force bool) (err error) {
	if cfg.Store.Engine == "memory" {
		return errors.New("store.engine is memory: there is nothing to restore to")
	}
	m, err := operator.ReadManifest(from)
	if err != nil {
		return err
	}
	if operator.InUse(operatorSocket(cfg)) {
		return fmt.Errorf("data directory %s: a node is running on it: stop it first", cfg.DataDir)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return err
	}
	unlock, old, err := occupied(cfg.DataDir, force)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	fresh, err := os.MkdirTemp(cfg.DataDir, restoring)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	bar := newBar(progress, "restore", m.Bytes())
	err = m.Copy(from, fresh, func(n int64) { bar.Add64(n) }) //nolint:errcheck // it is only shown
	bar.Finish()                                              //nolint:errcheck // as above
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = readable(filepath.Join(fresh, operator.StoreDir))
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", from, err)
	}
	store := filepath.Join(cfg.DataDir, operator.StoreDir)
	if old {
		aside := store + ".before-restore-" + time.Now().UTC().Format("20060102T150405.000")
		if err := os.Rename(store, aside); err != nil {
			return err
		}
		fmt.Fprintf(out, "what was there is now %s\n", printable(aside))
	}
	if err := os.Rename(filepath.Join(fresh, operator.StoreDir), store); err != nil {
		return err
	}
	if err := operator.SyncDir(cfg.DataDir); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is restored as of %s, from a backup of naru %s\n", printable(cfg.DataDir), moment(m.Created), printable(m.Version))
	return nil
}

// restoring begins the name of a directory that a restore works in.
const restoring = ".restoring-"

// occupied looks whether a data directory may be restored to. It holds the lock
// of the store that is there until unlock, so that no node starts on it.
func occupied(dir string, force bool) (unlock func() error, old bool, err error) {
	unlock = func() error { return nil }
	store := filepath.Join(dir, operator.StoreDir)
	if _, err := os.Stat(store); err == nil {
		old = true
		if unlock, err = pebblestore.Lock(store); err != nil {
			return nil, old, fmt.Errorf("data directory %s: %w", dir, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, old, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		// A socket or a restore that a former process left behind is no data.
		if e.Name() == operator.SocketName || strings.HasPrefix(e.Name(), restoring) || force {
			continue
		}
		err = fmt.Errorf("data directory %s is not empty (%s): --force moves its store aside", dir, e.Name())
		break
	}
	if err != nil {
		return nil, old, errors.Join(err, unlock())
	}
	return unlock, old, nil
}

// readable opens a store to see whether this program can read it, all of it: each
// block of its files has a checksum.
func readable(dir string) (err error) {
	s, err := pebblestore.Open(dir, pebblestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() {
		if broken := s.Close(); broken != nil {
			err = broken // which says it in one line, with the file
		}
	}()
	if err := core.CheckFormat(s); err != nil {
		return err
	}
	return s.Scan(nil, nil, func(_, _ []byte) bool { return true })
}
