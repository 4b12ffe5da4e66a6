package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A stepParser turns the lines of one script into steps.
type stepParser struct {
	sizes  map[string]int // of captures, see exprParser
	out    []Step
	nextID uint16 // packet id for the next shorthand
	open   bool   // inside "unordered {"
	skip   string // the mark of lines to leave out, "!" or "?"
	inSkip bool   // inside a set to leave out
}

var connName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// line parses one line and appends its steps.
func (p *stepParser) line(number int, text string) error {
	st := Step{Line: number, Text: text}
	mark, rest, _ := strings.Cut(text, " ")
	if p.inSkip {
		p.inSkip = text != "}"
		return nil
	}
	if mark == p.skip {
		p.inSkip = strings.HasSuffix(text, "{")
		return nil
	}
	if mark == "!" || mark == "?" {
		st.Ours, text = mark == "!", rest
	}
	if text == "" { // a case without text
		return nil
	}
	if p.open {
		return p.member(withoutComment(text))
	}
	if rest, ok := strings.CutPrefix(text, "sleep "); ok {
		return p.sleep(st, rest)
	}
	first, rest, _ := strings.Cut(withoutComment(text), " ")
	rest = strings.TrimSpace(rest)
	switch first {
	case "restart":
		st.Op = opRestart
	case "kill9":
		st.Op = opKill
	case "differ":
		return p.differ(st, rest)
	case "either":
		return p.either(st, rest)
	default:
		if !connName.MatchString(first) {
			return fmt.Errorf("%q is neither a step nor a connection", first)
		}
		st.Conn = first
		return p.connStep(st, rest)
	}
	if rest != "" {
		return fmt.Errorf("%s takes nothing after it", first)
	}
	p.out = append(p.out, st)
	return nil
}

// connStep parses what follows the name of a connection.
func (p *stepParser) connStep(st Step, text string) (err error) {
	verb, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	switch verb {
	case "open":
		if rest != "" && rest != "ws" {
			return fmt.Errorf("open %q, want nothing or ws", rest)
		}
		st.Op, st.Words = opOpen, []string{rest}
	case ">":
		st.Op = opSend
		st.Pattern, err = parseBytes(rest, p.sizes)
	case "trickle":
		st.Op = opTrickle
		st.Pattern, err = parseBytes(rest, p.sizes)
	case "<":
		return p.expectation(st, rest)
	case "silent":
		st.Op = opSilent
		st.To, err = time.ParseDuration(rest)
	case "close":
		st.Op = opClose
	case "reset":
		st.Op = opReset
	default:
		steps, err := p.shorthand(st.Conn, verb, rest)
		for _, s := range steps {
			s.Line, s.Text, s.Ours = st.Line, st.Text, st.Ours
			p.out = append(p.out, s)
		}
		return err
	}
	p.out = append(p.out, st)
	return err
}

// expectation parses what follows "<".
func (p *stepParser) expectation(st Step, text string) (err error) {
	word, rest, _ := strings.Cut(text, " ")
	switch {
	case word == "close":
		st.Op = opClosed
		st.From, st.To, err = timeRange(rest)
	case text == "anything close":
		st.Op = opAnyClosed
	case text == "unordered {":
		st.Op = opUnordered
		p.open = true
	case word == "http":
		st.Op = opHTTP
		status, header, ok := strings.Cut(rest, " ")
		if !ok {
			return fmt.Errorf("http wants a status and a header line")
		}
		st.Words = []string{status, strings.Trim(header, "'")}
	default:
		st.Op = opExpect
		if st.Pattern, err = parseBytes(text, p.sizes); err == nil && st.Pattern.Size() == 0 {
			err = fmt.Errorf("nothing to expect")
		}
	}
	p.out = append(p.out, st)
	return err
}

// member parses a line between "unordered {" and "}".
func (p *stepParser) member(text string) error {
	set := &p.out[len(p.out)-1]
	if text == "}" {
		p.open = false
		return nil
	}
	pat, err := parseBytes(text, p.sizes)
	set.Set = append(set.Set, pat)
	return err
}

func (p *stepParser) sleep(st Step, text string) (err error) {
	dur, why, ok := strings.Cut(text, "#")
	if !ok || strings.TrimSpace(why) == "" {
		return fmt.Errorf("a sleep needs a # with the reason")
	}
	st.Op = opSleep
	st.To, err = time.ParseDuration(strings.TrimSpace(dur))
	p.out = append(p.out, st)
	return err
}

func (p *stepParser) differ(st Step, text string) error {
	st.Op = opDiffer
	for _, side := range strings.Fields(text) {
		pat, err := parseBytes(side, p.sizes)
		if err != nil {
			return err
		}
		st.Set = append(st.Set, pat)
	}
	if len(st.Set) != 2 {
		return fmt.Errorf("differ wants two values")
	}
	p.out = append(p.out, st)
	return nil
}

// either parses "a b < BYTES".
func (p *stepParser) either(st Step, text string) (err error) {
	names, expr, ok := strings.Cut(text, " < ")
	st.Op, st.Words = opEither, strings.Fields(names)
	if !ok || len(st.Words) < 2 {
		return fmt.Errorf("either wants connections, < and bytes")
	}
	st.Pattern, err = parseBytes(expr, p.sizes)
	p.out = append(p.out, st)
	return err
}

// timeRange parses "1s..4s"; nothing means any time within the patience of the
// runner.
func timeRange(text string) (from, to time.Duration, err error) {
	if text == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(text, "..")
	if !ok {
		return 0, 0, fmt.Errorf("close %q, want a range such as 1s..4s", text)
	}
	if from, err = time.ParseDuration(a); err != nil {
		return 0, 0, err
	}
	to, err = time.ParseDuration(b)
	return from, to, err
}

// withoutComment cuts a # and what follows, unless the # is in quotes.
func withoutComment(text string) string {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '\'':
			quoted = !quoted
		case text[i] == '#' && !quoted:
			return strings.TrimSpace(text[:i])
		}
	}
	return text
}

// words splits text at spaces, but not inside quotes.
func words(text string) []string {
	var out []string
	quoted, start := false, -1
	for i := 0; i < len(text); i++ {
		if text[i] == ' ' && !quoted {
			if start >= 0 {
				out, start = append(out, text[start:i]), -1
			}
			continue
		}
		if start < 0 {
			start = i
		}
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '\'':
			quoted = !quoted
		}
	}
	if start >= 0 {
		out = append(out, text[start:])
	}
	return out
}
