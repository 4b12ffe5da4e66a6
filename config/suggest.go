package config

import "strings"

// suggestable is the longest name that is compared with the known ones: the
// work grows with the square.
const suggestable = 80

// fold makes names alike that differ in what people mix up.
var fold = strings.NewReplacer("-", "_", ".", "_")

// nearest is the candidate that word was probably meant to be, or "".
func nearest(word string, candidates []string) string {
	best, _ := nearestWithin(word, candidates, min(len(word)/3, 4))
	return best
}

// nearestWithin finds the first candidate of the smallest distance up to limit.
func nearestWithin(word string, candidates []string, limit int) (best string, distance int) {
	distance = limit + 1
	if len(word) > suggestable {
		return "", distance
	}
	folded := fold.Replace(strings.ToLower(word))
	for _, c := range candidates {
		other := fold.Replace(strings.ToLower(c))
		if gap := len(folded) - len(other); gap >= distance || -gap >= distance {
			continue
		}
		if d := editDistance(folded, other); d < distance {
			best, distance = c, d
		}
	}
	return best, distance
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j]+cost, prev[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}

// suggest says what an unknown key, segments below path, may have been meant to
// be: a neighbour at its level, else any key of the whole tree.
func (l *loader) suggest(path string, segments, level []string) string {
	if near := nearest(segments[0], level); near != "" {
		return joinAll(join(path, near), segments[1:])
	}
	full, name := joinAll(path, segments), segments[len(segments)-1]
	best, distance := nearestWithin(full, l.allKeys(), min(len(full)/4, 3))
	if len(name) < 3 {
		return best
	}
	for _, key := range l.allKeys() {
		last := key[strings.LastIndexByte(key, '.')+1:]
		// One more, so that the same distance over the whole path wins.
		if _, d := nearestWithin(name, []string{last}, min(len(name)/4, 2)); d+1 < distance {
			best, distance = key, d+1
		}
	}
	return best
}

// allKeys are the paths of every key, made when first needed.
func (l *loader) allKeys() []string {
	if l.keys == nil {
		for _, k := range keysOf(l.root, l.shape) {
			l.keys = append(l.keys, k.Path)
		}
	}
	return l.keys
}
