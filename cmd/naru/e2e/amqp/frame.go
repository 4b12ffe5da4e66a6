package amqp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Types of frames.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameEnd       = 0xce
)

// A Frame is one frame as it stands on the wire.
type Frame struct {
	Type    byte
	Channel uint16
	Payload []byte
}

func appendFrame(b []byte, f Frame) []byte {
	b = append(b, f.Type)
	b = binary.BigEndian.AppendUint16(b, f.Channel)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Payload)))
	return append(append(b, f.Payload...), frameEnd)
}

// cutFrame takes the first frame off data. It is not ok as long as bytes are
// missing.
func cutFrame(data []byte) (f Frame, rest []byte, ok bool, err error) {
	if len(data) > 0 && data[0] != frameMethod && data[0] != frameHeader && data[0] != frameBody && data[0] != frameHeartbeat {
		return f, data, false, fmt.Errorf("no frame begins with %q", data[:min(len(data), 16)])
	}
	if len(data) < 8 {
		return f, data, false, nil
	}
	size := int(binary.BigEndian.Uint32(data[3:]))
	if len(data) < size+8 {
		return f, data, false, nil
	}
	if data[size+7] != frameEnd {
		return f, data, false, fmt.Errorf("a frame ends with %#x", data[size+7])
	}
	return Frame{data[0], binary.BigEndian.Uint16(data[1:]), slices.Clone(data[7 : size+7])}, data[size+8:], true, nil
}

// A Command is a method with its arguments and, where it has one, its content.
type Command struct {
	Method *Method
	Args   map[string]Value // what is not named is zero
	Props  map[string]Value // what is not named is absent
	Body   []byte
	// AnyProps and AnyBody are patterns that do not look at them.
	AnyProps, AnyBody bool
}

// String is the command as a script writes it.
func (c *Command) String() string {
	var b strings.Builder
	b.WriteString(c.Method.Name)
	for _, a := range c.Method.Fields {
		v, ok := c.Args[a.Name]
		switch {
		case !ok || a.Reserved() || isZero(v):
		case a.Type == "bit" && v.Kind == 't':
			b.WriteString(" " + a.Name)
		default:
			b.WriteString(" " + a.Name + "=" + v.String())
		}
	}
	if !c.Method.Content() {
		return b.String()
	}
	b.WriteString(" |")
	for _, p := range properties {
		if v, ok := c.Props[p.Name]; ok {
			b.WriteString(" " + p.Name + "=" + v.String())
		}
	}
	return b.String() + " | " + quote(string(c.Body))
}

func isZero(v Value) bool {
	return v.Kind != '_' && v.Kind != '$' && v.Text == "" && v.Num == 0 && len(v.Fields) == 0 && !v.Open
}

// frames encodes the command; no frame of the body is larger than max.
func (c *Command) frames(channel uint16, max int) ([]byte, error) {
	payload, err := c.payload()
	if err != nil {
		return nil, err
	}
	out := appendFrame(nil, Frame{frameMethod, channel, payload})
	if !c.Method.Content() {
		return out, nil
	}
	header := binary.BigEndian.AppendUint16(nil, 60)
	header = binary.BigEndian.AppendUint16(header, 0)
	header = binary.BigEndian.AppendUint64(header, uint64(len(c.Body)))
	var flags uint16
	var props []byte
	for i, p := range properties {
		if v, ok := c.Props[p.Name]; ok {
			flags |= 1 << (15 - i)
			props = appendArg(props, p, v)
		}
	}
	header = append(binary.BigEndian.AppendUint16(header, flags), props...)
	out = appendFrame(out, Frame{frameHeader, channel, header})
	for part := range slices.Chunk(c.Body, max-8) {
		out = appendFrame(out, Frame{frameBody, channel, part})
	}
	return out, nil
}

// payload encodes the method.
func (c *Command) payload() ([]byte, error) {
	out := binary.BigEndian.AppendUint32(nil, c.Method.ID)
	bits := 0 // bits in the last octet
	for _, a := range c.Method.Fields {
		v, ok := c.Args[a.Name]
		if a.Type == "bit" {
			if bits%8 == 0 {
				out = append(out, 0)
				bits = 0
			}
			if v.Num != 0 {
				out[len(out)-1] |= 1 << bits
			}
			bits++
			continue
		}
		bits = 0
		if !ok {
			v = table() // its zero is that of all types
		}
		out = appendArg(out, a, v)
	}
	return out, nil
}

