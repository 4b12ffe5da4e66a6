package amqp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// A Script is one conversation, for one case where it has several.
type Script struct {
	suite.Head
	lines []line
}

// A line is one step as it is written.
type line struct {
	number int
	text   string
	whose  byte // '!': only ours, '?': only RabbitMQ's, 0: both
}

// A Step is one line, parsed.
type Step struct {
	Line    int
	Text    string
	Ours    bool // marked "!"
	Conn    string
	Channel uint16
	Op      string
	Times   int

	Command *Command       // to send or to expect
	OK      *Command       // the answer of call and until
	Code    int            // of an error
	Reason  Value          // its text
	Method  uint32         // what it complains of
	Bytes   []byte         // of bytes and frame
	Type    byte           // of frame
	Wait    time.Duration  // of silent, sleep and close
	Opts    map[string]any // of open: texts and numbers
	Tags    []uint64       // of confirms
	Nacks   []uint64
}

// anyMethod is an id that an error may complain of whatever it likes.
const anyMethod = ^uint32(0)

// LoadScripts reads all scripts of a directory.
func LoadScripts(dir string) ([]*Script, error) {
	return suite.Load(dir, parseFile)
}

// parseFile splits a file into scripts, and tries each step.
func parseFile(file, data string) ([]*Script, error) {
	var out []*Script
	var head Script
	var cases [][2]string
	end := func() error {
		if head.Name == "" {
			return nil
		}
		expanded, err := expand(head, cases)
		out = append(out, expanded...)
		return err
	}
	for i, l := range strings.Split(data, "\n") {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		if name, ok := strings.CutPrefix(l, "== "); ok {
			if err := end(); err != nil {
				return nil, err
			}
			head, cases = Script{Head: suite.Head{File: file, Name: name}}, nil
			continue
		}
		if head.Name == "" {
			return nil, fmt.Errorf("%s:%d: no script has begun", file, i+1)
		}
		key, rest, isHead := strings.Cut(l, ": ")
		switch {
		case isHead && key == "covers":
			head.Covers = strings.Fields(rest)
		case isHead && key == "rabbitmq":
			reason, ok := strings.CutPrefix(rest, "differs ")
			if !ok {
				return nil, fmt.Errorf("%s:%d: want rabbitmq: differs REASON", file, i+1)
			}
			head.Differs = reason
		case isHead && strings.HasPrefix(key, "case "):
			cases = append(cases, [2]string{key[5:], rest})
		default:
			st := line{number: i + 1, text: l}
			if l[0] == '!' || l[0] == '?' {
				st.whose, st.text = l[0], strings.TrimSpace(l[1:])
			}
			head.lines = append(head.lines, st)
		}
	}
	return out, end()
}

// expand makes a script of each case, and parses both versions once.
func expand(head Script, cases [][2]string) ([]*Script, error) {
	if len(cases) == 0 {
		cases = [][2]string{{}}
	}
	var only []string // cases that differ; none means all
	if rest, ok := strings.CutPrefix(head.Differs, "["); ok {
		list, reason, _ := strings.Cut(rest, "] ")
		only, head.Differs = strings.Split(list, ", "), reason
	}
	var out []*Script
	for _, c := range cases {
		s := head
		s.Case = c[0]
		s.lines = slices.Clone(head.lines)
		if only != nil && !slices.Contains(only, s.Case) {
			s.Differs = ""
		}
		// "$1" to "$9" are the parts of a case that stand between double semicolons.
		for i := range s.lines {
			l := s.lines[i].text
			for n, part := range strings.Split(c[1], " ;; ") {
				l = strings.ReplaceAll(l, "$"+strconv.Itoa(n+1), strings.TrimSpace(part))
			}
			s.lines[i].text = l
		}
		for _, peer := range []bool{false, true} {
			if _, err := s.Steps(peer, "test"); err != nil {
				return nil, err
			}
		}
		out = append(out, &s)
	}
	return out, nil
}

// Steps parses the script for Naru or for the peer; unique stands for @@@@.
func (s *Script) Steps(peer bool, unique string) ([]Step, error) {
	var out []Step
	for _, l := range s.lines {
		if l.whose == '!' && peer && s.Differs != "" || l.whose == '?' && (!peer || s.Differs == "") {
			continue
		}
		st, err := parseStep(strings.ReplaceAll(l.text, "@@@@", unique))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", s.File, l.number, l.text, err)
		}
		st.Line, st.Text, st.Ours = l.number, l.text, l.whose == '!'
		out = append(out, st)
	}
	return out, nil
}

