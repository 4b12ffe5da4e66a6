package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// A validator checks itself once it is loaded.
type validator interface{ Validate() error }

// validate asks everything in the tree, parts before the whole. Enums are
// checked again: of what no source has set, nobody has checked the value yet.
func (l *loader) validate(v reflect.Value, sh *shape, path string) {
	v, ok := sh.deref(v)
	if !ok {
		return
	}
	switch sh.kind {
	case kindSection:
		for _, f := range sh.fields {
			l.validate(v.FieldByIndex(f.index), f.shape, join(path, f.name))
		}
		for _, index := range slices.Backward(sh.inlined) {
			l.ask(v.FieldByIndex(index), path)
		}
	case kindList:
		for i := range v.Len() {
			l.validate(v.Index(i), sh.elem, join(path, strconv.Itoa(i)))
		}
	case kindMap:
		for _, key := range sortedKeys(v) {
			elem := reflect.New(sh.elem.typ).Elem()
			elem.Set(at(v, key))
			l.validate(elem, sh.elem, join(path, key))
		}
	default:
		if text := sh.text(v); len(sh.enum) > 0 && !slices.Contains(sh.enum, text) {
			l.problems.add(fmt.Errorf("%s: %w, found %q", path, sh.errEnum(text), text))
		}
	}
	l.ask(v, path)
}

// ask calls Validate on v. A method that a section has from a struct merged into
// it is called twice, which problems.add makes one problem again.
func (l *loader) ask(v reflect.Value, path string) {
	w, ok := v.Addr().Interface().(validator)
	if !ok {
		return
	}
	for _, err := range parts(w.Validate()) {
		if path != "" {
			err = fmt.Errorf("%s: %w", path, err)
		}
		l.problems.add(err)
	}
}

// parts takes the result of errors.Join apart, so that each line has its path.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, parts(e)...)
		}
		return all
	}
	return []error{err}
}
