package topic

import "strings"

// The model that the tests compare with: the rules of the package doc, word
// for word, without a thought for speed.

func split(s string, y Syntax) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, string(y.Separator))
}

func naiveMatch(filter, address string, y Syntax) bool {
	f, a := split(filter, y), split(address, y)
	if strings.HasPrefix(address, "$") && len(f) > 0 && naiveKind(f, 0, y) != literal {
		return false
	}
	// can[j]: the levels of the filter so far can take the first j levels.
	can := make([]bool, len(a)+1)
	can[0] = true
	for i := range f {
		next := make([]bool, len(a)+1)
		for j := range can {
			if !can[j] {
				continue
			}
			switch k := naiveKind(f, i, y); {
			case k == many || k == tail:
				for rest := j; rest <= len(a); rest++ {
					next[rest] = true
				}
			case j < len(a) && (k == one || f[i] == a[j]):
				next[j+1] = true
			}
		}
		can = next
	}
	return can[len(a)]
}

func naiveKind(f []string, i int, y Syntax) kind {
	switch {
	case f[i] == string(y.One):
		return one
	case f[i] == string(y.Many) && i == len(f)-1:
		return tail
	case f[i] == string(y.Many) && y.Anywhere:
		return many
	}
	return literal
}
