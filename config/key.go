package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Key is one key that a configuration may have.
type Key struct {
	Path    string // mqtt.listeners[].address, users.<name>.password
	Type    string // "integer", "list of strings", "section", ...
	Default string // as YAML on one line, "" for a section; "***" for a secret
	Doc     string
	Unit    string
	Enum    []string
	Reload  bool // a change needs no restart
	Secret  bool
}

// Keys lists every key of dst, a struct or a pointer to one that holds the
// defaults, in struct order. It panics on a struct that Load refuses.
func Keys(dst any) []Key {
	v, sh := mustRooted(dst)
	return keysOf(v, sh)
}

func keysOf(v reflect.Value, sh *shape) []Key {
	var keys []Key
	walkKeys(v, sh, "", func(k Key, _ reflect.Value, _ *shape) { keys = append(keys, k) })
	return keys
}

// walkKeys calls f for each key below v, and with the value that holds its default.
func walkKeys(v reflect.Value, sh *shape, path string, f func(Key, reflect.Value, *shape)) {
	for _, fd := range sh.fields {
		at := join(path, fd.name)
		fv := v.FieldByIndex(fd.index)
		key := Key{
			Path: at, Type: fd.typeName(), Doc: fd.doc, Unit: fd.unit, Enum: fd.enum,
			Reload: fd.reload, Secret: fd.secret,
		}
		if fd.kind != kindSection || fd.optional {
			key.Default = fd.flow(fv, false)
		}
		f(key, fv, fd.shape)
		inner, ok := fd.deref(fv)
		if !ok {
			inner = fd.fresh()
		}
		sub := fd.shape
		for ; sub.elem != nil; sub = sub.elem {
			at += map[kind]string{kindList: "[]", kindMap: ".<name>"}[sub.kind]
			inner = sub.elem.fresh()
		}
		walkKeys(inner, sub, at, f)
	}
}

// typeName is the type as the reference table calls it.
func (sh *shape) typeName() string {
	name := sh.plural(false)
	if sh.optional {
		name += " or null"
	}
	return name
}

func (sh *shape) plural(many bool) string {
	var name string
	switch sh.kind {
	case kindSection:
		name = "section"
	case kindList:
		if many {
			return "lists of " + sh.elem.plural(true)
		}
		return "list of " + sh.elem.plural(true)
	case kindMap:
		if many {
			return "maps of " + sh.elem.plural(true)
		}
		return "map of " + sh.elem.plural(true)
	case kindBool:
		name = "boolean"
	case kindInt, kindUint:
		name = "integer"
	case kindFloat:
		name = "number"
	case kindDuration:
		name = "duration"
	case kindSize:
		name = "size"
	default:
		name = "string"
	}
	if many {
		name += "s"
	}
	return name
}

// CheckDocs is for the test of a package that owns a config struct: each key
// needs a doc, and a default that could stand in a file.
func CheckDocs(dst any) error {
	v, sh, err := rooted(dst)
	if err != nil {
		return err
	}
	var problems []error
	walkKeys(v, sh, "", func(k Key, v reflect.Value, sh *shape) {
		if k.Doc == "" {
			problems = append(problems, fmt.Errorf("%s: no doc tag", k.Path))
		}
		v, ok := sh.deref(v)
		if !ok || !sh.leaf() || strings.ContainsAny(k.Path, "[<") {
			return // an element may have to be given, and is nothing before
		}
		if text := sh.text(v); !v.IsZero() || len(sh.enum) > 0 {
			if err := sh.parse(reflect.New(sh.typ).Elem(), text); err != nil {
				problems = append(problems, fmt.Errorf("%s: default %q: %w", k.Path, text, err))
			}
		}
	})
	return errors.Join(problems...)
}
