package suite

import (
	"fmt"
	"os"
	"strings"
)

// Statements reads a file of lines "id, tab, column, tab, column"; those that
// begin with # are comments. What the columns mean is for parse to say.
func Statements[T any](path string, parse func(id, second, third string) (T, error)) ([]T, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []T
	seen := map[string]bool{}
	for i, l := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		if strings.HasPrefix(l, "#") {
			continue
		}
		f := strings.Split(l, "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("%s:%d: %d columns, want 3", path, i+1, len(f))
		}
		if seen[f[0]] {
			return nil, fmt.Errorf("%s:%d: %s is listed twice", path, i+1, f[0])
		}
		seen[f[0]] = true
		s, err := parse(f[0], f[1], f[2])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		out = append(out, s)
	}
	return out, nil
}
