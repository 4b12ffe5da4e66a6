// Command mutate breaks the engine in the ways that its list names, one at a time and
// never in the tree itself, and says which test notices. A mutation that no
// test notices is a gap in the tests, and the exit code says so.
//
//	mutate [-check] [-run regexp] list
//
// The list is a sequence of
//
//	== what goes wrong
//	file core/commit.go
//	test ./core -run 'TestA|TestB'
//	--
//	text that occurs once in the file
//	--
//	what stands there instead
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

type mutation struct {
	name, file, test string
	old, new         string
}

func main() {
	check := flag.Bool("check", false, "only see whether every mutation still applies")
	run := flag.String("run", "", "only those whose name matches")
	flag.Parse()
	all, err := read(flag.Arg(0), regexp.MustCompile(*run))
	if err == nil && !*check {
		err = baseline(all)
	}
	if err == nil && !*check {
		err = runAll(all)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if *check {
		fmt.Printf("%d mutations apply\n", len(all))
	}
}

func read(list string, want *regexp.Regexp) ([]mutation, error) {
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	var all []mutation
	for _, part := range strings.Split("\n"+string(text), "\n== ")[1:] {
		m, err := parse(part)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", m.name, err)
		}
		if want.MatchString(m.name) {
			all = append(all, m)
		}
	}
	return all, nil
}

func parse(part string) (m mutation, err error) {
	fields := strings.Split(part, "\n--\n")
	head := strings.Split(fields[0], "\n")
	m.name = head[0]
	if len(fields) != 3 || len(head) != 3 {
		return m, fmt.Errorf("want a head of three lines, the old text and the new")
	}
	var ok1, ok2 bool
	m.file, ok1 = strings.CutPrefix(head[1], "file ")
	m.test, ok2 = strings.CutPrefix(head[2], "test ")
	if !ok1 || !ok2 {
		return m, fmt.Errorf("file or test is missing")
	}
	m.old, m.new = fields[1], strings.TrimRight(fields[2], "\n")
	source, err := os.ReadFile(m.file)
	if err != nil {
		return m, err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return m, fmt.Errorf("%s has its text %d times, want once", m.file, n)
	}
	return m, nil
}

// baseline sees that the tests pass when nothing is broken.
func baseline(all []mutation) error {
	var packages []string
	for _, m := range all {
		for _, f := range strings.Fields(m.test) {
			if strings.HasPrefix(f, "./") && !slices.Contains(packages, f) {
				packages = append(packages, f)
			}
		}
	}
	if out, err := test(strings.Join(packages, " "), ""); err != nil {
		return fmt.Errorf("without any mutation: %w\n%s", err, tail(out))
	}
	fmt.Printf("%v pass without mutation\n", packages)
	return nil
}

func test(args, overlay string) (string, error) {
	cmd := exec.Command("sh", "-c", "go test -count=1 -failfast -timeout 5m "+args)
	if overlay != "" { // for the binary too that the end-to-end tests build
		cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func runAll(all []mutation) error {
	dir, err := os.MkdirTemp("", "naru-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var mu sync.Mutex
	var wg sync.WaitGroup
	alive := 0
	slots := make(chan struct{}, 2)
	for i, m := range all {
		slots <- struct{}{}
		wg.Go(func() {
			began := time.Now()
			verdict, killed := try(m, filepath.Join(dir, fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			if !killed {
				alive++
			}
			fmt.Printf("%-8s %4.0fs  %s\n               %s\n", map[bool]string{true: "noticed", false: "ALIVE"}[killed],
				time.Since(began).Seconds(), m.name, verdict)
			<-slots
		})
	}
	wg.Wait()
	if alive > 0 {
		return fmt.Errorf("%d of %d mutations were not noticed", alive, len(all))
	}
	fmt.Printf("all %d mutations were noticed\n", len(all))
	return nil
}

var failed = regexp.MustCompile(`--- FAIL: (\S+)`)

func try(m mutation, base string) (verdict string, killed bool) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return err.Error(), false
	}
	broken := strings.Replace(string(source), m.old, m.new, 1)
	from, err := filepath.Abs(m.file)
	if err != nil {
		return err.Error(), false
	}
	if err := os.WriteFile(base+".go", []byte(broken), 0o600); err != nil {
		return err.Error(), false
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{from: base + ".go"}})
	if err != nil {
		return err.Error(), false
	}
	if err := os.WriteFile(base+".json", overlay, 0o600); err != nil {
		return err.Error(), false
	}
	out, err := test(m.test, base+".json")
	switch {
	case err == nil:
		return "no test of " + m.test + " failed", false
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return "does not compile:\n" + tail(out), false
	}
	if names := failed.FindAllStringSubmatch(out, -1); names != nil {
		return names[len(names)-1][1], true
	}
	return "the test ended: " + strings.SplitN(out, "\n", 2)[0], true
}

func tail(s string) string {
	if len(s) > 2000 {
		return "... " + s[len(s)-2000:]
	}
	return s
}
