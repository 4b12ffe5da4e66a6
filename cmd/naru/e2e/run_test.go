package e2e

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// A fakeBroker answers every connection alike, whatever it is sent: after some
// time it writes, and then it may close. It is what a runner must see through.
type fakeBroker struct {
	reply string
	delay time.Duration
	close bool
}

// fakePatience is little for those who wait in vain, and much for the fake.
const fakePatience = 1500 * time.Millisecond

// runner plays scripts against the fake.
func (f fakeBroker) runner(t *testing.T) *Runner {
	addr := suite.Fake(t, f.answer)
	return &Runner{
		Dial:     func(string) (net.Conn, error) { return net.Dial("tcp", addr) },
		Restart:  func(bool) error { return nil },
		Patience: fakePatience,
	}
}

func (f fakeBroker) answer(c net.Conn) {
	time.Sleep(f.delay) // the fake's only behaviour: to be early or late
	c.Write([]byte(f.reply))
	if f.close {
		return
	}
	for buf := make([]byte, 100); ; { // until the script ends the connection
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

// TestRunner: the runner notices what is wrong, and only that.
func TestRunner(t *testing.T) {
	const connack, pingresp = "\x20\x02\x00\x00", "\xd0\x00"
	tests := []struct {
		name   string
		fake   fakeBroker
		script string
		want   string // a part of the failure, "" for success
	}{
		{"the right bytes", fakeBroker{reply: connack}, "c1 < 20 02 00 00", ""},
		{"in pieces", fakeBroker{reply: connack + pingresp}, "c1 < 20\nc1 < 02 0000 d0\nc1 < 00", ""},
		{"a wrong byte", fakeBroker{reply: "\x20\x02\x00\x05"}, "c1 < 20 02 00 00", "code=5"},
		{"a wrong byte after a wildcard", fakeBroker{reply: "\x20\x02\x00\x05"}, "c1 < 20 ?? 00 00", "received 20020005"},
		{"another capture", fakeBroker{reply: "\x40\x02\x00\x01\x40\x02\x00\x02"}, "c1 < 40 02 $id:2\nc1 < 40 02 $id", "id=0002"},
		{"equal captures", fakeBroker{reply: "\x40\x02\x00\x01\x40\x02\x00\x01"}, "c1 < 40 02 $a:2 40 02 $b:2\ndiffer $a $b", "both are 0001"},
		{"too few bytes", fakeBroker{reply: "\x20\x02"}, "c1 < 20 02 00 00", "CONNACK (cut)"},
		{"nothing", fakeBroker{}, "c1 < 20 02 00 00", "received nothing"},
		{"too late", fakeBroker{reply: connack, delay: fakePatience + time.Second}, "c1 < 20 02 00 00", "received nothing"},
		{"closed instead", fakeBroker{close: true}, "c1 < 20 02 00 00", "the connection was closed"},
		{"a close", fakeBroker{reply: connack, close: true}, "c1 < 20 02 00 00\nc1 < close", ""},
		{"a missing close", fakeBroker{reply: connack}, "c1 < 20 02 00 00\nc1 < close", "stays open"},
		{"a packet before the close", fakeBroker{reply: connack, close: true}, "c1 < close", "CONNACK"},
		{"anything before the close", fakeBroker{reply: connack, close: true}, "c1 < anything close", ""},
		{"a close too early", fakeBroker{close: true}, "c1 > 00\nc1 < close 2s..3s", "closed after"},
		{"a close too late", fakeBroker{close: true, delay: 200 * time.Millisecond}, "c1 > 00\nc1 < close 1ms..100ms", "stays open"},
		{"a surplus packet at the end", fakeBroker{reply: connack + pingresp}, "c1 < 20 02 00 00", "PINGRESP"},
		{"a surplus packet a little later", fakeBroker{reply: pingresp, delay: time.Millisecond}, "c1 > 00", "PINGRESP"},
		{"a surplus packet before our end", fakeBroker{reply: connack + pingresp}, "c1 < 20 02 00 00\nc1 close", "PINGRESP"},
		{"a surplus packet before a restart", fakeBroker{reply: connack + pingresp}, "c1 < 20 02 00 00\nrestart", "PINGRESP"},
		{"silence", fakeBroker{}, "c1 silent 50ms", ""},
		{"no silence", fakeBroker{reply: pingresp}, "c1 silent 3s", "PINGRESP"},
		{"a close is no silence", fakeBroker{close: true}, "c1 silent 3s", "closed by the broker"},
		{"a set", fakeBroker{reply: connack + pingresp}, "c1 < unordered {\nd0 00\n20 02 00 00\n}", ""},
		{"a set with a stranger", fakeBroker{reply: connack + connack}, "c1 < unordered {\nd0 00\n20 02 00 00\n}", "not in the set"},
		{"a set that is incomplete", fakeBroker{reply: pingresp}, "c1 < unordered {\nd0 00\n20 02 00 00\n}", "received nothing"},
		{"one of two", fakeBroker{reply: pingresp}, "c2 open\neither c1 c2 < d0 00\n", "PINGRESP"},
		{"none of two", fakeBroker{}, "c2 open\neither c1 c2 < d0 00\n", "none of c1, c2"},
		{"an HTTP answer", fakeBroker{reply: "HTTP/1.1 101 X\r\nA: b\r\nsec: Mqtt\r\n\r\n"}, "c1 < http 101 'Sec: mqtt'", ""},
		{"an HTTP error", fakeBroker{reply: "HTTP/1.1 400 X\r\nSec: mqtt\r\n\r\n"}, "c1 < http 101 'Sec: mqtt'", "400"},
		{"a missing header", fakeBroker{reply: "HTTP/1.1 101 X\r\nA: b\r\n\r\n"}, "c1 < http 101 'Sec: mqtt'", "among the headers"},
		{"a connection that is not open", fakeBroker{}, "c2 > 00", "not open"},
		{"a connection that is open already", fakeBroker{}, "c1 open", "open already"},
		{"a value not captured", fakeBroker{}, "c1 > $id:2", "not been captured"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			scripts, err := parse("== s\ncovers: -\nc1 open\n" + test.script)
			if err != nil {
				t.Fatal(err)
			}
			f := test.fake.runner(t).Play(scripts[0])
			switch {
			case test.want == "" && f != nil:
				t.Errorf("it fails: %v", f)
			case test.want != "" && f == nil:
				t.Error("it passes")
			case test.want != "" && !strings.Contains(f.String(), test.want):
				t.Errorf("it fails without %q: %v", test.want, f)
			}
		})
	}
}
