package amqp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Value is an argument, a property or a field of a table, or a pattern for
// one. Strings of any length have Kind 'S' outside of tables, integers of any
// width 'I', bits 't'.
type Value struct {
	Kind   byte // letter of the field type; '_' matches anything; '$' is a variable
	Text   string
	Num    int64
	Float  float64
	Scale  byte
	Fields []Field // of a table, sorted by name
	List   []Value
	Open   bool // a pattern: text may go on, a table may have more fields
}

// A Field is an entry of a table.
type Field struct {
	Name  string
	Value Value
}

func text(s string) Value { return Value{Kind: 'S', Text: s} }
func integer(n int) Value { return Value{Kind: 'I', Num: int64(n)} }
func bit(b bool) Value    { return Value{Kind: 't', Num: map[bool]int64{true: 1}[b]} }
func table() Value        { return Value{Kind: 'F'} }

// String is the value as a script writes it.
func (v Value) String() string {
	switch v.Kind {
	case '_', 'V':
		return string(v.Kind)
	case '$':
		return "$" + v.Text
	case 'S':
		return quote(v.Text) + map[bool]string{true: "..."}[v.Open]
	case 'x':
		return "x:" + quote(v.Text)
	case 'I':
		return strconv.FormatInt(v.Num, 10)
	case 't':
		return "t:" + strconv.FormatBool(v.Num != 0)
	case 'd', 'f':
		return fmt.Sprintf("%c:%v", v.Kind, v.Float)
	case 'D':
		return fmt.Sprintf("D:%d/%d", v.Scale, v.Num)
	case 'F':
		var parts []string
		for _, f := range v.Fields {
			parts = append(parts, f.Name+"="+f.Value.String())
		}
		if v.Open {
			parts = append(parts, "...")
		}
		return "{" + strings.Join(parts, " ") + "}"
	case 'A':
		var parts []string
		for _, e := range v.List {
			parts = append(parts, e.String())
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	return fmt.Sprintf("%c:%d", v.Kind, v.Num)
}

func quote(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%s and so on, %d bytes", quote(s[:40]), len(s))
	}
	var b strings.Builder
	b.WriteByte('\'')
	for _, c := range []byte(s) {
		switch {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\x%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + "'"
}

// match compares with a pattern. A variable that is not set yet is captured.
func (v Value) match(pattern Value, vars map[string]Value) bool {
	switch pattern.Kind {
	case '_':
		return true
	case '$':
		known, ok := vars[pattern.Text]
		if !ok {
			vars[pattern.Text] = v
			return true
		}
		pattern = known
	}
	if v.Kind != pattern.Kind {
		return false
	}
	switch v.Kind {
	case 'S', 'x':
		return v.Text == pattern.Text || pattern.Open && strings.HasPrefix(v.Text, pattern.Text)
	case 'F':
		return v.matchTable(pattern, vars)
	case 'A':
		return slices.EqualFunc(v.List, pattern.List, func(a, b Value) bool { return a.match(b, vars) })
	}
	return v.Num == pattern.Num && v.Float == pattern.Float && v.Scale == pattern.Scale
}

func (v Value) matchTable(pattern Value, vars map[string]Value) bool {
	if len(v.Fields) != len(pattern.Fields) && !pattern.Open {
		return false
	}
	for _, want := range pattern.Fields {
		i := slices.IndexFunc(v.Fields, func(f Field) bool { return f.Name == want.Name })
		if i < 0 || !v.Fields[i].Value.match(want.Value, vars) {
			return false
		}
	}
	return true
}

// resolve puts values in the place of variables.
func (v Value) resolve(vars map[string]Value) (Value, error) {
	var err error
	switch v.Kind {
	case '_':
		return v, errors.New("_ cannot be sent")
	case '$':
		known, ok := vars[v.Text]
		if !ok {
			return v, fmt.Errorf("$%s is not known yet", v.Text)
		}
		return known, nil
	case 'F':
		v.Fields = slices.Clone(v.Fields)
		for i := range v.Fields {
			if v.Fields[i].Value, err = v.Fields[i].Value.resolve(vars); err != nil {
				return v, err
			}
		}
	case 'A':
		v.List = slices.Clone(v.List)
		for i := range v.List {
			if v.List[i], err = v.List[i].resolve(vars); err != nil {
				return v, err
			}
		}
	}
	return v, nil
}

// appendField encodes a field of a table with its type.
func appendField(b []byte, v Value) []byte {
	b = append(b, v.Kind)
	switch v.Kind {
	case 'S', 'x':
		return append(binary.BigEndian.AppendUint32(b, uint32(len(v.Text))), v.Text...)
	case 't', 'b', 'B':
		return append(b, byte(v.Num))
	case 's', 'u':
		return binary.BigEndian.AppendUint16(b, uint16(v.Num))
	case 'I', 'i':
		return binary.BigEndian.AppendUint32(b, uint32(v.Num))
	case 'l', 'L', 'T':
		return binary.BigEndian.AppendUint64(b, uint64(v.Num))
	case 'f':
		return binary.BigEndian.AppendUint32(b, math.Float32bits(float32(v.Float)))
	case 'd':
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float))
	case 'D':
		return binary.BigEndian.AppendUint32(append(b, v.Scale), uint32(v.Num))
	case 'F':
		return appendTable(b, v)
	case 'A':
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		for _, e := range v.List {
			b = appendField(b, e)
		}
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	return b
}

func appendTable(b []byte, v Value) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, f := range v.Fields {
		b = append(append(b, byte(len(f.Name))), f.Name...)
		b = appendField(b, f.Value)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

var errCut = errors.New("it is cut short")

// A reader takes values off the front of bytes.
type reader struct {
	*bytes.Reader
}

func (r reader) take(n int) ([]byte, error) {
	if n < 0 || n > r.Len() {
		return nil, errCut
	}
	b := make([]byte, n)
	r.Read(b)
	return b, nil
}

func (r reader) uint(size int) (uint64, error) {
	b, err := r.take(size)
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n, err
}

func (r reader) str(size int) (string, error) {
	n, err := r.uint(size)
	if err != nil {
		return "", err
	}
	b, err := r.take(int(n))
	return string(b), err
}

func (r reader) table() (Value, error) {
	v := table()
	body, err := r.str(4)
	if err != nil {
		return v, err
	}
	in := reader{bytes.NewReader([]byte(body))}
	for in.Len() > 0 {
		name, err := in.str(1)
		if err != nil {
			return v, err
		}
		f, err := in.field()
		if err != nil {
			return v, err
		}
		v.Fields = append(v.Fields, Field{name, f})
	}
	slices.SortStableFunc(v.Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
}

// fieldSizes are the sizes of integers by type, negative where they are signed.
var fieldSizes = map[byte]int{'t': 1, 'b': -1, 'B': 1, 's': -2, 'u': 2, 'I': -4, 'i': 4, 'l': -8, 'L': 8, 'T': 8}

func (r reader) field() (v Value, err error) {
	if v.Kind, err = r.ReadByte(); err != nil {
		return v, errCut
	}
	if size, ok := fieldSizes[v.Kind]; ok {
		n, err := r.uint(max(size, -size))
		shift := 64 + 8*size // of a signed one
		if v.Num = int64(n); size < 0 {
			v.Num = int64(n) << shift >> shift
		}
		return v, err
	}
	switch v.Kind {
	case 'S', 'x':
		v.Text, err = r.str(4)
	case 'V':
	case 'f':
		n, err := r.uint(4)
		v.Float = float64(math.Float32frombits(uint32(n)))
		return v, err
	case 'd':
		n, err := r.uint(8)
		v.Float = math.Float64frombits(n)
		return v, err
	case 'D':
		n, err := r.uint(5)
		v.Scale, v.Num = byte(n>>32), int64(uint32(n))
		return v, err
	case 'F':
		return r.table()
	case 'A':
		body, err := r.str(4)
		in := reader{bytes.NewReader([]byte(body))}
		for err == nil && in.Len() > 0 {
			var e Value
			e, err = in.field()
			v.List = append(v.List, e)
		}
		return v, err
	default:
		err = fmt.Errorf("%q is no type of a field", v.Kind)
	}
	return v, err
}
