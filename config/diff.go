package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// Change is one key whose value differs between two configurations.
type Change struct {
	Path     string
	Old, New string // as YAML on one line, secrets masked; "" where there is none
	Reload   bool   // it can take effect without a restart
}

// Diff lists what differs between two configurations of the same type, in struct
// order. An element that one of them has not is one change. Like Keys it panics on
// what Load refuses.
func Diff(a, b any) []Change {
	va, sh := mustRooted(a)
	vb, _ := mustRooted(b)
	if va.Type() != vb.Type() {
		panic(fmt.Sprintf("config: Diff of %s and %s", va.Type(), vb.Type()))
	}
	var d diff
	d.compare(va, vb, sh, "")
	return d.changes
}

type diff struct{ changes []Change }

// compare notes what differs between a and b, where the zero Value is nothing.
func (d *diff) compare(a, b reflect.Value, sh *shape, path string) {
	if sh.flat() || missing(a, sh) || missing(b, sh) {
		if one(a, sh, true) != one(b, sh, true) {
			d.changes = append(d.changes, Change{
				Path: path, Old: one(a, sh, false), New: one(b, sh, false), Reload: sh.reload,
			})
		}
		return
	}
	a, _ = sh.deref(a)
	b, _ = sh.deref(b)
	switch sh.kind {
	case kindSection:
		for _, f := range sh.fields {
			d.compare(a.FieldByIndex(f.index), b.FieldByIndex(f.index), f.shape, join(path, f.name))
		}
	case kindList:
		for i := range max(a.Len(), b.Len()) {
			var x, y reflect.Value
			if i < a.Len() {
				x = a.Index(i)
			}
			if i < b.Len() {
				y = b.Index(i)
			}
			d.compare(x, y, sh.elem, join(path, strconv.Itoa(i)))
		}
	case kindMap:
		keys := map[string]bool{}
		for _, key := range append(sortedKeys(a), sortedKeys(b)...) {
			keys[key] = true
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			d.compare(at(a, key), at(b, key), sh.elem, join(path, key))
		}
	}
}

// missing reports whether there is nothing in v to look into.
func missing(v reflect.Value, sh *shape) bool {
	return !v.IsValid() || sh.optional && v.IsNil()
}

func one(v reflect.Value, sh *shape, reveal bool) string {
	if !v.IsValid() {
		return ""
	}
	return sh.flow(v, reveal)
}
