// Package host runs the parts of a broker: adapters and plugins start in the
// order in which they are listed, and stop in the reverse; when one fails to
// start, those before it are stopped again.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// A Plugin is a part of the broker. Adapters and first-party plugins are the
// same to the host. Start returns when the plugin serves; what it needs it was
// given when it was made. Stop is called once, after a Start that succeeded,
// and waits until all that Start began has ended; ctx bounds the wait.
type Plugin interface {
	Name() string
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
}

// A Host runs plugins.
type Host struct {
	log     *slog.Logger
	plugins []Plugin

	mu      sync.Mutex
	running int // guarded by mu: the first so many plugins have been started
}

// New returns a host for the plugins, in the order of their start.
func New(log *slog.Logger, plugins ...Plugin) *Host {
	return &Host{log: log, plugins: plugins}
}

// Plugins returns the plugins in the order of their start.
func (h *Host) Plugins() []Plugin { return h.plugins }

// Start starts every plugin. If one fails, those that have been started are
// stopped, and its error is returned with theirs.
func (h *Host) Start(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.plugins[h.running:] {
		if err := p.Start(ctx); err != nil {
			return errors.Join(fmt.Errorf("start %s: %w", p.Name(), err), h.stopLocked(ctx))
		}
		h.running++
		h.log.Debug("started", "plugin", p.Name())
	}
	return nil
}

// Stop stops what runs, the last first. It may be called more than once.
func (h *Host) Stop(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopLocked(ctx)
}

func (h *Host) stopLocked(ctx context.Context) error {
	var errs []error
	for ; h.running > 0; h.running-- {
		p := h.plugins[h.running-1]
		if err := p.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.Name(), err))
		}
		h.log.Debug("stopped", "plugin", p.Name())
	}
	return errors.Join(errs...)
}
