package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds the work that a file can cause. The largest configuration
// that anyone writes by hand is a hundredth of it.
const maxFile = 4 << 20

// readFile returns the text and mode of a file. It need not be a regular one:
// naru check /dev/stdin works.
func readFile(name string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	return text, info.Mode(), err
}

// file applies the text of a file.
func (l *loader) file(name string, text []byte) {
	l.source = source{name: name, lines: true}
	doc, err := l.parse(text)
	if err != nil {
		l.problems.add(err)
		return
	}
	if doc != nil {
		l.decode(l.root, l.shape, doc, "")
	}
}

// A source is what a value is read from, and how places in it are told.
type source struct {
	name  string // for errors: "naru.yaml", "--set log.level"
	from  string // for reports, unless it is a file: "--set"
	lines bool   // a file, of which a line can be named
}

// at is a place for an error.
func (s source) at(line, column int) string {
	if !s.lines {
		return s.name
	}
	return fmt.Sprintf("%s:%d:%d", s.name, line, column)
}

// origin is the place of n for a report.
func (s source) origin(n *yaml.Node) string {
	if !s.lines {
		return s.from
	}
	return fmt.Sprintf("%s:%d", s.name, n.Line)
}

// parse reads one YAML document; nil if there is none. Nothing is expanded or
// converted here.
func (l *loader) parse(text []byte) (*yaml.Node, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: larger than %s", l.source.name, Size(maxFile))
	}
	if marks(text) > maxMarks {
		return nil, fmt.Errorf("%s: more values than a configuration can have", l.source.name)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case err == io.EOF:
		return nil, nil
	case err != nil:
		return nil, l.syntax(text, err)
	case len(doc.Content) != 1:
		return nil, nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, fmt.Errorf("%s: a second document begins here, but only one is read",
			l.source.at(second.Line, second.Column))
	case err != io.EOF:
		return nil, l.syntax(text, err)
	}
	return doc.Content[0], nil
}

// maxMarks leaves room for comments and punctuation around maxNodes values.
const maxMarks = 4 * maxNodes

// marks counts the characters of which every YAML node needs one. The parser
// makes a tree of the whole text before anything can be counted in it; for 4 MiB of
// "a,a,a," that took 10 s and 2 GB.
func marks(text []byte) int {
	n := 0
	for _, c := range text {
		switch c {
		case ',', ':', '-', '?', '[', '{', '\n':
			n++
		}
	}
	return n
}

// syntax puts an error of the YAML library into our form.
func (l *loader) syntax(text []byte, err error) error {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", l.source.name, err)
	}
	line, column := e.Mark.Line, e.Mark.Column
	if line == 0 {
		line, column = position(text, e.Mark.Index)
	}
	message := e.Message
	switch c := runeAt(text, line, column); {
	case strings.HasPrefix(message, "found character that cannot start") && c == '\t':
		message = "a tab cannot indent YAML: use spaces"
	case strings.HasPrefix(message, "found character that cannot start"):
		message = fmt.Sprintf("a value that begins with %c needs quotes", c)
	case strings.HasPrefix(message, "mapping values are not allowed"):
		message = "a colon is not allowed here: check the indentation, or put the value into quotes"
	}
	if e.ContextMsg != "" && e.ContextMark.Line > 0 && e.ContextMark != e.Mark {
		message += fmt.Sprintf(" (%s that begins at line %d)", e.ContextMsg, e.ContextMark.Line)
	}
	return fmt.Errorf("%s: %s", l.source.at(line, column), message)
}

// position finds the line and column of a byte.
func position(text []byte, index int) (line, column int) {
	before := text[:min(max(index, 0), len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

// runeAt is the character at a line and column, or 0.
func runeAt(text []byte, line, column int) rune {
	lines := bytes.Split(text, []byte{'\n'})
	if line < 1 || line > len(lines) {
		return 0
	}
	runes := []rune(string(lines[line-1]))
	if column < 1 || column > len(runes) {
		return 0
	}
	return runes[column-1]
}