func appendArg(b []byte, a Arg, v Value) []byte {
	switch a.Type {
	case "octet":
		return append(b, byte(v.Num))
	case "short":
		return binary.BigEndian.AppendUint16(b, uint16(v.Num))
	case "long":
		return binary.BigEndian.AppendUint32(b, uint32(v.Num))
	case "longlong":
		return binary.BigEndian.AppendUint64(b, uint64(v.Num))
	case "shortstr":
		return append(append(b, byte(len(v.Text))), v.Text...)
	case "longstr":
		return append(binary.BigEndian.AppendUint32(b, uint32(len(v.Text))), v.Text...)
	case "table":
		return appendTable(b, v)
	}
	panic("no such type: " + a.Type)
}

func (r reader) arg(a Arg) (v Value, err error) {
	var n uint64
	v.Kind = 'I'
	switch a.Type {
	case "octet":
		n, err = r.uint(1)
	case "short":
		n, err = r.uint(2)
	case "long":
		n, err = r.uint(4)
	case "longlong":
		n, err = r.uint(8)
	case "shortstr":
		v.Kind = 'S'
		v.Text, err = r.str(1)
	case "longstr":
		v.Kind = 'S'
		v.Text, err = r.str(4)
	case "table":
		return r.table()
	}
	v.Num = int64(n)
	return v, err
}

// parseMethod decodes the payload of a method frame.
func parseMethod(payload []byte) (*Command, error) {
	r := reader{bytes.NewReader(payload)}
	id, err := r.uint(4)
	m := methodsByID[uint32(id)]
	if err != nil || m == nil {
		return nil, fmt.Errorf("there is no method %d.%d", id>>16, id&0xffff)
	}
	c := &Command{Method: m, Args: map[string]Value{}}
	bits, octet := 0, uint64(0)
	for _, a := range m.Fields {
		if a.Type == "bit" {
			if bits%8 == 0 {
				if octet, err = r.uint(1); err != nil {
					return nil, fmt.Errorf("%s: %w", m.Name, err)
				}
				bits = 0
			}
			c.Args[a.Name] = bit(octet>>bits&1 == 1)
			bits++
			continue
		}
		bits = 0
		if c.Args[a.Name], err = r.arg(a); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", m.Name, a.Name, err)
		}
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("%s has %d bytes too many", m.Name, r.Len())
	}
	return c, nil
}

// parseHeader adds what a content header says, and answers the size of the body.
func (c *Command) parseHeader(payload []byte) (size int, err error) {
	r := reader{bytes.NewReader(payload)}
	class, _ := r.uint(2)
	weight, _ := r.uint(2)
	n, _ := r.uint(8)
	flags, err := r.uint(2)
	if err != nil || class != 60 || weight != 0 {
		return 0, fmt.Errorf("not a content header of class basic: %x", payload)
	}
	c.Props = map[string]Value{}
	for i, p := range properties {
		if flags>>(15-i)&1 == 0 {
			continue
		}
		if c.Props[p.Name], err = r.arg(p); err != nil {
			return 0, fmt.Errorf("property %s: %w", p.Name, err)
		}
	}
	if r.Len() > 0 {
		return 0, fmt.Errorf("a content header has %d bytes too many", r.Len())
	}
	return int(n), nil
}

// match compares with a pattern; the answer is the first thing that differs.
func (c *Command) match(want *Command, vars map[string]Value) string {
	if c.Method != want.Method {
		return "another method"
	}
	for _, a := range c.Method.Fields {
		if a.Reserved() {
			continue
		}
		pattern, ok := want.Args[a.Name]
		if got := c.Args[a.Name]; !ok && !isZero(got) || ok && !got.match(pattern, vars) {
			return a.Name
		}
	}
	if !c.Method.Content() {
		return ""
	}
	for _, p := range properties {
		if want.AnyProps {
			break
		}
		got, is := c.Props[p.Name]
		pattern, wanted := want.Props[p.Name]
		if is != wanted || is && !got.match(pattern, vars) {
			return p.Name
		}
	}
	if !want.AnyBody && !bytes.Equal(c.Body, want.Body) {
		return "the body"
	}
	return ""
}
