package config

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const (
	envPrefix = "NARU_"
	envSource = "environment "
	setSource = "--set"
)

// ignoredEnv are variables with the prefix that are no keys: NARU_CONFIG names
// the file, and is read by the command line, as are those of naru pub and sub.
var ignoredEnv = []string{"NARU_CONFIG", "NARU_USER", "NARU_PASSWORD"}

// Kubernetes gives every pod such variables for each service in its namespace.
// A service called naru would otherwise keep the broker from starting. None has
// two underscores in a row, so no key below the top level looks like one.
var (
	serviceName = regexp.MustCompile(`^NARU_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$`)
	servicePort = regexp.MustCompile(`^NARU_([A-Z0-9]+_)*PORT$`)
	serviceURL  = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

func ignored(name, value string) bool {
	return slices.Contains(ignoredEnv, name) || serviceName.MatchString(name) ||
		// NARU_MQTT_PORT=1884 is somebody's mistake and not Kubernetes' URL.
		servicePort.MatchString(name) && serviceURL.MatchString(value)
}

// An assignment is one variable or one --set.
type assignment struct {
	source   source
	segments []string
	value    string
	anyCase  bool // an existing key of a map matches in any case
}

// environment applies the variables, sections before what is in them and
// elements of a list in order, whatever the order of the environment.
func (l *loader) environment(env []string) {
	var all []assignment
	for _, variable := range env {
		name, value, ok := strings.Cut(variable, "=")
		upper := strings.ToUpper(name)
		if !ok || !strings.HasPrefix(upper, envPrefix) || ignored(upper, value) {
			continue
		}
		if !utf8.ValidString(variable) {
			l.problems.add(fmt.Errorf("%s%s: not valid UTF-8", envSource, shorten(strings.ToValidUTF8(name, "?"))))
			continue
		}
		all = append(all, assignment{
			source:   source{name: envSource + shorten(name), from: envSource + name},
			segments: strings.Split(strings.ToLower(name[len(envPrefix):]), "__"),
			value:    value,
			anyCase:  true,
		})
	}
	slices.SortStableFunc(all, func(a, b assignment) int {
		return slices.CompareFunc(a.segments, b.segments, compareSegments)
	})
	for i, a := range all {
		if i > 0 && slices.Equal(a.segments, all[i-1].segments) {
			l.problems.add(fmt.Errorf("%s: sets the same key as %s", a.source.name, all[i-1].source.name))
			continue
		}
		l.assign(a)
	}
}

// compareSegments orders indices by number: 2 before 10.
func compareSegments(a, b string) int {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

// set applies --set number i. One that cannot be taken apart is not quoted: it
// may hold a password.
func (l *loader) set(i int, arg string) {
	segments, value, ok := splitSet(arg)
	if !ok {
		l.problems.add(fmt.Errorf("%s number %d: expected key=value, such as log.level=debug", setSource, i+1))
		return
	}
	// Also where an escape in a quoted segment has made it so.
	if !utf8.ValidString(strings.Join(segments, "") + value) {
		l.problems.add(fmt.Errorf("%s number %d: not valid UTF-8", setSource, i+1))
		return
	}
	l.assign(assignment{
		source:   source{name: setSource, from: setSource},
		segments: segments,
		value:    value,
	})
}

func (l *loader) assign(a assignment) {
	l.source = a.source
	l.step(l.root, l.shape, a, 0, "")
	l.flat = ""
}

// step walks from v along the segments of a from number i on, and sets what it
// arrives at.
func (l *loader) step(v reflect.Value, sh *shape, a assignment, i int, path string) {
	if i == len(a.segments) {
		l.arrive(v, sh, a.value, path)
		return
	}
	if sh.optional && !sh.leaf() {
		v = sh.allocate(v)
	}
	segment := a.segments[i]
	if len(segment) > maxName {
		l.problems.add(fmt.Errorf("%s: a key of %d bytes; at most %d are allowed", a.source.name, len(segment), maxName))
		return
	}
	switch sh.kind {
	case kindSection:
		f := sh.field(segment)
		if f == nil {
			l.unknown(a.source.name, path, a.segments[i:], sh.names())
			return
		}
		l.step(v.FieldByIndex(f.index), f.shape, a, i+1, join(path, segment))
	case kindList:
		index, err := strconv.Atoi(segment)
		if err != nil || index < 0 || index > v.Len() || strconv.Itoa(index) != segment {
			l.problems.add(fmt.Errorf("%s: %q is no index of the list %q, which has length %d: the next is %q",
				a.source.name, shorten(segment), path, v.Len(), join(path, strconv.Itoa(v.Len()))))
			return
		}
		if index == v.Len() {
			v.Set(reflect.Append(v, sh.elem.fresh()))
		}
		if sh.flat() && l.flat == "" {
			l.flat = path
		}
		l.step(v.Index(index), sh.elem, a, i+1, join(path, segment))
	case kindMap:
		if a.anyCase {
			segment = existing(v, segment)
		}
		// An element of a map cannot be changed in place.
		elem := sh.elem.fresh()
		if old := at(v, segment); old.IsValid() {
			elem.Set(old)
		}
		l.step(elem, sh.elem, a, i+1, join(path, segment))
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		v.SetMapIndex(reflect.ValueOf(segment).Convert(v.Type().Key()), elem)
	default:
		l.problems.add(fmt.Errorf("%s: unknown key %q: %q is a single value",
			a.source.name, shorten(joinAll(path, a.segments[i:])), path))
	}
}

// existing is the key of m that differs from key in case only, or key.
func existing(m reflect.Value, key string) string {
	for _, k := range sortedKeys(m) {
		if strings.EqualFold(k, key) {
			return k
		}
	}
	return key
}

// arrive sets v from text: taken as it is for one scalar, as YAML for the rest.
func (l *loader) arrive(v reflect.Value, sh *shape, text, path string) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	switch {
	case sh.optional && (text == "null" || text == "~"):
		n.Tag = "!!null"
	case !sh.leaf():
		doc, err := l.parse([]byte(text))
		if err != nil {
			l.problems.add(err)
			return
		}
		if doc != nil {
			n = doc
		}
	}
	l.decode(v, sh, n, path)
}
