package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A notifier tells a service manager how the process is, by systemd's protocol:
// datagrams to the socket that NOTIFY_SOCKET names. Without one it is silent.
type notifier struct {
	conn     *net.UnixConn // nil: there is nobody to tell
	watchdog time.Duration // a sign of life is due that often, 0: never
	log      *slog.Logger
}

// newNotifier takes what the manager has said out of the environment, which is
// not for children of this process.
func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log}
	name, usec, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(v)
	}
	if name == "" {
		return n
	}
	if rest, abstract := strings.CutPrefix(name, "@"); abstract {
		name = "\x00" + rest
	}
	var err error
	if n.conn, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}); err != nil {
		log.Warn("cannot tell the service manager", "err", err)
		return n
	}
	us, err := strconv.ParseInt(usec, 10, 64)
	if err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n
}

func (n *notifier) tell(lines ...string) {
	if n.conn == nil {
		return
	}
	if _, err := n.conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		n.log.Warn("cannot tell the service manager", "err", err)
	}
}

// ready says that the node serves, at the start and after a reload.
func (n *notifier) ready(status string) {
	if status == "" {
		n.tell("READY=1")
		return
	}
	n.tell("READY=1", "STATUS="+status)
}

func (n *notifier) reloading() { n.tell("RELOADING=1") }

func (n *notifier) stopping() { n.tell("STOPPING=1", "STATUS=stopping") }

// watch gives signs of life, twice as often as they are due, for as long as the
// node is alive; when it hangs the manager starts it anew. It returns when ctx
// ends.
func (n *notifier) watch(ctx context.Context, alive func(context.Context) error) {
	if n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		check, cancel := context.WithTimeout(ctx, n.watchdog/4)
		err := alive(check)
		cancel()
		switch {
		case err == nil:
			n.tell("WATCHDOG=1")
		case ctx.Err() == nil:
			n.log.Error("no sign of life", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
