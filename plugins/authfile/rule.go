package authfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

type access uint8

const (
	mayRead access = 1 << iota
	mayWrite
	mayConfigure
	mayNot // refuses all three
)

var accessWords = map[string]access{
	"read":      mayRead,
	"write":     mayWrite,
	"readwrite": mayRead | mayWrite,
	"configure": mayConfigure,
	"deny":      mayNot,
}

// A ruleset holds the patterns of an acl by what they are asked for.
type ruleset struct {
	read, write, configure, deny []*pattern
}

// compileRules hands every bad rule to add, with its text.
func compileRules(path string, acl []string, add func(error)) ruleset {
	var rs ruleset
	for i, text := range acl {
		what, p, err := parseRule(text)
		if err != nil {
			add(fmt.Errorf("%s.%d: rule %q: %w", path, i, text, err))
			continue
		}
		if what&mayRead != 0 {
			rs.read = append(rs.read, p)
		}
		if what&mayWrite != 0 {
			rs.write = append(rs.write, p)
		}
		if what&mayConfigure != 0 {
			rs.configure = append(rs.configure, p)
		}
		if what&mayNot != 0 {
			rs.deny = append(rs.deny, p)
		}
	}
	return rs
}

// parseRule reads a rule in the notation of Mosquitto's acl file:
//
//	[topic|pattern] [read|write|readwrite|deny|configure] PATTERN
//
// The first word may be left out, and says nothing except that a topic line has
// no placeholders: there Mosquitto takes %c literally, which is an error here
// rather than a rule that silently means something else. Mosquitto lets the
// second word default to readwrite; here only behind a first word, so that a
// misspelt access is not taken for a topic with a space in it.
func parseRule(text string) (access, *pattern, error) {
	word, rest := cutWord(text)
	front := ""
	if word == "topic" || word == "pattern" {
		front = word
		word, rest = cutWord(rest)
	}
	what, ok := accessWords[word]
	switch {
	case word == "":
		return 0, nil, errors.New("there is no pattern")
	case !ok && (front == "" || rest != ""):
		return 0, nil, fmt.Errorf("%q is none of read, write, readwrite, deny, configure", word)
	case !ok:
		what, rest = mayRead|mayWrite, word
	case rest == "":
		return 0, nil, fmt.Errorf("there is no pattern behind %q", word)
	}
	p, err := compilePattern(rest)
	if err != nil {
		return 0, nil, err
	}
	if front == "topic" && p.placeholders {
		return 0, nil, errors.New("%c and %u need the word pattern, or none, in place of topic")
	}
	return what, p, nil
}

func cutWord(s string) (word, rest string) {
	s = strings.Trim(s, " \t")
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimLeft(s[i:], " \t")
	}
	return s, ""
}

// checkPattern refuses what is no topic filter, and what can never match.
func checkPattern(text string) error {
	switch {
	case text == "":
		return errors.New("there is no pattern")
	case len(text) > 65535:
		return errors.New("the pattern is longer than a topic can be")
	case !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0:
		return errors.New("the pattern is not valid text")
	case text == "$share" || strings.HasPrefix(text, "$share/"):
		return errors.New("a shared subscription needs the right to what stands behind $share/<group>/")
	case strings.Count(text, "/")+strings.Count(text, ".") >= maxLevels:
		return fmt.Errorf("the pattern has more than %d levels", maxLevels)
	}
	levels := strings.Split(text, "/")
	for i, level := range levels {
		switch {
		case level == "#" && i < len(levels)-1:
			return errors.New("# must be the last level")
		case level != "#" && level != "+" && strings.ContainsAny(level, "+#"):
			return fmt.Errorf("a wildcard must be a whole level, which %q is not", level)
		}
	}
	return nil
}
