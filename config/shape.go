package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

type kind uint8

const (
	kindSection kind = iota // a struct
	kindList
	kindMap
	kindBool
	kindInt
	kindUint
	kindFloat
	kindString
	kindDuration
	kindSize // an integer with unit:"bytes"
	kindText // a type that reads and writes itself
)

// A shape is what the loader knows about a Go type at one place of the tree:
// the type and the tags of the field it was reached by.
type shape struct {
	kind     kind
	typ      reflect.Type // without the pointer of an optional value
	optional bool         // the Go type is *typ, and null is nil

	doc, unit      string
	enum           []string
	secret, reload bool

	fields  []*field // of a section, in struct order
	inlined [][]int  // index paths of the structs merged into a section
	elem    *shape   // of a list or map
}

type field struct {
	name  string
	index []int
	*shape
}

var (
	durationType  = reflect.TypeFor[time.Duration]()
	durationText  = reflect.TypeFor[Duration]()
	sizeText      = reflect.TypeFor[Size]()
	secretType    = reflect.TypeFor[Secret]()
	unmarshalText = reflect.TypeFor[encoding.TextUnmarshaler]()
	marshalText   = reflect.TypeFor[encoding.TextMarshaler]()
)

// fieldName also keeps "__" out, which separates levels in the environment.
var fieldName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// leaf reports whether a value of this shape is one scalar.
func (sh *shape) leaf() bool { return sh.kind > kindMap }

// flat reports whether a value is shown as one value: a leaf, or a list of such.
func (sh *shape) flat() bool {
	return sh.leaf() || sh.kind == kindList && sh.elem.flat()
}

// rooted finds the struct behind dst and its shape.
func rooted(dst any) (reflect.Value, *shape, error) {
	v := reflect.ValueOf(dst)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return v, nil, fmt.Errorf("config: %T is not a struct or a pointer to one", dst)
	}
	if !v.CanSet() {
		settable := reflect.New(v.Type()).Elem()
		settable.Set(v)
		v = settable
	}
	sh, err := shapeOf(v.Type(), &shape{}, nil)
	if err != nil {
		return v, nil, fmt.Errorf("config: %T: %w", dst, err)
	}
	return v, sh, nil
}

// mustRooted is for the functions that only look at a tree, which is code: what
// is wrong with it is wrong in every run.
func mustRooted(dst any) (reflect.Value, *shape) {
	v, sh, err := rooted(dst)
	if err != nil {
		panic(err)
	}
	return v, sh
}

// shapeOf describes t. Tags holds what the field says; outer are the structs
// around it, to find a type that contains itself.
func shapeOf(t reflect.Type, tags *shape, outer []reflect.Type) (*shape, error) {
	sh := *tags
	if t.Kind() == reflect.Pointer {
		sh.optional = true
		t = t.Elem()
	}
	sh.typ = t
	sh.secret = sh.secret || t == secretType
	var err error
	switch k := t.Kind(); {
	case t == durationType || t == durationText:
		sh.kind = kindDuration
	case t == sizeText:
		sh.kind = kindSize
	case reflect.PointerTo(t).Implements(unmarshalText):
		sh.kind = kindText
		if !reflect.PointerTo(t).Implements(marshalText) {
			err = fmt.Errorf("%s has UnmarshalText but no MarshalText", t)
		}
	case k == reflect.Bool:
		sh.kind = kindBool
	case reflect.Int <= k && k <= reflect.Int64:
		sh.kind = kindInt
		if sh.unit == "bytes" {
			sh.kind = kindSize
		}
	case reflect.Uint <= k && k <= reflect.Uint64:
		sh.kind = kindUint
		if sh.unit == "bytes" {
			sh.kind = kindSize
		}
	case k == reflect.Float32 || k == reflect.Float64:
		sh.kind = kindFloat
	case k == reflect.String:
		sh.kind = kindString
	case k == reflect.Struct:
		sh.kind = kindSection
		sh.unit, sh.enum = "", nil
		if slices.Contains(outer, t) {
			return nil, fmt.Errorf("%s contains itself", t)
		}
		err = sh.addFields(t, nil, append(slices.Clone(outer), t))
	case k == reflect.Slice:
		sh.kind = kindList
		sh.elem, err = sh.elemOf(t, outer)
	case k == reflect.Map && t.Key().Kind() == reflect.String:
		sh.kind = kindMap
		sh.elem, err = sh.elemOf(t, outer)
	default:
		err = fmt.Errorf("the loader has no notation for type %s", t)
	}
	if err != nil {
		return nil, err
	}
	if sh.elem != nil && sh.elem.kind != kindSection {
		sh.secret = sh.elem.secret // []Secret needs no tag
	}
	return &sh, nil
}

// elemOf describes the elements of a list or map, which inherit the tags of its
// field. They are there or not there; a nil among them would only surprise.
func (sh *shape) elemOf(t reflect.Type, outer []reflect.Type) (*shape, error) {
	if t.Elem().Kind() == reflect.Pointer {
		return nil, fmt.Errorf("%s: elements cannot be pointers", t)
	}
	return shapeOf(t.Elem(), &shape{unit: sh.unit, enum: sh.enum, secret: sh.secret, reload: sh.reload}, outer)
}

