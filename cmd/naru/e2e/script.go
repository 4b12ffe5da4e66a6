package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// A Script is one conversation, for one of its cases.
type Script struct {
	suite.Head
	Profile string // of the broker
	Own     bool   // needs a broker that nobody else uses
	Steps   []Step
	Peer    *Script // what the peer does instead, if it differs
}

// A Step is one thing to do or to expect.
type Step struct {
	Line     int    // in the file
	Text     string // as written; the steps of a shorthand share it
	Conn     string // the connection it is about, "" for the broker
	Op       op
	Pattern  Pattern       // opSend, opTrickle, opExpect, opEither
	Set      []Pattern     // opUnordered; the two sides of opDiffer
	From, To time.Duration // opClosed: when; opSilent, opSleep: To is how long
	Words    []string      // opOpen: transport; opHTTP: status and header; opEither: connections
	Ours     bool          // the peer is known to fail here
}

type op uint8

const (
	opOpen op = iota
	opSend
	opTrickle
	opExpect
	opUnordered
	opHTTP
	opClosed
	opAnyClosed
	opSilent
	opClose
	opReset
	opDiffer
	opEither
	opSleep
	opRestart
	opKill
)

// LoadScripts reads every script file of a directory, in the order of the
// names.
func LoadScripts(dir string) ([]*Script, error) {
	return suite.Load(dir, (&parser{seen: map[string]string{}}).file)
}

// A parser turns script files into scripts. It outlives a file, because names
// and prefixes are unique over all of them.
type parser struct {
	seen     map[string]string // script name -> file
	prefixes int
}

// A source is a script as written, before its cases are told apart.
type source struct {
	head    Script
	cases   []caseText
	differs []string // the cases that differ, nil for all
	covers  bool     // it has said what it covers
	lines   []line
	start   int // line of the name
}

type caseText struct{ name, text string }

type line struct {
	number int
	text   string
}

func (p *parser) file(name, text string) ([]*Script, error) {
	sources, err := p.split(name, text)
	if err != nil {
		return nil, err
	}
	var out []*Script
	for _, src := range sources {
		scripts, err := p.expand(src)
		if err != nil {
			return nil, err
		}
		out = append(out, scripts...)
	}
	return out, nil
}

// split cuts a file into scripts and reads their headers.
func (p *parser) split(file, text string) ([]*source, error) {
	var out []*source
	var cur *source
	for i, raw := range strings.Split(text, "\n") {
		l := line{i + 1, strings.TrimSpace(raw)}
		if l.text == "" || strings.HasPrefix(l.text, "#") {
			continue
		}
		name, starts := strings.CutPrefix(l.text, "== ")
		switch {
		case starts:
			if other, taken := p.seen[name]; taken {
				return nil, fmt.Errorf("%s:%d: %s is in %s already", file, l.number, name, other)
			}
			p.seen[name] = file
			cur = &source{head: Script{Head: suite.Head{File: file, Name: name}, Profile: "default"}, start: l.number}
			out = append(out, cur)
		case cur == nil:
			return nil, fmt.Errorf("%s:%d: a script begins with == name", file, l.number)
		default:
			isHeader, err := cur.header(l.text)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, l.number, err)
			}
			if !isHeader {
				cur.lines = append(cur.lines, l)
			}
		}
	}
	return out, nil
}

// header reads a line such as "covers: ...". Once steps have begun there are
// no headers any more.
func (s *source) header(text string) (bool, error) {
	key, value, found := strings.Cut(text, ":")
	if !found || len(s.lines) > 0 {
		return false, nil
	}
	value = strings.TrimSpace(value)
	caseName, isCase := strings.CutPrefix(key, "case ")
	switch {
	case isCase:
		if slices.ContainsFunc(s.cases, func(c caseText) bool { return c.name == caseName }) {
			return false, fmt.Errorf("case %s is there already", caseName)
		}
		s.cases = append(s.cases, caseText{caseName, value})
	case key == "covers":
		s.covers = true
		if value != "-" {
			s.head.Covers = strings.Fields(value)
		}
	case key == "config":
		s.head.Profile = value
	case key == "broker":
		if value != "own" {
			return false, fmt.Errorf("broker: %q, want own", value)
		}
		s.head.Own = true
	case key == "mosquitto":
		reason, ok := strings.CutPrefix(value, "differs ")
		if !ok {
			return false, fmt.Errorf("mosquitto: want differs and a reason")
		}
		if list, rest, ok := strings.Cut(strings.TrimPrefix(reason, "["), "]"); ok && reason[0] == '[' {
			s.differs, reason = strings.Fields(list), strings.TrimSpace(rest)
		}
		s.head.Differs = reason
	default:
		return false, nil
	}
	return true, nil
}

// expand parses the steps of a source, once for each case.
func (p *parser) expand(src *source) ([]*Script, error) {
	for _, name := range src.differs {
		if !slices.ContainsFunc(src.cases, func(c caseText) bool { return c.name == name }) {
			return nil, fmt.Errorf("%s:%d: there is no case %q", src.head.File, src.start, name)
		}
	}
	if !src.covers {
		return nil, fmt.Errorf("%s:%d: a script says what it covers, or -", src.head.File, src.start)
	}
	cases := src.cases
	if len(cases) == 0 {
		cases = []caseText{{}}
	}
	var out []*Script
	marked := false
	for _, c := range cases {
		s := src.head
		s.Case = c.name
		if src.differs != nil && !slices.Contains(src.differs, c.name) {
			s.Differs = ""
		}
		if err := p.steps(&s, src.lines, c.text, "?"); err != nil {
			return nil, err
		}
		if s.Differs != "" {
			theirs := s
			if err := p.steps(&theirs, src.lines, c.text, "!"); err != nil {
				return nil, err
			}
			s.Peer = &theirs
		}
		marked = marked || slices.ContainsFunc(s.Steps, func(st Step) bool { return st.Ours })
		out = append(out, &s)
	}
	if marked != (src.head.Differs != "") {
		return nil, fmt.Errorf("%s:%d: lines with ! and \"mosquitto: differs\" go together", src.head.File, src.start)
	}
	return out, nil
}

// steps parses the lines for one case and for one side: skip is the mark of
// the lines that are the other side's.
func (p *parser) steps(s *Script, lines []line, caseText, skip string) error {
	prefix := fmt.Sprintf("q%03s", strconv.FormatInt(int64(p.prefixes), 36)) // as long as @@@@
	p.prefixes++
	steps := &stepParser{sizes: map[string]int{}, skip: skip}
	for _, l := range lines {
		text := strings.ReplaceAll(l.text, "$case", caseText)
		text = strings.ReplaceAll(text, "@@@@", prefix)
		if err := steps.line(l.number, text); err != nil {
			return fmt.Errorf("%s:%d: %w", s.File, l.number, err)
		}
	}
	if steps.open || len(steps.out) == 0 {
		return fmt.Errorf("%s: %s has no end or no steps", s.File, s.ID())
	}
	s.Steps = steps.out
	s.Own = s.Own || slices.ContainsFunc(s.Steps, func(st Step) bool { return st.Op == opRestart || st.Op == opKill })
	return nil
}
