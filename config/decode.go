package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxNodes bounds the values of one run with every alias written out, so that
// ten lines of aliases to aliases do not become a billion values.
const maxNodes = 200_000

// maxName bounds a key, whose notation in YAML, escapes included, may have
// 1024 characters.
const maxName = 200

// decode reads n into v, which is of sh's type and settable. It goes on after a
// problem, so that one run finds them all.
func (l *loader) decode(v reflect.Value, sh *shape, n *yaml.Node, path string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if !l.spend(n) {
		return
	}
	if tag := n.ShortTag(); n.Style&yaml.TaggedStyle != 0 && !coreTag(tag) {
		l.problem(n, "%s: the tag %s is not supported", orTop(path), tag)
		return
	}
	if l.masked(sh, n, path) {
		return
	}
	if sh.optional {
		if null(n) && n.Value == "" && l.source.lines {
			// "acl:" with all its rules commented out: who wrote it meant some, and
			// nothing at all would allow everything.
			l.problem(n, "%s: nothing follows: write %s, or null if there is to be none", orTop(path), sh.blank())
			return
		}
		if null(n) {
			v.SetZero()
			l.forget(path)
			l.record(path, n)
			return
		}
		v = sh.allocate(v)
	}
	switch {
	case sh.kind == kindSection && null(n):
		// "mqtt:" with all its keys commented out says nothing.
	case sh.kind == kindSection && n.Kind == yaml.MappingNode:
		l.section(v, sh, n, path)
	case sh.kind == kindMap && n.Kind == yaml.MappingNode:
		l.table(v, sh, n, path)
	case sh.kind == kindList && n.Kind == yaml.SequenceNode:
		l.list(v, sh, n, path)
	case sh.leaf() && n.Kind == yaml.ScalarNode && !null(n):
		l.scalar(v, sh, n, path)
	default:
		l.problem(n, "%s: expected %s, found %s%s", orTop(path), sh.expected(v), found(sh, n), sh.none(n))
	}
}

// spend counts n against maxNodes and reports whether it may be read.
func (l *loader) spend(n *yaml.Node) bool {
	l.nodes++
	if l.nodes == maxNodes+1 {
		l.problem(n, "more than %d values, aliases counted as often as they are used", maxNodes)
	}
	return l.nodes <= maxNodes
}

func (l *loader) section(v reflect.Value, sh *shape, n *yaml.Node, path string) {
	l.pairs(n, path, func(name string, key, value *yaml.Node) {
		f := sh.field(name)
		if f == nil {
			l.unknown(l.source.at(key.Line, key.Column), path, []string{name}, sh.names())
			return
		}
		l.decode(v.FieldByIndex(f.index), f.shape, value, join(path, name))
	})
}

func (l *loader) table(v reflect.Value, sh *shape, n *yaml.Node, path string) {
	if v.Len() > 0 {
		l.forget(path)
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	l.pairs(n, path, func(name string, _, value *yaml.Node) {
		elem := sh.elem.fresh()
		l.decode(elem, sh.elem, value, join(path, name))
		m.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), elem)
	})
	v.Set(m)
	l.record(path, n)
}

func (l *loader) list(v reflect.Value, sh *shape, n *yaml.Node, path string) {
	if sh.flat() && l.flat == "" {
		l.flat = path
		defer func() { l.flat = "" }()
	}
	if v.Len() > 0 {
		l.forget(path)
	}
	list := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, item := range n.Content {
		itemPath := join(path, strconv.Itoa(i))
		if null(item) {
			if !l.spend(item) {
				break
			}
			l.problem(item, "%s: the list has an empty item", itemPath)
			continue
		}
		elem := sh.elem.fresh()
		l.decode(elem, sh.elem, item, itemPath)
		list = reflect.Append(list, elem)
	}
	v.Set(list)
	l.record(path, n)
}

func (l *loader) scalar(v reflect.Value, sh *shape, n *yaml.Node, path string) {
	text := n.Value
	if sh.kind != kindString && sh.kind != kindText {
		text = strings.TrimSpace(text)
	}
	if err := sh.parse(v, text); err != nil {
		l.problem(n, "%s: %w, found %s", path, err, found(sh, n))
		return
	}
	l.record(path, n)
	if l.source.lines && sh.secret && text != "" {
		l.exposed = append(l.exposed, path)
	}
}

// pairs calls f for each key of a mapping, with the key's text, once.
func (l *loader) pairs(n *yaml.Node, path string, f func(name string, key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !l.spend(key) {
			return
		}
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.ShortTag() == "!!merge":
			l.problem(key, "%s: merge keys (<<) are not supported; an alias can stand for a whole value", join(path, "<<"))
			continue
		case key.Kind != yaml.ScalarNode || null(key):
			l.problem(key, "%s: a key must be text, found %s", orTop(path), found(keyShape, key))
			continue
		}
		name := key.Value
		if len(name) > maxName {
			l.problem(key, "%s: a key of %d bytes; at most %d are allowed", orTop(path), len(name), maxName)
			continue
		}
		if line, ok := seen[name]; ok {
			l.problem(key, "duplicate key %q: line %d has it already", join(path, name), line)
			continue
		}
		seen[name] = key.Line
		f(name, key, value)
	}
}

