package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// drainTime is how long a node may take to stop. After endTime it is ended.
const (
	drainTime = 8 * time.Second
	endTime   = 9 * time.Second
)

func serveCommand() *cobra.Command {
	var src source
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker",
		Long: `Run the broker until SIGTERM or SIGINT.

Without a configuration it listens on loopback, keeps its data in ./naru-data and
lets in anonymous clients of this machine. See "naru config" for every setting.

SIGHUP has it read the configuration again. What can change while it runs does,
and nobody is disconnected; the log names what needs a restart. If anything is
wrong with the new configuration, the old one stays in force.`,
		Example: "  naru serve\n  naru serve --config naru.yaml\n  naru serve --set mqtt.listeners.0.address=:1883 --set anonymous.loopback_only=false",
		Args:    fileByFlag,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Files hold what clients sent, and secrets: they are the owner's alone,
			// whatever umask this process was started with.
			syscall.Umask(0o077)
			cfg, report, err := src.load()
			if err != nil {
				return err
			}
			log, level := newLogger(cmd.ErrOrStderr(), cfg.Log)
			for _, w := range report.Warnings {
				log.Warn(w)
			}
			n := newNode(cfg, log)
			return serve(cmd.Context(), n, newReloader(n, level, src, report))
		},
	}
	src.flags(cmd)
	return cmd
}

// serve runs a node until ctx ends, and then stops it in good order.
func serve(ctx context.Context, n *node, r *reloader) error {
	hangups := make(chan os.Signal, 1) // from the first moment: left alone, one ends the process
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	tell := newNotifier(n.log)
	if err := n.start(ctx); err != nil {
		n.close(context.Background())
		return err
	}
	tell.ready("serving")
	var beside sync.WaitGroup
	beside.Go(func() { r.run(ctx, hangups, tell) })
	beside.Go(func() { tell.watch(ctx, n.bus.Alive) })
	<-ctx.Done()
	beside.Wait()
	tell.stopping()
	n.serving.Store(false)
	n.log.Info("stopping", "within", drainTime)
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	stopped := make(chan error, 1)
	go n.stop(drain, stopped)
	select {
	case err := <-stopped:
		if err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	case <-time.After(endTime):
		// A store that waits for space may never end. Nothing that it holds
		// back has been acknowledged.
		n.log.Error("ended without waiting for the store", "after", endTime)
		return &exitError{3}
	}
	n.log.Info("stopped")
	return nil
}

func (n *node) stop(ctx context.Context, stopped chan<- error) { stopped <- n.close(ctx) }
