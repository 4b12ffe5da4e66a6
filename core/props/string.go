package props

import (
	"fmt"
	"strconv"
	"strings"
)

// String shows the table to people: key=value, separated by commas.
func (t Table) String() string {
	var s strings.Builder
	t.show(&s, MaxDepth)
	return s.String()
}

func (t Table) show(s *strings.Builder, depth int) {
	sep := ""
	for it := t.Iter(); it.Next(); sep = ", " {
		s.WriteString(sep)
		s.Write(it.key)
		s.WriteByte('=')
		it.value.show(s, depth)
	}
}

func (v Value) show(s *strings.Builder, depth int) {
	switch {
	case v.IsInt() || v.kind == KindTime:
		s.WriteString(strconv.FormatInt(v.Int64(), 10))
	case v.IsFloat():
		s.WriteString(strconv.FormatFloat(v.Float64(), 'g', -1, 64))
	case v.kind == KindBool:
		s.WriteString(strconv.FormatBool(v.Bool()))
	case v.kind == KindDecimal:
		scale, n := v.Decimal()
		fmt.Fprintf(s, "%de-%d", int32(n), scale)
	case v.kind == KindLongStr || v.kind == KindBytes:
		s.WriteString(strconv.Quote(string(v.b)))
	case v.kind == KindTable && depth > 0:
		s.WriteByte('{')
		v.Table().show(s, depth-1)
		s.WriteByte('}')
	case v.kind == KindArray && depth > 0:
		s.WriteByte('[')
		sep := ""
		for it := v.Array().Iter(); it.Next(); sep = ", " {
			s.WriteString(sep)
			it.value.show(s, depth-1)
		}
		s.WriteByte(']')
	default:
		s.WriteString("void")
	}
}
