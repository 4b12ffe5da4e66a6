// Package suite holds what suites of conversation scripts have in common,
// whatever language their steps are in: a suite shows the statements of a
// protocol by scripts, which are played against Naru and a reference peer, and
// a part of the documentation is generated from it.
package suite

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A Head is what a script says of itself, for one of its cases.
type Head struct {
	File    string // base name
	Name    string
	Case    string   // "" for a script without cases
	Covers  []string // ids of statements
	Differs string   // in what the peer differs, "" if it does not
}

// ID names the script and its case, as a subtest does.
func (h *Head) ID() string {
	if h.Case == "" {
		return h.Name
	}
	return h.Name + "/" + h.Case
}

func (h *Head) head() *Head { return h }

// A Script is a pointer to what embeds a Head.
type Script interface{ head() *Head }

// Load reads every script file of a directory, in the order of the names. No two
// scripts have the same ID.
func Load[S Script](dir string, parse func(file, text string) ([]S, error)) ([]S, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []S
	seen := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		scripts, err := parse(filepath.Base(path), string(text))
		if err != nil {
			return nil, err
		}
		for _, s := range scripts {
			id := s.head().ID()
			if seen[id] {
				return nil, fmt.Errorf("%s: two scripts are called %s", path, id)
			}
			seen[id] = true
		}
		all = append(all, scripts...)
	}
	return all, nil
}

// Play runs every script as a subtest, many at once, because most of their
// time is waiting; t.Parallel would allow as many as there are cores.
func Play[S Script](t *testing.T, atOnce int, scripts []S, one func(*testing.T, S)) {
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for _, s := range scripts {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			t.Run(s.head().ID(), func(t *testing.T) { one(t, s) })
		})
	}
	running.Wait()
}
