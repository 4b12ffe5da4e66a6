//go:build !linux

package bench

import (
	"errors"
	"time"
)

// The load generator stands on epoll and /proc. Elsewhere the package still
// compiles, so that the command can be there and say why it does nothing.

var errAgain = errors.ErrUnsupported

type (
	socket   int
	endpoint struct{}
	poller   struct{}
	event    struct {
		slot               int
		readable, writable bool
	}
)

func resolve(string) (endpoint, error)              { return endpoint{}, errors.ErrUnsupported }
func dial(endpoint, int) (socket, error)            { return -1, errors.ErrUnsupported }
func (socket) connected() error                     { return errors.ErrUnsupported }
func (socket) read([]byte) (int, error)             { return 0, errors.ErrUnsupported }
func (socket) write([]byte) (int, error)            { return 0, errors.ErrUnsupported }
func (socket) await(bool) error                     { return errors.ErrUnsupported }
func (socket) finish()                              {}
func (socket) close()                               {}
func newPoller() (*poller, error)                   { return nil, errors.ErrUnsupported }
func (*poller) close()                              {}
func (*poller) add(socket, int, bool) error         { return errors.ErrUnsupported }
func (*poller) modify(socket, int, bool) error      { return errors.ErrUnsupported }
func (*poller) tick(time.Duration) error            { return errors.ErrUnsupported }
func (*poller) wait(time.Duration) ([]event, error) { return nil, errors.ErrUnsupported }
func fileLimit() (int, error)                       { return 0, errors.ErrUnsupported }
