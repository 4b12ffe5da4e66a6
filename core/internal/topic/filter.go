package topic

import "strings"

// MatchFilter reports whether one filter matches the address, without a Trie
// and without allocating. It takes at most levels of the filter times levels
// of the address.
func MatchFilter(filter string, address []byte, s Syntax) bool {
	if len(address) > 0 && address[0] == '$' && s.leadsWild(filter) {
		return false
	}
	return follow(filter, len(address), s, func(k kind, level string, at int) (int, bool) {
		end := s.endBytes(address, at)
		return end, k == one || level == string(address[at:end])
	})
}

// Overlap reports whether there is an address that both filters match, and so
// whether who may hear one of them could ever hear something of the other.
func Overlap(a, b string, s Syntax) bool {
	if leadsDollar(a) && s.leadsWild(b) || leadsDollar(b) && s.leadsWild(a) {
		return false
	}
	if s.stretches(a) && s.stretches(b) {
		// What is between the first and the last multi wildcard of one fits
		// into a multi wildcard of the other, so only the ends can clash.
		return s.startsMeet(a, b) && s.endsMeet(a, b)
	}
	if s.stretches(b) {
		a, b = b, a
	}
	// b has a fixed number of levels, which a must be able to take.
	return follow(a, len(b), s, func(k kind, level string, at int) (int, bool) {
		of, end := s.level(b, at)
		switch {
		case k == one:
			return end, true
		case of == literal:
			return end, level == b[at:end]
		case at > 0:
			return end, true
		}
		// The level of a decides what the address begins with, and an address
		// with a single level, an empty one, cannot be written.
		return end, !leadsDollar(level) && (level != "" || end < len(b))
	})
}

// follow reports whether the filter can take all levels of something that is n
// bytes long. fits looks at the level of it that begins at the offset: where
// it ends, and whether the level of the filter, a literal or a single
// wildcard, takes it.
//
// On a misfit, only the last multi wildcard passed needs to give way: whatever
// an earlier one could take instead, the last one can take as well. That keeps
// it from being exponential.
func follow(filter string, n int, s Syntax, fits func(k kind, level string, at int) (end int, ok bool)) bool {
	f, at := first(len(filter)), first(n)
	resume, from := -1, 0 // behind the last multi wildcard: in the filter, in the other
	for {
		ok := false
		if f > len(filter) {
			if at > n {
				return true
			}
		} else {
			k, end := s.level(filter, f)
			switch {
			case k == tail:
				return true
			case k == many:
				f = end + 1
				resume, from = f, at
				continue
			case at > n:
				return false // a longer multi wildcard leaves still less
			}
			var next int
			if next, ok = fits(k, filter[f:end], at); ok {
				f, at = end+1, next+1
			}
		}
		if !ok {
			if resume < 0 {
				return false
			}
			next, _ := fits(one, "", from)
			from = next + 1
			f, at = resume, from
		}
	}
}

func leadsDollar(filter string) bool { return len(filter) > 0 && filter[0] == '$' }

// leadsWild reports whether the first level is a wildcard.
func (s Syntax) leadsWild(filter string) bool {
	if filter == "" {
		return false
	}
	k, _ := s.level(filter, 0)
	return k != literal
}

// stretches reports whether the filter has a multi wildcard.
func (s Syntax) stretches(filter string) bool {
	if strings.IndexByte(filter, s.Many) < 0 {
		return false
	}
	for at := 0; at <= len(filter); {
		k, end := s.level(filter, at)
		if k == many || k == tail {
			return true
		}
		at = end + 1
	}
	return false
}

// startsMeet reports whether two filters agree up to the first multi wildcard
// of either; each has one.
func (s Syntax) startsMeet(a, b string) bool {
	for i, j := 0, 0; ; {
		ka, enda := s.level(a, i)
		kb, endb := s.level(b, j)
		if ka >= many || kb >= many {
			return true
		}
		if ka == literal && kb == literal && a[i:enda] != b[j:endb] {
			return false
		}
		i, j = enda+1, endb+1
	}
}

// endsMeet is startsMeet from the last level backwards.
func (s Syntax) endsMeet(a, b string) bool {
	for i, j := len(a), len(b); ; {
		ati := strings.LastIndexByte(a[:i], s.Separator) + 1
		atj := strings.LastIndexByte(b[:j], s.Separator) + 1
		ka, _ := s.level(a, ati)
		kb, _ := s.level(b, atj)
		if ka >= many || kb >= many {
			return true
		}
		if ka == literal && kb == literal && a[ati:i] != b[atj:j] {
			return false
		}
		i, j = ati-1, atj-1
	}
}
