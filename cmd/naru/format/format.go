// Package format prints messages as a format string says, in the language of
// mosquitto_sub: %t and %p for what a message has, @Y and @m for the time, \n and
// \t for what is hard to type.
//
// What MQTT 3.1.1 does not have (%A, %C, %D, %E, %F, %P, %R, %S: the properties of
// MQTT 5) is empty, as it is there. Of AMQP %C, %D, %P and %R are the properties that
// correspond, and %d and %e are ours: redelivered, exchange. Different are: a number in front of %x counts
// hexadecimal digits (Mosquitto cuts the payload), JSON is valid whatever bytes the
// payload has, and what a message brings along can be made safe for a terminal.
package format

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Message is what a format prints.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	ID      uint16
	Time    time.Time // of its arrival
	AMQP    *AMQP     // nil if it came by MQTT
}

// AMQP is what a message has that came by AMQP. The topic is its routing key.
type AMQP struct {
	Exchange    string
	Redelivered bool
	Properties  []Field // those that it has
	Headers     []Field
}

// A Field is a value with a name. The value is nil, a bool, string, int64 or
// float64, []Field or []any of these.
type Field struct {
	Name  string
	Value any
}

// property returns a property that is text, "" if there is none.
func (x *AMQP) property(name string) string {
	for _, p := range x.Properties {
		if text, ok := p.Value.(string); ok && p.Name == name {
			return text
		}
	}
	return ""
}

// A Format is a format string, understood.
type Format struct {
	parts []part
	// Safe says that control characters in what a message brings along are printed
	// as escapes. Those of the format string itself are the user's own.
	Safe bool
}

// A part is a literal or one thing of a message.
type part struct {
	literal string
	kind    byte // '%' for a parameter, '@' for the time, 0 for a literal
	verb    byte
	zero    bool
	left    bool
	width   int
	cut     int // at most so many bytes; -1: all
}

// maxWidth keeps a slip of the finger from filling the memory.
const maxWidth = 10_000

// ErrNotJSON is the answer of Append to a %J whose payload is something else.
var ErrNotJSON = errors.New("payload is not valid JSON")

// Parse reads a format string.
func Parse(s string) (*Format, error) {
	f := &Format{}
	literal := make([]byte, 0, len(s))
	flush := func() {
		if len(literal) > 0 {
			f.parts = append(f.parts, part{literal: string(literal)})
			literal = literal[:0]
		}
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		default:
			literal = append(literal, s[i])
		case '\\':
			i++
			if i == len(s) {
				return nil, errors.New(`incomplete escape at the end: \\ is a backslash`)
			}
			c, ok := escapes[s[i]]
			if !ok {
				return nil, fmt.Errorf(`\%c is not known: \\ \0 \a \e \n \r \t \v`, s[i])
			}
			literal = append(literal, c)
		case '%', '@':
			p, n, err := parsePart(s[i:])
			if err != nil {
				return nil, err
			}
			i += n - 1
			if p.verb == p.kind { // %% and @@
				literal = append(literal, p.kind)
				continue
			}
			flush()
			f.parts = append(f.parts, p)
		}
	}
	flush()
	return f, nil
}

