package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files with what comes out")

// TestErrors runs testdata/errors.txt: cases that begin with "=== name", each a
// file, or lines "env NAME=value" and "set key=value", then "----" and the errors.
func TestErrors(t *testing.T) {
	golden, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, c := range strings.Split("\n"+string(golden), "\n=== ")[1:] {
		name, body, _ := strings.Cut(c, "\n")
		input, want, _ := strings.Cut(body, "----\n")
		var src Sources
		var file []string
		for _, line := range strings.Split(strings.TrimSuffix(input, "\n"), "\n") {
			switch {
			case strings.HasPrefix(line, "env "):
				src.Env = append(src.Env, line[len("env "):])
			case strings.HasPrefix(line, "set "):
				src.Set = append(src.Set, line[len("set "):])
			default:
				file = append(file, line)
			}
		}
		_, err := loadText(newTree(), strings.Join(file, "\n")+"\n", src)
		got := ""
		if err != nil {
			got = err.Error() + "\n"
		}
		if want = strings.TrimSpace(want) + "\n"; got != want && !*update {
			t.Errorf("%s:\ngot\n%swant\n%s", name, got, want)
		}
		out.WriteString("=== " + name + "\n" + input + "----\n" + got + "\n")
	}
	if *update {
		if err := os.WriteFile("testdata/errors.txt", []byte(strings.TrimSuffix(out.String(), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// loadText is Load of a file naru.yaml that was not written.
func loadText(dst any, text string, src Sources) (*Report, error) {
	l, err := newLoader(dst)
	if err != nil {
		return nil, err
	}
	l.file("naru.yaml", []byte(text))
	return l.finish(src)
}
