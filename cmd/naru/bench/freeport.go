package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
)

// Ports that servers are given lie below those that systems give to outgoing
// connections (from 32768 on in Linux): of those, any may be taken by a client
// between the moment it is found free and that when it is used.
const (
	lowestPort  = 10000
	highestPort = 32767
)

var given struct {
	sync.Mutex
	ports map[int]bool // guarded: by this process, to be given once only
}

// FreeAddr finds a loopback address that nobody listens on. See FreePort.
func FreeAddr() (string, error) {
	port, err := FreePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// FreePort finds a loopback port that nobody listens on. Another process may
// take it before it is used.
func FreePort() (int, error) {
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		if given.ports == nil {
			given.ports = make(map[int]bool)
		}
		given.ports[port] = true
		return port, l.Close()
	}
	return 0, errors.New("find a free port: too many are taken")
}
