package config

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"runtime"
	"slices"
	"strings"
)

// Sources are the places that values come from. A later field wins over an
// earlier one, and each over the defaults in the struct.
type Sources struct {
	// File is the path of the YAML file, "" for none. One that is named must exist.
	File string
	// Env are variables as os.Environ returns them. NARU_MQTT__MAX_PACKET_SIZE
	// sets mqtt.max_packet_size: the prefix NARU_, two underscores between levels,
	// an index for an element of a list. Upper and lower case are the same; a new
	// key of a map becomes lower case. A variable with the prefix that names no key
	// is an error, but for NARU_CONFIG, NARU_USER and NARU_PASSWORD, and those that
	// Kubernetes makes for a service called naru (NARU_SERVICE_HOST,
	// NARU_PORT_1883_TCP_ADDR).
	Env []string
	// Set are assignments like "mqtt.max_packet_size=64KiB", in order. A key of a
	// map that has a dot in it is quoted: users."a.b".password=x.
	//
	// Where a variable or an assignment sets a string, its text is taken as it
	// is, quotes included, so that no password needs escaping. For a list, map or
	// section the text is YAML: [a, b] or {name: value}.
	Set []string
}

// Load fills dst, a pointer to a struct that holds the defaults, and checks it.
// The error lists every problem that was found, each on a line of its own; dst is
// then half filled and of no use.
func Load(dst any, src Sources) (*Report, error) {
	l, err := newLoader(dst)
	if err != nil {
		return nil, err
	}
	if src.File != "" {
		text, mode, err := readFile(src.File)
		if err != nil {
			l.problems.add(err)
		} else {
			l.file(src.File, text)
			l.warnReadable(src.File, mode)
		}
	}
	return l.finish(src)
}

// A loader is one run of Load.
type loader struct {
	root  reflect.Value
	shape *shape

	source   source            // being read
	origins  map[string]string // path -> where its value was set
	flat     string            // path of the flat list being read; its origin is one
	nodes    int               // YAML nodes read, aliases expanded
	exposed  []string          // secrets that stand in the file
	keys     []string          // see allKeys
	warnings []string
	problems problems
}

func newLoader(dst any) (*loader, error) {
	if v := reflect.ValueOf(dst); v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, fmt.Errorf("config: Load needs a pointer to a struct, not %T", dst)
	}
	v, sh, err := rooted(dst)
	if err != nil {
		return nil, err
	}
	sh.detach(v)
	return &loader{root: v, shape: sh, origins: map[string]string{}}, nil
}

// finish is what follows the file.
func (l *loader) finish(src Sources) (*Report, error) {
	l.environment(src.Env)
	for i, arg := range src.Set {
		l.set(i, arg)
	}
	if l.problems.any() {
		// Validate would complain about the holes that these have left.
		return nil, l.problems.err()
	}
	l.validate(l.root, l.shape, "")
	if l.problems.any() {
		return nil, l.problems.err()
	}
	return l.report(), nil
}

// warnReadable warns of secrets that others than the owner of the file can read.
func (l *loader) warnReadable(name string, mode fs.FileMode) {
	if len(l.exposed) == 0 || mode&0o044 == 0 || runtime.GOOS == "windows" {
		return
	}
	shown := l.exposed[:min(len(l.exposed), 3)]
	more := ""
	if n := len(l.exposed) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	l.warnings = append(l.warnings, fmt.Sprintf(
		"%s holds secrets (%s%s) and its mode %04o lets others read it: chmod 600 %s",
		name, strings.Join(shown, ", "), more, mode.Perm(), name))
}

// problems gathers what is wrong, up to a bound: a binary file taken for
// configuration would otherwise fill the screen.
type problems struct {
	list []error
	more int
}

const maxProblems = 50

func (p *problems) any() bool  { return len(p.list) > 0 }
func (p *problems) full() bool { return len(p.list) >= maxProblems }

func (p *problems) add(err error) {
	if p.full() {
		p.more++
		return
	}
	if !slices.ContainsFunc(p.list, func(e error) bool { return e.Error() == err.Error() }) {
		p.list = append(p.list, err)
	}
}

func (p *problems) err() error {
	list := p.list
	if p.more > 0 {
		list = append(list, fmt.Errorf("and %d more problems", p.more))
	}
	return errors.Join(list...)
}
