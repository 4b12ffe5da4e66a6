package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sockets stand beside Go's own poller, not in it: one thread that reads
// and writes thousands of them in turns needs no goroutine, wake-up or timer
// for each, and those would cost more than the work itself. Calls that cannot
// block go past the scheduler (RawSyscall); only the wait for events tells it.

// errAgain is returned by read and write where they would have to wait.
var errAgain error = syscall.EAGAIN

// A socket is a non-blocking TCP connection.
type socket int

// An endpoint is a resolved address to dial.
type endpoint struct {
	addr   syscall.Sockaddr
	family int
	local  bool // 127.0.0.0/8, where there are many source addresses
}

func resolve(addr string) (endpoint, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return endpoint{}, fmt.Errorf("resolve broker address: %w", err)
	}
	if v4 := tcp.IP.To4(); v4 != nil {
		sa := &syscall.SockaddrInet4{Port: tcp.Port}
		copy(sa.Addr[:], v4)
		return endpoint{addr: sa, family: syscall.AF_INET, local: v4[0] == 127}, nil
	}
	sa := &syscall.SockaddrInet6{Port: tcp.Port}
	copy(sa.Addr[:], tcp.IP.To16())
	return endpoint{addr: sa, family: syscall.AF_INET6}, nil
}

// portsPerSource is how many connections leave from one source address before
// the next is taken: fewer than the ~28,000 ephemeral ports.
const portsPerSource = 20_000

// bindAddressNoPort is IP_BIND_ADDRESS_NO_PORT, which the syscall package
// lacks: the port is chosen at connect, when the peer is known as well.
const bindAddressNoPort = 24

// dial starts to connect; the socket becomes writable when that is decided.
// ordinal counts the connections of this run.
func dial(to endpoint, ordinal int) (socket, error) {
	fd, err := syscall.Socket(to.family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	s := socket(fd)
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		s.close()
		return -1, fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	if to.local && ordinal >= portsPerSource {
		source := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + ordinal/portsPerSource%250)}}
		err := errors.Join(
			syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1),
			syscall.Bind(fd, source))
		if err != nil {
			s.close()
			return -1, fmt.Errorf("bind source address: %w", err)
		}
	}
	if err := syscall.Connect(fd, to.addr); err != nil && err != syscall.EINPROGRESS {
		s.close()
		return -1, fmt.Errorf("connect: %w", err)
	}
	return s, nil
}

// connected tells how the dial ended, once the socket is writable.
func (s socket) connected() error {
	code, err := syscall.GetsockoptInt(int(s), syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

func (s socket) read(b []byte) (int, error)  { return s.transfer(syscall.SYS_READ, b) }
func (s socket) write(b []byte) (int, error) { return s.transfer(syscall.SYS_WRITE, b) }

func (s socket) transfer(call uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(call, uintptr(s), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// handshakeTime is how long a broker may take for one step of a handshake.
const handshakeTime = 20 * time.Second

// await waits until there is something to read, or room to write.
func (s socket) await(write bool) error {
	fds := []unix.PollFd{{Fd: int32(s), Events: unix.POLLIN}}
	if write {
		fds[0].Events = unix.POLLOUT
	}
	for end := time.Now().Add(handshakeTime); ; {
		n, err := unix.Poll(fds, int(time.Until(end).Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("nothing happens for %v", handshakeTime)
		default:
			return nil
		}
	}
}

// finish says that nothing more will be written.
func (s socket) finish() { _ = syscall.Shutdown(int(s), syscall.SHUT_WR) }
func (s socket) close()  { _ = syscall.Close(int(s)) }

// tickSlot is the slot of what comes from the ticker; wait keeps it.
const tickSlot = -1

type event struct {
	slot               int
	readable, writable bool
}

// A poller is an epoll set, level-triggered.
type poller struct {
	fd, ticker int
	raw        [maxEvents]syscall.EpollEvent
	events     [maxEvents]event
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll set: %w", err)
	}
	return &poller{fd: fd, ticker: -1}, nil
}

func (p *poller) close() {
	if p.ticker >= 0 {
		_ = syscall.Close(p.ticker)
	}
	_ = syscall.Close(p.fd)
}

// add watches s; its events carry slot.
func (p *poller) add(s socket, slot int, write bool) error {
	return p.control(syscall.EPOLL_CTL_ADD, int(s), slot, interest(write))
}

func (p *poller) modify(s socket, slot int, write bool) error {
	return p.control(syscall.EPOLL_CTL_MOD, int(s), slot, interest(write))
}

func interest(write bool) uint32 {
	if write {
		return syscall.EPOLLIN | syscall.EPOLLOUT
	}
	return syscall.EPOLLIN
}

func (p *poller) control(op, fd, slot int, mask uint32) error {
	err := syscall.EpollCtl(p.fd, op, fd, &syscall.EpollEvent{Events: mask, Fd: int32(slot)})
	if err != nil {
		return fmt.Errorf("epoll control: %w", err)
	}
	return nil
}

// tick makes wait return at least every interval. A timer descriptor, because
// epoll's own timeout counts in milliseconds and has 50 us of slack on top.
func (p *poller) tick(interval time.Duration) error {
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, 1 /* CLOCK_MONOTONIC */, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return os.NewSyscallError("timerfd_create", errno)
	}
	p.ticker = int(fd)
	every := syscall.NsecToTimespec(int64(interval))
	spec := struct{ interval, first syscall.Timespec }{every, every}
	_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("timerfd_settime", errno)
	}
	return p.control(syscall.EPOLL_CTL_ADD, p.ticker, tickSlot, syscall.EPOLLIN)
}

// briefly is how long wait blocks behind the scheduler's back. A thread that
// tells Go before it blocks has its processor taken away and must find one
// again, a fifth of what a turn with one message costs; one that does not tell
// holds up a garbage collection for at most that long.
const briefly = 4 * time.Millisecond

// wait returns what is ready, at the latest after timeout.
func (p *poller) wait(timeout time.Duration) ([]event, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.raw[0])), maxEvents, milliseconds(min(timeout, briefly)), 0, 0)
	count := int(n)
	if errno != 0 {
		count = 0
	}
	if count == 0 && timeout > briefly {
		var err error
		count, err = syscall.EpollWait(p.fd, p.raw[:], int(milliseconds(timeout-briefly)))
		if err != nil && err != syscall.EINTR {
			return nil, os.NewSyscallError("epoll_wait", err)
		}
	}
	events := p.events[:0]
	for i := range max(count, 0) {
		raw := &p.raw[i]
		if raw.Fd == tickSlot {
			// The kernel arms a periodic timer anew when its expiries are read.
			var expiries [8]byte
			_, _ = socket(p.ticker).read(expiries[:])
			continue
		}
		events = append(events, event{
			slot:     int(raw.Fd),
			readable: raw.Events&^uint32(syscall.EPOLLOUT) != 0, // errors and hang-ups show on reading
			writable: raw.Events&syscall.EPOLLOUT != 0,
		})
	}
	return events, nil
}

// milliseconds rounds up, so that what is due after d is due.
func milliseconds(d time.Duration) uintptr {
	return uintptr(max(d+time.Millisecond-1, 0) / time.Millisecond)
}

// fileLimit is how many files this process may have open.
func fileLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read open file limit: %w", err)
	}
	return int(min(limit.Cur, 1<<30)), nil
}