var escapes = map[byte]byte{'\\': '\\', '0': 0, 'a': '\a', 'e': 0x1b, 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

const (
	parameters = "%ACDEFIJPRSUXdejlmpqrtx"
	padded     = "ACEFIelmpRStxX" // those that take flags and a width
	numbers    = "AEFlmSpxX"      // those whose padding can be zeros
	cuttable   = "CIRet"          // those that take a maximum width
	clock      = "@aAbBcCdDeFgGhHIjklmMnNpPrRsStTuUVwWxXyYzZ"
)

// parsePart reads what begins with % or @, and says how long it is.
func parsePart(s string) (p part, n int, err error) {
	p = part{kind: s[0], cut: -1}
	n = 1
	if p.kind == '%' {
		for n < len(s) && (s[n] == '0' || s[n] == '-') {
			p.zero = p.zero || s[n] == '0'
			p.left = p.left || s[n] == '-'
			n++
		}
		p.width, n = parseNumber(s, n)
		if n < len(s) && s[n] == '.' {
			p.cut, n = parseNumber(s, n+1)
		}
	}
	if n >= len(s) {
		return p, n, fmt.Errorf("incomplete %q at the end: %c%c is a %[2]c", s, p.kind, p.kind)
	}
	p.verb = s[n]
	n++
	switch known := map[byte]string{'%': parameters, '@': clock}[p.kind]; {
	case strings.IndexByte(known, p.verb) < 0:
		return p, n, fmt.Errorf("%q is not known", s[:n])
	case n > 2 && strings.IndexByte(padded, p.verb) < 0:
		return p, n, fmt.Errorf("%q: %%%c takes no width", s[:n], p.verb)
	case p.cut >= 0 && strings.IndexByte(cuttable, p.verb) < 0:
		p.cut = -1
	case p.width > maxWidth:
		return p, n, fmt.Errorf("%q: the width is at most %d", s[:n], maxWidth)
	}
	p.zero = p.zero && !p.left && strings.IndexByte(numbers, p.verb) >= 0
	return p, n, nil
}

func parseNumber(s string, from int) (value, next int) {
	for next = from; next < len(s) && s[next] >= '0' && s[next] <= '9'; next++ {
		value = min(value*10+int(s[next]-'0'), maxWidth+1)
	}
	return value, next
}

// Append appends what the format makes of a message.
func (f *Format) Append(b []byte, m *Message) ([]byte, error) {
	for i := range f.parts {
		p := &f.parts[i]
		var err error
		switch {
		case p.kind == 0:
			b = append(b, p.literal...)
		case p.kind == '@':
			b = appendTime(b, p.verb, m.Time)
		default:
			b, err = f.parameter(b, p, m)
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

func (f *Format) parameter(b []byte, p *part, m *Message) ([]byte, error) {
	var text string
	switch p.verb {
	case 'j':
		return appendJSON(b, m, false)
	case 'J':
		return appendJSON(b, m, true)
	case 'p':
		text = string(m.Payload)
	case 't':
		text = m.Topic
	case 'x':
		text = hex.EncodeToString(m.Payload)
	case 'X':
		text = strings.ToUpper(hex.EncodeToString(m.Payload))
	case 'l':
		text = strconv.Itoa(len(m.Payload))
	case 'm':
		text = strconv.Itoa(int(m.ID))
	case 'q':
		text = strconv.Itoa(int(m.QoS))
	case 'r':
		text = string(bit(m.Retain))
	case 'I':
		text = m.Time.Format("2006-01-02T15:04:05-0700")
	case 'U':
		text = fmt.Sprintf("%d.%09d", m.Time.Unix(), m.Time.Nanosecond())
	case 'd':
		text = string(bit(m.AMQP != nil && m.AMQP.Redelivered))
	default:
		text = property(p.verb, m)
	}
	if p.cut >= 0 && p.cut < len(text) {
		text = text[:p.cut]
	}
	if f.Safe {
		text = string(AppendSafe(nil, []byte(text), p.verb == 'p')) // a payload may have lines
	}
	return appendPadded(b, text, p.width, p.left, p.zero), nil
}

// property returns what MQTT 3.1.1 has no word for. The properties of MQTT 5 that AMQP
// has none for are empty.
func property(verb byte, m *Message) string {
	if m.AMQP == nil {
		return ""
	}
	var text string
	switch verb {
	case 'e':
		text = m.AMQP.Exchange
	case 'C':
		text = m.AMQP.property("content_type")
	case 'D':
		text = m.AMQP.property("correlation_id")
	case 'R':
		text = m.AMQP.property("reply_to")
	case 'P':
		for i, h := range m.AMQP.Headers {
			if i > 0 {
				text += " "
			}
			value, ok := h.Value.(string)
			if !ok {
				value = string(appendValue(nil, h.Value))
			}
			text += h.Name + ":" + value
		}
	}
	return text
}

func appendPadded(b []byte, text string, width int, left, zero bool) []byte {
	fill := " "
	if zero {
		fill = "0"
	}
	pad := strings.Repeat(fill, max(0, width-len(text)))
	if left {
		return append(append(b, text...), pad...)
	}
	return append(append(b, pad...), text...)
}

func bit(v bool) byte {
	if v {
		return '1'
	}
	return '0'
}
