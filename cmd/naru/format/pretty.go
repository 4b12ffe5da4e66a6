package format

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// Pretty prints messages for people: a line about the message, and the payload
// below it, JSON with indentation.
type Pretty struct {
	JSON  bool // the object of %j instead
	Safe  bool // as in Format
	Color bool
}

// The colours, as a terminal is told of them.
const (
	bold    = "\x1b[1m"
	dim     = "\x1b[2m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	magenta = "\x1b[35m"
	cyan    = "\x1b[36m"
	reset   = "\x1b[0m"
)

// Append appends a message.
func (p *Pretty) Append(b []byte, m *Message) []byte {
	if p.JSON {
		object, _ := appendJSON(nil, m, false) // only %J can fail
		return p.appendJSON(b, object, "")
	}
	topic := []byte(m.Topic)
	if m.AMQP != nil && m.AMQP.Exchange != "" {
		topic = append([]byte(m.AMQP.Exchange+" "), topic...)
	}
	if p.Safe {
		topic = AppendSafe(nil, topic, false)
	}
	b = p.paint(b, bold+cyan, topic)
	about := m.Time.AppendFormat([]byte("  "), "15:04:05.000")
	switch {
	case m.AMQP == nil:
		about = append(append(about, " QoS "...), '0'+m.QoS)
	case m.QoS > 0:
		about = append(about, " persistent"...)
	}
	if m.Retain {
		about = append(about, " retained"...)
	}
	if x := m.AMQP; x != nil {
		if x.Redelivered {
			about = append(about, " redelivered"...)
		}
		for _, f := range slices.Concat(x.Properties, x.Headers) {
			about = appendValue(append(append(append(about, ' '), f.Name...), '='), f.Value)
		}
		if p.Safe {
			about = AppendSafe(nil, about, false)
		}
	}
	b = p.paint(b, dim, about)
	b = append(b, "\n  "...)
	if trimmed := bytes.TrimSpace(m.Payload); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') &&
		utf8.Valid(trimmed) && json.Valid(trimmed) {
		return p.appendJSON(b, appendEscaped(nil, trimmed), "  ")
	}
	payload := m.Payload
	if p.Safe {
		payload = AppendSafe(nil, payload, true)
	}
	return append(b, bytes.ReplaceAll(payload, []byte("\n"), []byte("\n  "))...)
}

func (p *Pretty) paint(b []byte, color string, text []byte) []byte {
	if !p.Color {
		return append(b, text...)
	}
	b = append(b, color...)
	b = append(b, text...)
	return append(b, reset...)
}

// appendJSON appends valid JSON, indented.
func (p *Pretty) appendJSON(b, object []byte, prefix string) []byte {
	var out bytes.Buffer
	if json.Indent(&out, object, prefix, "  ") != nil {
		return append(b, object...)
	}
	text := out.Bytes()
	for len(text) > 0 {
		n, color := token(text)
		if color == "" {
			b = append(b, text[:n]...)
		} else {
			b = p.paint(b, color, text[:n])
		}
		text = text[n:]
	}
	return b
}

// token returns the length of the first token of valid JSON, and its colour.
func token(text []byte) (n int, color string) {
	switch c := text[0]; {
	case c == '"':
		for n = 1; text[n] != '"'; n++ {
			if text[n] == '\\' {
				n++
			}
		}
		n++
		if n < len(text) && text[n] == ':' {
			return n, cyan
		}
		return n, green
	case c == '-' || c >= '0' && c <= '9':
		for n = 1; n < len(text) && bytes.IndexByte([]byte("0123456789+-.eE"), text[n]) >= 0; n++ {
		}
		return n, yellow
	case c >= 'a' && c <= 'z':
		for n = 1; n < len(text) && text[n] >= 'a' && text[n] <= 'z'; n++ {
		}
		return n, magenta
	}
	return 1, ""
}
