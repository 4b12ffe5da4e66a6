package core

import "sync/atomic"

// generations tell cached routes that a binding which may concern them has
// changed. A route remembers the sum of the four counters its address hashes
// to: the exact address, its first two levels, its first level, and one for
// patterns that begin with a wildcard. A change of one subscription thus voids
// the routes of its own address or branch, and those that share a counter with
// it by chance. Levels end at '/' and at '.', so that both syntaxes of an
// address have the same counters.
type generations struct {
	exact, two, one []atomic.Uint64 // a power of two of each
	all             atomic.Uint64
}

// init makes the counters: many for the exchanges that everybody uses, few for
// those that clients declare, of which there may be thousands.
func (g *generations) init(many bool) {
	n := 32
	if many {
		n = 256
	}
	c := make([]atomic.Uint64, 2*n+n/4)
	g.exact, g.two, g.one = c[:n:n], c[n:2*n:2*n], c[2*n:]
}

// of returns the counters that concern an address.
func (g *generations) of(h levelHashes) [4]*atomic.Uint64 {
	return [4]*atomic.Uint64{
		&g.exact[int(h.whole)&(len(g.exact)-1)], &g.two[int(h.two)&(len(g.two)-1)],
		&g.one[int(h.one)&(len(g.one)-1)], &g.all,
	}
}

func (g *generations) bump(typ ExchangeType, syn Syntax, pattern string) {
	if typ == Fanout {
		g.all.Add(1)
		return
	}
	c := g.of(hashLevels(pattern))
	if typ == Direct {
		c[0].Add(1)
		return
	}
	single, multi := byte('+'), byte('#')
	if syn == SyntaxAMQP {
		single = '*'
	}
	// How many levels before the first wildcard are literal?
	literal, wild, start := 0, false, 0
	for i := 0; i <= len(pattern); i++ {
		if i == len(pattern) || pattern[i] == '/' || pattern[i] == '.' {
			if i-start == 1 && (pattern[start] == single || pattern[start] == multi) {
				wild = true
				break
			}
			literal++
			start = i + 1
		}
	}
	switch {
	case !wild:
		c[0].Add(1)
	case literal >= 2:
		c[1].Add(1)
	case literal == 1:
		c[2].Add(1)
	default:
		c[3].Add(1)
	}
}

type levelHashes struct{ one, two, whole uint32 }

// hashLevels hashes the first level, the first two, and the whole address.
func hashLevels[T ~string | ~[]byte](s T) levelHashes {
	const prime = 16777619
	h := uint32(2166136261)
	var l levelHashes
	level := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '/' || c == '.' {
			c = '/'
			level++
			if level == 1 {
				l.one = h
			} else if level == 2 {
				l.two = h
			}
		}
		h = (h ^ uint32(c)) * prime
	}
	l.whole = h
	if level < 1 {
		l.one = h
	}
	if level < 2 {
		l.two = h
	}
	return l
}
