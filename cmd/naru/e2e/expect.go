package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The steps of this file wait for something that the broker does. Each answers
// why it did not happen, or "".

func (p *performance) expect(c *conn, pat Pattern) string {
	agrees, complete := false, false
	data, closed := c.await(p.deadline(), func(data []byte, _ bool) bool {
		agrees, complete = pat.Match(data, p.vars)
		return complete || !agrees
	})
	if agrees, complete = pat.Match(data, p.vars); agrees && complete {
		c.consume(pat.Size())
		return ""
	}
	if !agrees {
		// Wait for the rest of what is wrong, to show whole packets.
		data, closed = c.await(time.Now().Add(quiet), func([]byte, bool) bool { return false })
	}
	return p.mismatch(pat, data, closed)
}

func (p *performance) mismatch(pat Pattern, data []byte, closed bool) string {
	text := "expected " + describePattern(pat, p.vars) + "\nreceived " + describe(data)
	if closed {
		text += ", then the connection was closed"
	}
	return text
}

// unordered takes as many packets as there are patterns, each of which must be
// one of those left.
func (p *performance) unordered(c *conn, left []Pattern) string {
	for len(left) > 0 {
		size := 0
		data, closed := c.await(p.deadline(), func(data []byte, _ bool) bool {
			size, _ = packetSize(data)
			return size > 0 && size <= len(data)
		})
		if size == 0 || size > len(data) {
			return p.mismatch(left[0], data, closed)
		}
		i := slices.IndexFunc(left, func(pat Pattern) bool {
			vars := maps.Clone(p.vars)
			if agrees, complete := pat.Match(data[:size], vars); !agrees || !complete || pat.Size() != size {
				return false
			}
			p.vars = vars
			return true
		})
		if i < 0 {
			return "a packet that is not in the set: " + describe(data[:size])
		}
		left = slices.Delete(left, i, i+1)
		c.consume(size)
	}
	return ""
}

// http takes an answer's status line and headers, which the server may write
// in any order and case.
func (p *performance) http(c *conn, status, header string) string {
	end := []byte("\r\n\r\n")
	data, _ := c.await(p.deadline(), func(data []byte, _ bool) bool { return bytes.Contains(data, end) })
	n := bytes.Index(data, end)
	if n < 0 {
		return fmt.Sprintf("no HTTP answer, received %q", data)
	}
	lines := strings.Split(string(data[:n]), "\r\n")
	if !strings.HasPrefix(lines[0], "HTTP/1.1 "+status) {
		return fmt.Sprintf("expected status %s, received %q", status, lines[0])
	}
	if !slices.ContainsFunc(lines[1:], func(l string) bool { return strings.EqualFold(l, header) }) {
		return fmt.Sprintf("expected %q among the headers, received %q", header, lines[1:])
	}
	c.consume(n + len(end))
	return ""
}

func (p *performance) closed(c *conn, from, to time.Duration) string {
	deadline := p.deadline()
	if to > 0 {
		deadline = c.sent.Add(to)
	}
	data, closed := c.await(deadline, func(data []byte, _ bool) bool { return len(data) > 0 })
	if len(data) > 0 {
		return "expected the connection to be closed\nreceived " + describe(data)
	}
	if !closed {
		return "the connection stays open"
	}
	if after := c.closedAfter(); after < from || to > 0 && after > to {
		return fmt.Sprintf("closed after %v", after.Round(time.Millisecond))
	}
	return ""
}

func (p *performance) silent(name string, d time.Duration) string {
	c := p.conns[name]
	data, closed := c.await(time.Now().Add(d), func(data []byte, _ bool) bool { return len(data) > 0 })
	if len(data) > 0 {
		return "expected nothing on " + name + "\nreceived " + describe(data)
	}
	if closed {
		return name + " was closed by the broker"
	}
	return ""
}

// either waits for the bytes on any of the connections. That the others stay
// without is for a later silence, or the end of the script, to show.
func (p *performance) either(names []string, pat Pattern) string {
	for deadline := p.deadline(); time.Now().Before(deadline); time.Sleep(time.Millisecond) { // several to watch
		for _, name := range names {
			c := p.conns[name]
			if c == nil {
				return name + " is not open"
			}
			data, _ := c.unread()
			agrees, complete := pat.Match(data, p.vars)
			switch {
			case !agrees:
				return "on " + name + ": " + p.mismatch(pat, data, false)
			case complete:
				c.consume(pat.Size())
				return ""
			}
		}
	}
	return "none of " + strings.Join(names, ", ") + " received " + describePattern(pat, p.vars)
}
