package authfile

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/narumq/naru/core"
)

func mustPattern(t testing.TB, text string) *pattern {
	t.Helper()
	p, err := compilePattern(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return p
}

func TestOverlaps(t *testing.T) {
	const mqtt, amqp = core.SyntaxMQTT, core.SyntaxAMQP
	for _, c := range []struct {
		pattern string
		syn     core.Syntax
		yes, no string // filters, between blanks
	}{
		{"a/#", mqtt, "a a/b a/# # + +/b a/+/c +/#", "b b/# /# $SYS/# a.b"},
		{"a/b", mqtt, "a/b # a/# a/b/# +/+ +/b", "a + a/c a/b/c a/b/+ $SYS/#"},
		{"a/+/c", mqtt, "a/b/c a/+/+ #", "a/b/d a/b a/b/c/d"},
		{"#", mqtt, "# + a a/b", "$SYS/# $SYS $queue/x"},
		{"+/x", mqtt, "a/x # +/+", "$SYS/x $SYS/#"},
		{"$SYS/#", mqtt, "$SYS/# $SYS/a $SYS $SYS/+/x", "# + +/a $share"},
		{"$SYS/a", mqtt, "$SYS/# $SYS/+", "# +/a"},
		{"/#", mqtt, "/ /a # +/a", "a a/b"},
		{"dev/%c/#", mqtt, "dev/# dev/c1 dev/+/x #", "dev/c2/# dev"},
		{"a/b", mqtt, "#", "#/b b/#/b"}, // # is a wildcard only at the end

		{"a/#", amqp, "a.b a # *.b #.z a.#.z #.#.#", "b.# $SYS.#"},
		{"a/b", amqp, "a.b # *.b #.b a.# #.a.#.b.# a.#.b #.a.b", "a #.c a.b.c a.*.b #.b.#.a *"},
		{"+/+/c", amqp, "#.c *.#.c a.*.* #", "c *.c #.d a.b.c.d"},
		{"#", amqp, "# * a.b #.a", "$SYS.# $SYS"},
		{"$SYS/#", amqp, "$SYS.# $SYS $SYS.a", "# *.a #.a"},
		{"spBv1.0/g/#", amqp, "spBv1.0.g.# spBv1.0.g.DDATA", "spBv1.1.g.#"},
		{"home/%u/#", amqp, "home.# home.alice.*", "home.bob.#"},
	} {
		p := mustPattern(t, c.pattern)
		for want, filters := range map[bool]string{true: c.yes, false: c.no} {
			for _, f := range strings.Fields(filters) {
				l, ok := p.fill(me, c.syn, nil)
				if got := ok && l.overlaps([]byte(f), c.syn); got != want {
					t.Errorf("%q and filter %q: %v, want %v", c.pattern, f, got, want)
				}
			}
		}
		l, _ := p.fill(me, amqp, nil)
		if got := l.overlaps(nil, amqp); got != (c.pattern == "#") { // binding key ""
			t.Errorf("%q and the empty key: %v", c.pattern, got)
		}
	}
	dotted := &core.Identity{User: "john.doe"}
	if l, ok := mustPattern(t, "home/%u/#").fill(dotted, amqp, nil); !ok || !l.overlaps([]byte("home.john.doe.x"), amqp) {
		t.Error("john.doe cannot bind to his topics")
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no string
	}{
		{"a/#", "a a/b a/# a/+ a/+/#", "# + +/b b $SYS/#"},
		{"a/+", "a/b a/+", "a/# a a/b/c +/b"},
		{"#", "# + a a/b", "$SYS/# $SYS"},
		{"+", "+ a", "# a/b $SYS"},
		{"$SYS/#", "$SYS $SYS/# $SYS/+", "# +/a"},
		{"in/%c/#", "in/c1/# in/c1", "in/c2/# in/+/#"},
	} {
		p := mustPattern(t, c.pattern)
		for want, filters := range map[bool]string{true: c.yes, false: c.no} {
			for _, f := range strings.Fields(filters) {
				l, ok := p.fill(me, core.SyntaxMQTT, nil)
				if got := ok && l.covers([]byte(f), core.SyntaxMQTT); got != want {
					t.Errorf("%q covers filter %q: %v, want %v", c.pattern, f, got, want)
				}
			}
		}
	}
}

// A client whose id looks like a wildcard, or like a system topic, has no more
// in common with a filter than any other.
func TestHostileValuesInFilters(t *testing.T) {
	for _, c := range []struct{ client, pattern, filter string }{
		{"$SYS", "%c/x", "$SYS/x"},
		{"$SYS", "%c/#", "$SYS/#"},
		{"$SYS", "%c/#", "#"},
		{"+", "in/%c/#", "in/a/x"},
		{"#", "in/%c", "in/a"},
		{"\x00", "in/%c", "in/a"},
		{"a/b", "in/%c", "in/a/b"},
	} {
		id := &core.Identity{ClientID: c.client}
		l, ok := mustPattern(t, c.pattern).fill(id, core.SyntaxMQTT, nil)
		if ok && l.overlaps([]byte(c.filter), core.SyntaxMQTT) {
			t.Errorf("client %q: %q overlaps %q", c.client, c.pattern, c.filter)
		}
	}
	l, ok := mustPattern(t, "in/%c/#").fill(&core.Identity{ClientID: "+"}, core.SyntaxMQTT, nil)
	if !ok || l.covers([]byte("in/+/x"), core.SyntaxMQTT) || !l.overlaps([]byte("in/+/x"), core.SyntaxMQTT) {
		t.Error("a level that is called + is one of many")
	}
}

// topics are all addresses of up to four levels over an alphabet that has a
// letter which no pattern or filter knows.
func topics(sep string) []string {
	words := []string{"a", "b", "z", "", "$x"}
	var all []string
	level := []string{""}
	for depth := range 4 {
		var next []string
		for _, head := range level {
			for _, w := range words {
				if depth > 0 {
					w = head + sep + w
				}
				next = append(next, w)
			}
		}
		all = append(all, next...)
		level = next
	}
	return all
}

// filterMatches says whether a subscription receives the address. Words are
// compared by plain recursion.
func filterMatches(filter, address string, sep, single string) bool {
	if address != "" && address[0] == '$' && (filter == "" || filter[0] != '$') {
		return false
	}
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, sep)
	}
	var match func(f, a []string) bool
	match = func(f, a []string) bool {
		switch {
		case len(f) == 0:
			return len(a) == 0
		case f[0] == "#" && (sep == "." || len(f) == 1):
			return match(f[1:], a) || len(a) > 0 && match(f, a[1:])
		}
		return len(a) > 0 && (f[0] == single || f[0] == a[0]) && match(f[1:], a[1:])
	}
	return match(split(filter), split(address))
}