func parseStep(text string) (st Step, err error) {
	in := &scanner{text}
	who := in.word()
	if who == "sleep" {
		st.Op = who
		before, why, _ := strings.Cut(in.rest, "#")
		if strings.TrimSpace(why) == "" {
			return st, fmt.Errorf("sleep lacks a reason")
		}
		st.Wait, err = time.ParseDuration(strings.TrimSpace(before))
		return st, err
	}
	if who == "restart" || who == "kill9" {
		st.Op = who
		return st, in.end()
	}
	name, number, onChannel := strings.Cut(who, ".")
	st.Conn = name
	if onChannel {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return st, err
		}
		st.Channel = uint16(n)
	}
	st.Times = 1
	before := in.rest
	op := in.word()
	if op == "times" {
		if st.Times, err = strconv.Atoi(in.word()); err != nil {
			return st, err
		}
		before = in.rest
		op = in.word()
	}
	if op == "<" {
		return st, st.parseExpectation(in)
	}
	if strings.Contains(op, ".") {
		in.rest, st.Op = before, "send"
		if st.Command, err = in.command(); err != nil {
			return st, err
		}
		return st, in.end()
	}
	st.Op = op
	return st, st.parseOp(in)
}

// end complains of what is left on the line.
func (s *scanner) end() error {
	if !s.done() {
		return fmt.Errorf("what is %q?", s.rest)
	}
	return nil
}

func (st *Step) parseOp(in *scanner) (err error) {
	switch st.Op {
	case "dial", "close", "drop", "sync":
	case "open":
		return st.parseOpen(in)
	case "bytes":
		st.Bytes, err = in.bytes()
		return err
	case "frame":
		n, err := strconv.ParseUint(in.word(), 10, 8)
		if err != nil {
			return err
		}
		st.Type = byte(n)
		st.Bytes, err = in.bytes()
		return err
	case "silent":
		if st.Wait, err = time.ParseDuration(in.word()); err != nil {
			return err
		}
	case "confirms":
		return st.parseConfirms(in)
	case "call", "until":
		if st.Command, err = in.command(); err != nil {
			return err
		}
		if err = st.answer(in); err != nil {
			return err
		}
	default:
		return fmt.Errorf("what is %q?", st.Op)
	}
	return in.end()
}

// answer is what call expects: the method's own ok, which repeats what it was
// told, with what stands behind "->".
func (st *Step) answer(in *scanner) error {
	m := methods[st.Command.Method.Name+"-ok"]
	if m == nil {
		return fmt.Errorf("%s is not answered", st.Command.Method.Name)
	}
	st.OK = &Command{Method: m, Args: map[string]Value{}}
	for _, a := range m.Fields {
		if v, ok := st.Command.Args[a.Name]; ok {
			st.OK.Args[a.Name] = v
		}
	}
	if in.space(); !in.accept("->") {
		return nil
	}
	more, err := in.args(m.Fields, m.Name)
	for name, v := range more {
		st.OK.Args[name] = v
	}
	return err
}

// parseOpen reads what connection.open and what comes before it shall say.
func (st *Step) parseOpen(in *scanner) error {
	st.Opts = map[string]any{}
	for !in.done() {
		name := in.word()
		if !in.accept("=") {
			return fmt.Errorf("open %q?", name)
		}
		v, err := in.value()
		if err != nil {
			return err
		}
		switch name {
		case "user", "password", "vhost":
			st.Opts[name] = v.Text
		case "frame-max", "channel-max", "heartbeat":
			st.Opts[name] = int(v.Num)
		case "capabilities":
			st.Opts[name] = v
		default:
			return fmt.Errorf("open %q?", name)
		}
	}
	return nil
}

func (st *Step) parseConfirms(in *scanner) error {
	for !in.done() {
		w := in.word()
		tag, nack := strings.CutPrefix(w, "!")
		from, to, isRange := strings.Cut(tag, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			return err
		}
		last, err := strconv.ParseUint(to, 10, 64)
		if err != nil {
			return err
		}
		for n := first; n <= last; n++ {
			if nack {
				st.Nacks = append(st.Nacks, n)
			} else {
				st.Tags = append(st.Tags, n)
			}
		}
	}
	return nil
}

func (st *Step) parseExpectation(in *scanner) (err error) {
	before := in.rest
	switch w := in.word(); w {
	case "bytes":
		st.Op = "< bytes"
		st.Bytes, err = in.bytes()
		return err
	case "close", "end":
		st.Op = "< " + w
		if !in.done() {
			if in.word() != "after" {
				return fmt.Errorf("%s, and what?", w)
			}
			st.Wait, err = time.ParseDuration(in.word())
		}
		return err
	case "heartbeat":
		st.Op = "< heartbeat"
	case "channel-error", "connection-error":
		st.Op = "< " + w
		if st.Code, err = strconv.Atoi(in.word()); err != nil {
			return err
		}
		switch name := in.word(); {
		case name == "_":
			st.Method = anyMethod
		case methods[name] != nil:
			st.Method = methods[name].ID
		case name != "none":
			return fmt.Errorf("there is no method %q", name)
		}
		if st.Reason, err = in.value(); err != nil {
			return err
		}
	default:
		in.rest, st.Op = before, "<"
		if st.Command, err = in.command(); err != nil {
			return err
		}
	}
	return in.end()
}
