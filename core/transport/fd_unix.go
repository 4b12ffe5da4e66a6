//go:build unix

package transport

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

type direction int16

const (
	forReading direction = unix.POLLIN
	forWriting direction = unix.POLLOUT
)

// ready says whether a descriptor can be read or written now.
func ready(fd uintptr, d direction) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: int16(d)}}
	n, err := unix.Poll(p, 0)
	return n > 0 || err != nil && !errors.Is(err, syscall.EINTR)
}

// readFD reads what is there.
func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		switch {
		case err == nil && n == 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case errors.Is(err, syscall.EAGAIN):
			return 0, ErrNothing
		case !errors.Is(err, syscall.EINTR):
			return 0, fmt.Errorf("socket: %w", err)
		}
	}
}

// writeFD writes as much as goes without blocking.
func writeFD(fd int, bufs [][]byte) (int, error) {
	total := 0
	for len(bufs) > 0 {
		var n int
		var err error
		if len(bufs) == 1 {
			n, err = syscall.Write(fd, bufs[0])
		} else {
			n, err = writev(fd, bufs[:min(len(bufs), 64)])
		}
		if n > 0 {
			total += n
			for len(bufs) > 0 && n >= len(bufs[0]) {
				n -= len(bufs[0])
				bufs = bufs[1:]
			}
			if n > 0 { // the socket took a part and is full
				return total, errAgain
			}
		}
		switch {
		case err == nil || errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return total, errAgain
		default:
			return total, fmt.Errorf("socket: %w", err)
		}
	}
	return total, nil
}