// Against every address: a pattern and a filter overlap if and only if one is
// matched by both, and what a pattern covers is matched by it.
func TestOverlapsLikeNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	id := &core.Identity{ClientID: "a", User: "b"}
	for _, syn := range []core.Syntax{core.SyntaxMQTT, core.SyntaxAMQP} {
		sep, single, v := "/", "+", exact
		if syn == core.SyntaxAMQP {
			sep, single, v = ".", "*", keyed
		}
		addresses := topics(sep)
		for range 1_000 {
			text := randomFilter(rng, []string{"a", "b", "+", "%c", "%u", "$x"}, "/", 3)
			p, err := compilePattern(text)
			if err != nil {
				continue
			}
			words := []string{"a", "b", single, "$x"}
			if syn == core.SyntaxAMQP {
				words = append(words, "#")
			}
			// Together no longer than the addresses: with a # on each side, what
			// both match may need the levels of both.
			filter := randomFilter(rng, words, sep, 2)
			l, ok := p.fill(id, syn, nil)
			if !ok {
				t.Fatalf("fill %q", text)
			}
			var common, only string
			for _, a := range addresses {
				if a == "" || !filterMatches(filter, a, sep, single) {
					continue
				}
				if p.matches([]byte(a), id, v) {
					common = a
				} else {
					only = a
				}
			}
			if got := l.overlaps([]byte(filter), syn); got != (common != "") {
				t.Fatalf("syntax %d: %q and filter %q overlap: %v, common address %q", syn, text, filter, got, common)
			}
			if l.covers([]byte(filter), syn) && only != "" {
				t.Fatalf("syntax %d: %q covers filter %q, but not %q", syn, text, filter, only)
			}
		}
	}
}

func randomFilter(rng *rand.Rand, words []string, sep string, most int) string {
	level := make([]string, 1+rng.IntN(most))
	for i := range level {
		level[i] = words[rng.IntN(len(words))]
	}
	if rng.IntN(2) == 0 {
		if rng.IntN(5) == 0 {
			return "#"
		}
		level = append(level, "#")
	}
	return strings.Join(level, sep)
}

// A long filter must not cost more than its length: it comes from a client.
func BenchmarkOverlapAttack(b *testing.B) {
	p := mustPattern(b, "a/+/+/+/+/+/+/+/+/b")
	for name, filter := range map[string]string{
		"mqtt": strings.Repeat("+/", 32767), "amqp": strings.Repeat("#.", 127) + "c",
	} {
		syn := map[string]core.Syntax{"mqtt": core.SyntaxMQTT, "amqp": core.SyntaxAMQP}[name]
		b.Run(fmt.Sprintf("%s/%d", name, len(filter)), func(b *testing.B) {
			b.ReportAllocs()
			var room [256]byte
			for b.Loop() {
				l, _ := p.fill(me, syn, room[:0])
				l.overlaps([]byte(filter), syn)
			}
		})
	}
}
