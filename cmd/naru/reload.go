package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"

	"github.com/narumq/naru/config"
)

// A reloader reads the configuration again while the node runs, and puts in
// force what can be without a restart. Nobody is disconnected by it. Either all
// of that changes or, where anything is wrong with the new configuration, nothing.
type reloader struct {
	node    *node
	level   *slog.LevelVar
	src     source
	started *config.Config // of what needs a restart, this is in force

	mu       sync.Mutex
	present  *config.Config // guarded by mu: of the rest, this is
	fromFile int            // guarded by mu: values that the file has set
}

// A reload is what a successful one has done, by the names of keys.
type reload struct {
	Changed []string
	Restart []string // differs from what is in force, until the next start
}

func newReloader(n *node, level *slog.LevelVar, src source, report *config.Report) *reloader {
	return &reloader{
		node: n, level: level, src: src, started: n.cfg, present: n.cfg, fromFile: src.valuesFromFile(report),
	}
}

// run reloads at each signal until ctx ends.
func (r *reloader) run(ctx context.Context, signals <-chan os.Signal, tell *notifier) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		tell.reloading()
		r.log(r.reload())
		tell.ready("")
	}
}

// log tells what has become of a reload.
func (r *reloader) log(done reload, err error) {
	log := r.node.log
	if err != nil {
		log.Error("not reloaded: the configuration stays what it was", "err", err)
		return
	}
	if len(done.Restart) > 0 {
		log.Warn("these take effect at the next start only", "keys", done.Restart)
	}
	log.Info("reloaded", "changed", done.Changed) // the last line, for those who wait for it
}

// reload reads all sources again.
func (r *reloader) reload() (reload, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, report, err := r.src.load()
	if err != nil {
		return reload{}, err
	}
	fromFile := r.src.valuesFromFile(report)
	if fromFile == 0 && r.fromFile > 0 {
		// What an editor or a full disk leaves behind. Its defaults would let in
		// whom it was written to keep out.
		return reload{}, fmt.Errorf("%s sets nothing any more: if that is meant, restart", r.src.file)
	}
	var done reload
	for _, c := range config.Diff(r.present, cfg) {
		if c.Reload {
			done.Changed = append(done.Changed, c.Path)
		}
	}
	for _, c := range config.Diff(r.started, cfg) {
		if !c.Reload {
			done.Restart = append(done.Restart, c.Path)
		}
	}
	if err := r.apply(cfg); err != nil {
		return reload{}, err
	}
	r.present, r.fromFile = cfg, fromFile
	for _, w := range report.Warnings {
		r.node.log.Warn(w)
	}
	return done, nil
}

// apply puts in force what can be. What may fail comes first.
func (r *reloader) apply(cfg *config.Config) error {
	n := r.node
	policies, err := cfg.CorePolicies()
	if err != nil {
		return err
	}
	if err := n.srv.ReloadCertificates(); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	rights := !reflect.DeepEqual(r.present.Auth, cfg.Auth)
	if rights {
		if err := n.auth.Reload(cfg.Auth); err != nil {
			return err
		}
	}
	r.level.Set(levelOf(cfg.Log))
	n.bus.Configure(cfg.Bus)
	if !reflect.DeepEqual(r.present.Policies, cfg.Policies) || !reflect.DeepEqual(r.present.OperatorPolicies, cfg.OperatorPolicies) {
		n.bus.SetPolicies(policies)
	}
	n.srv.Configure(cfg.Transport)
	if n.mqtt != nil {
		n.mqtt.Configure(cfg.MQTT)
	}
	if n.amqp != nil {
		n.amqp.Configure(cfg.AMQP)
	}
	if n.ws != nil {
		n.ws.Configure(cfg.WS)
	}
	if rights {
		n.bus.RevokeRights()
	}
	return nil
}

// valuesFromFile counts the values that come from the file.
func (s *source) valuesFromFile(report *config.Report) int {
	n := 0
	for _, v := range report.Values {
		if s.file != "" && strings.HasPrefix(v.Origin, s.file+":") {
			n++
		}
	}
	return n
}

// ready says why the node does not serve, nil if it does.
func (n *node) ready() error {
	if !n.serving.Load() {
		return errors.New("starting or stopping")
	}
	return nil
}