// masked reports whether n is the mask of a secret in the output of naru
// config. Taking it for the value would make *** everybody's password.
func (l *loader) masked(sh *shape, n *yaml.Node, path string) bool {
	if !sh.secret || !sh.flat() || n.Kind != yaml.ScalarNode || n.Value != mask {
		return false
	}
	l.warnings = append(l.warnings, fmt.Sprintf(
		"%s: %s is %q, which stands for a secret that was not printed: ignored",
		l.source.at(n.Line, n.Column), path, mask))
	return true
}

// record notes where the value of path was set.
func (l *loader) record(path string, n *yaml.Node) {
	if l.flat != "" {
		path = l.flat
	}
	l.origins[path] = l.source.origin(n)
}

func (l *loader) problem(n *yaml.Node, format string, args ...any) {
	l.problems.add(fmt.Errorf("%s: "+format, append([]any{l.source.at(n.Line, n.Column)}, args...)...))
}

// forget drops the origins below path, of what is about to be replaced.
func (l *loader) forget(path string) {
	for p := range l.origins {
		if strings.HasPrefix(p, path+".") {
			delete(l.origins, p)
		}
	}
}

// unknown reports a key that does not exist: segments below path, the first of
// them not among the names of its level.
func (l *loader) unknown(where, path string, segments, level []string) {
	if l.problems.full() {
		l.problems.more++
		return
	}
	hint := ""
	switch near := l.suggest(path, segments, level); {
	case near != "":
		hint = fmt.Sprintf(": did you mean %q?", near)
		if env := envName(near); env != "" && strings.HasPrefix(where, envSource) {
			hint = fmt.Sprintf(": did you mean %q (%s)?", near, env)
		}
	case len(level) > 0:
		hint = ": the keys here are " + shortList(level)
	}
	l.problems.add(fmt.Errorf("%s: unknown key %q%s", where, shorten(joinAll(path, segments)), hint))
}

func shortList(words []string) string {
	const most = 12
	if len(words) > most {
		return strings.Join(words[:most], ", ") + ", ..."
	}
	return strings.Join(words, ", ")
}

// shorten keeps a long text from filling an error.
func shorten(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

func orTop(path string) string {
	if path == "" {
		return "top level"
	}
	return path
}

func null(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// coreTag reports whether a written tag only repeats what the type says anyway.
func coreTag(tag string) bool {
	switch tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
		return true
	}
	return false
}

// expected describes the notation of sh for one who got it wrong.
func (sh *shape) expected(v reflect.Value) string {
	switch sh.kind {
	case kindSection:
		if len(sh.fields) == 0 {
			return "an empty section"
		}
		return "a section with keys such as " + sh.fields[0].name
	case kindMap:
		return fmt.Sprintf("a map such as {name: %s}", sh.elem.example())
	case kindList:
		return fmt.Sprintf("a list such as [%s]", sh.elem.example())
	case kindString:
		if len(sh.enum) > 0 {
			return oneOf(sh.enum)
		}
		return "text"
	case kindText:
		if text := sh.text(v); text != "" && !v.IsZero() {
			return "a value such as " + quote(text)
		}
		return "a value"
	}
	return strings.TrimPrefix(sh.parse(reflect.New(sh.typ).Elem(), "").Error(), "expected ")
}

// none says how to write what somebody who wrote nothing may have meant.
func (sh *shape) none(n *yaml.Node) string {
	if null(n) {
		switch sh.kind {
		case kindList:
			return " (write [] for an empty list)"
		case kindMap:
			return " (write {} for an empty map)"
		case kindString:
			return ` (write "" for an empty text)`
		}
	}
	return ""
}

// blank is how a value is written that is there and holds nothing.
func (sh *shape) blank() string {
	switch sh.kind {
	case kindList:
		return "[] for an empty list"
	case kindMap:
		return "{} for an empty map"
	case kindSection:
		return "its keys"
	}
	return "a value"
}

// example is a value of sh on one line.
func (sh *shape) example() string {
	switch sh.kind {
	case kindSection:
		if len(sh.fields) == 0 {
			return "{}"
		}
		return fmt.Sprintf("{%s: %s}", sh.fields[0].name, sh.fields[0].example())
	case kindMap:
		return fmt.Sprintf("{name: %s}", sh.elem.example())
	case kindList:
		return fmt.Sprintf("[%s]", sh.elem.example())
	case kindBool:
		return "true"
	case kindInt, kindUint:
		return "100"
	case kindFloat:
		return "0.5"
	case kindDuration:
		return "10s"
	case kindSize:
		return "64KiB"
	}
	if len(sh.enum) > 0 {
		return quote(sh.enum[0])
	}
	return "..."
}

// keyShape stands for a key where a shape is needed to describe it.
var keyShape = &shape{kind: kindString}

// found describes what stands where sh was expected.
func found(sh *shape, n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case null(n):
		return "nothing"
	case sh.secret:
		return "a text that is not shown"
	case !sh.flat():
		// users: {alice: hunter2} has a password in the place of a section.
		return "a single value"
	case !utf8.ValidString(n.Value):
		return "text that is not UTF-8"
	}
	return strconv.Quote(shorten(n.Value))
}
