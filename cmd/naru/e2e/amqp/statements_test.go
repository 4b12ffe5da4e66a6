package amqp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

func loadStatements(t *testing.T) []Statement {
	t.Helper()
	statements, err := LoadStatements("statements.tsv")
	if err != nil {
		t.Fatal(err)
	}
	return statements
}

// TestStatementList: every number and every reply code is there, once.
func TestStatementList(t *testing.T) {
	var want, got []string
	for n := range 69 {
		want = append(want, fmt.Sprintf("9.%d", n+1))
	}
	want = append(want, strings.Fields("e200 e311 e312 e313 e320 e402 e403 e404 e405 e406 e501 e502 e503 e504 e505 e506 e530 e540 e541")...)
	for _, s := range loadStatements(t) {
		got = append(got, s.ID)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the list is\n%v\nwant\n%v", got, want)
	}
}

// TestStatementsCovered: every statement has a script, a test, or a reason why
// Naru does otherwise; and no script names one that does not exist.
func TestStatementsCovered(t *testing.T) {
	scripts, known, tests := loadScripts(t), map[string]bool{}, testSources(t)
	for _, s := range loadStatements(t) {
		known[s.ID] = true
		switch {
		case s.Test != "" && !strings.Contains(tests, "func "+s.Test+"("):
			t.Errorf("%s: there is no test %s", s.ID, s.Test)
		case s.Test == "" && s.Differs == "" && len(suite.Covering(scripts, s.ID)) == 0:
			t.Errorf("nothing shows %s: %s", s.ID, s.Text)
		}
	}
	for _, s := range scripts {
		for _, id := range s.Covers {
			if !known[id] {
				t.Errorf("%s: %s covers %s, which is not a statement", s.File, s.Name, id)
			}
		}
	}
}

func testSources(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}

// notInScripts are methods and flags that scripts cannot show.
var notInScripts = map[string]string{
	"connection.secure":    "no mechanism of ours has a second step",
	"connection.secure-ok": "no mechanism of ours has a second step",
	"connection.blocked":   "TestBlocked",
	"connection.unblocked": "TestBlocked",
}

// TestMethodsCovered: every method is sent or expected by a script, every flag
// is set and every property used.
func TestMethodsCovered(t *testing.T) {
	seen := map[string]bool{}
	note := func(c *Command) {
		if c == nil {
			return
		}
		seen[c.Method.Name] = true
		for name, v := range c.Args {
			if v.Kind != 't' || v.Num != 0 {
				seen[c.Method.Name+" "+name] = true
			}
		}
		for name := range c.Props {
			seen[name] = true
		}
	}
	for _, s := range loadScripts(t) {
		steps, err := s.Steps(false, "test")
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range steps {
			note(st.Command)
			note(st.OK)
			switch st.Op {
			case "confirms":
				seen["basic.ack"], seen["basic.nack"] = true, true
			case "open":
				seen["channel.open-ok"], seen["channel.open"] = true, true
			case "close":
				seen["channel.close-ok"], seen["channel.close"] = true, true
			}
		}
	}
	for name, m := range methods {
		if notInScripts[name] != "" {
			continue
		}
		if !seen[name] {
			t.Errorf("no script has %s", name)
		}
		for _, a := range m.Fields {
			if a.Type == "bit" && !a.Reserved() && !seen[name+" "+a.Name] {
				t.Errorf("no script has %s with %s", name, a.Name)
			}
		}
	}
	for _, p := range properties {
		if !seen[p.Name] {
			t.Errorf("no script has a content with %s", p.Name)
		}
	}
}
