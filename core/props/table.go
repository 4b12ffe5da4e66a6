package props

// Table is the body of a field table, without the length before it. The empty
// one is nil or has no bytes. Tables that a method or Scan decoded are valid.
//
//	(key: short string | type 1 | value)*
//
// A key is any bytes: RabbitMQ does not check them. Of a key that is there
// twice, Get finds the first.
type Table []byte

// Array is the body of a field array, without the length before it.
//
//	(type 1 | value)*
type Array []byte

const (
	// MaxDepth is how deep tables and arrays can be nested, the outermost
	// counted.
	MaxDepth = 32
	// MaxElements is how many fields and array elements a table can have, those
	// of what is nested in it counted. An element can be a single byte.
	MaxElements = 65536
)

// Validate checks the whole table. It costs no more than a look at each
// element, and no memory, however the table is nested.
func (t Table) Validate() error {
	var (
		ends   [MaxDepth]int // of the tables and arrays that are open
		arrays [MaxDepth]bool
		depth  int // index of the innermost
		n, pos int
	)
	ends[0] = len(t)
	for {
		for pos == ends[depth] {
			if depth--; depth < 0 {
				return nil
			}
		}
		end := ends[depth]
		if n++; n > MaxElements {
			return ErrElements
		}
		if !arrays[depth] {
			pos += 1 + int(t[pos])
			if pos >= end { // no type
				return ErrTable
			}
		}
		k := Kind(t[pos])
		pos++
		size := k.size()
		switch size {
		case unknownKind:
			return ErrFieldType
		case variableSize:
			if end-pos < 4 {
				return ErrTable
			}
			size = Length(t[pos:])
			pos += 4
		}
		if size > end-pos {
			return ErrTable
		}
		if k != KindTable && k != KindArray {
			pos += size
			continue
		}
		if depth++; depth == MaxDepth {
			return ErrDepth
		}
		ends[depth], arrays[depth] = pos+size, k == KindArray
	}
}

// Get returns the value of a key; of KindNone if there is none. It looks
// through all of the table.
func (t Table) Get(key string) (v Value, ok bool) {
	for it := t.Iter(); it.Next(); {
		if string(it.key) == key {
			return it.value, true
		}
	}
	return Value{}, false
}

// Iter goes through the fields of a table:
//
//	for it := t.Iter(); it.Next(); {
//		it.Key(), it.Value()
//	}
func (t Table) Iter() TableIter { return TableIter{rest: t} }

// TableIter goes through the fields of a table.
type TableIter struct {
	rest  []byte
	key   []byte
	value Value
	err   error
}

// Next goes to the next field, if there is one.
func (it *TableIter) Next() bool {
	if len(it.rest) == 0 {
		return false
	}
	n := 1 + int(it.rest[0])
	if len(it.rest) < n {
		it.rest, it.err = nil, ErrTable
		return false
	}
	it.key = it.rest[1:n:n]
	it.value, it.rest, it.err = readValue(it.rest[n:])
	return it.err == nil
}

// Key returns the key of the field.
func (it *TableIter) Key() []byte { return it.key }

// Value returns the value of the field.
func (it *TableIter) Value() Value { return it.value }

// Err returns why Next stopped before the end. It is nil for a valid table.
func (it *TableIter) Err() error { return it.err }

// Iter goes through the elements of an array.
func (a Array) Iter() ArrayIter { return ArrayIter{rest: a} }

// ArrayIter goes through the elements of an array.
type ArrayIter struct {
	rest  []byte
	value Value
	err   error
}

// Next goes to the next element, if there is one.
func (it *ArrayIter) Next() bool {
	if len(it.rest) == 0 {
		return false
	}
	it.value, it.rest, it.err = readValue(it.rest)
	return it.err == nil
}

// Value returns the element.
func (it *ArrayIter) Value() Value { return it.value }

// Err returns why Next stopped before the end.
func (it *ArrayIter) Err() error { return it.err }
