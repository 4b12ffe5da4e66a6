//go:build unix && !linux

package transport

import (
	"errors"
	"net"
	"syscall"
)

// canPoll says whether there are event loops here.
const canPoll = false

// writev writes one buffer after the other, where there is no call for all.
func writev(fd int, bufs [][]byte) (int, error) {
	total := 0
	for _, b := range bufs {
		n, err := syscall.Write(fd, b)
		total += max(n, 0)
		if err != nil || n < len(b) {
			return total, err
		}
	}
	return total, nil
}

// loop stands for the event loop of Linux; nothing here makes one.
type loop struct{}

func (*Server) startLoops() error { return errors.ErrUnsupported }

func (*loop) listen(*net.TCPListener, *door, func(*Conn) Handler) error { return errors.ErrUnsupported }
func (*loop) unlisten()                                                 {}
func (*loop) kickAll(error)                                             {}
func (*loop) close()                                                    {}