func (sh *shape) addFields(t reflect.Type, index []int, outer []reflect.Type) error {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("yaml")
		name, option, _ := strings.Cut(tag, ",")
		at := append(slices.Clone(index), i)
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case name == "" && option == "inline" && f.Type.Kind() == reflect.Struct && f.IsExported():
			sh.inlined = append(sh.inlined, at)
			if err := sh.addFields(f.Type, at, outer); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			continue
		case !tagged:
			return fmt.Errorf("field %s.%s has no yaml tag", t, f.Name)
		case option != "":
			return fmt.Errorf("field %s.%s: the only option is inline, for an exported struct", t, f.Name)
		case !fieldName.MatchString(name):
			return fmt.Errorf("field %s.%s: bad key %q", t, f.Name, name)
		case sh.field(name) != nil:
			return fmt.Errorf("field %s.%s: two fields have the key %q", t, f.Name, name)
		case !f.IsExported():
			return fmt.Errorf("field %s.%s is not exported", t, f.Name)
		}
		tags := &shape{doc: f.Tag.Get("doc"), unit: f.Tag.Get("unit"), secret: sh.secret, reload: sh.reload}
		if enum, ok := f.Tag.Lookup("enum"); ok {
			tags.enum = strings.Split(enum, ",")
		}
		for tag, flag := range map[string]*bool{"secret": &tags.secret, "reload": &tags.reload} {
			switch f.Tag.Get(tag) {
			case "":
			case "true":
				*flag = true
			default:
				return fmt.Errorf("field %s.%s: tag %s can only be \"true\"", t, f.Name, tag)
			}
		}
		fsh, err := shapeOf(f.Type, tags, outer)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sh.fields = append(sh.fields, &field{name: name, index: at, shape: fsh})
	}
	return nil
}

func (sh *shape) field(name string) *field {
	for _, f := range sh.fields {
		if f.name == name {
			return f
		}
	}
	return nil
}

// names lists the keys of a section.
func (sh *shape) names() []string {
	names := make([]string, len(sh.fields))
	for i, f := range sh.fields {
		names[i] = f.name
	}
	return names
}

// A defaulter fills a new element of a list or map, or an optional section that
// the configuration mentions: what no value passed to Load can hold.
type defaulter interface{ SetDefaults() }

// fresh makes a settable value as it is before a source says anything: for an
// optional value what the pointer would point to.
func (sh *shape) fresh() reflect.Value {
	v := reflect.New(sh.typ).Elem()
	sh.setDefaults(v)
	return v
}

// setDefaults asks the parts before the whole, so that the whole has the last word.
func (sh *shape) setDefaults(v reflect.Value) {
	for _, f := range sh.fields {
		if f.kind == kindSection && !f.optional {
			f.setDefaults(v.FieldByIndex(f.index))
		}
	}
	for _, index := range slices.Backward(sh.inlined) {
		callDefaults(v.FieldByIndex(index))
	}
	callDefaults(v)
}

func callDefaults(v reflect.Value) {
	if d, ok := v.Addr().Interface().(defaulter); ok {
		d.SetDefaults()
	}
}

// allocate makes an optional value that is null one that is there.
func (sh *shape) allocate(v reflect.Value) reflect.Value {
	if v.IsNil() {
		p := reflect.New(sh.typ)
		p.Elem().Set(sh.fresh())
		v.Set(p)
	}
	return v.Elem()
}

// deref is the value that sh describes, or false for null.
func (sh *shape) deref(v reflect.Value) (reflect.Value, bool) {
	if !sh.optional {
		return v, true
	}
	return v.Elem(), !v.IsNil()
}

// detach gives v lists, maps and pointers of its own, so that loading cannot
// write through defaults that are shared with somebody.
func (sh *shape) detach(v reflect.Value) {
	if sh.optional {
		if v.IsNil() {
			return
		}
		own := reflect.New(sh.typ)
		own.Elem().Set(v.Elem())
		v.Set(own)
		v = own.Elem()
	}
	switch sh.kind {
	case kindSection:
		for _, f := range sh.fields {
			f.detach(v.FieldByIndex(f.index))
		}
	case kindList:
		if v.IsNil() {
			return
		}
		own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(own, v)
		v.Set(own)
		for i := range v.Len() {
			sh.elem.detach(v.Index(i))
		}
	case kindMap:
		if v.IsNil() {
			return
		}
		own := reflect.MakeMapWithSize(v.Type(), v.Len())
		for key, value := range v.Seq2() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(value)
			sh.elem.detach(elem)
			own.SetMapIndex(key, elem)
		}
		v.Set(own)
	}
}

// sortedKeys are the keys of a map value in the order in which they are shown.
func sortedKeys(v reflect.Value) []string {
	keys := make(map[string]bool, v.Len())
	for k := range v.Seq() {
		keys[k.String()] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

// at is the element of a map value under key; the zero Value if there is none.
func at(v reflect.Value, key string) reflect.Value {
	return v.MapIndex(reflect.ValueOf(key).Convert(v.Type().Key()))
}
