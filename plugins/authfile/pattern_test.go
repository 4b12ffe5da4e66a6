package authfile

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/narumq/naru/core"
)

var me = &core.Identity{User: "alice", ClientID: "c1", VHost: "/"}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern  string
		v        view
		yes, not string // addresses, between blanks
	}{
		{"a/b", exact, "a/b", "a a/ a/b/ a/b/c a.b /a/b A/b"},
		{"a/#", exact, "a a/ a/b a/b/c", "b ab /a a.b"},
		{"a/+", exact, "a/ a/b a/b.c", "a a/b/c a/b/"},
		{"+", exact, "a a.b", "/ a/b $SYS"},
		{"+/+", exact, "/ a/b a/", "a a/b/c $SYS/x"},
		{"+/b/#", exact, "a/b /b a/b/c", "a/c b $S/b"},
		{"#", exact, "a / a/b", "$ $SYS $SYS/a $queue/x"},
		{"/#", exact, "/ /a /a/b", "a a/b"},
		{"/", exact, "/", "a //"},
		{"$SYS/#", exact, "$SYS $SYS/a", "$SYSTEM SYS $SY"},
		{"$SYS/+/x", exact, "$SYS/a/x", "$SYS/a"},
		{"a/$b", exact, "a/$b", "a/b"},
		{"dev-%c/x", exact, "dev-c1/x", "dev-c2/x dev-/x dev-c1x/x dev-%c/x"},
		{"%u/%c/%c-%u", exact, "alice/c1/c1-alice", "alice/c1/alice-c1"},
		{"a/%u/#", exact, "a/alice a/alice/x", "a/alicex a/+ a/# a/%u"},
		{"100%/%x", exact, "100%/%x", "100/x"},

		{"a/b", keyed, "a.b a/b", "a ab a.b.c"},
		{"a/+", keyed, "a.b a. a/b", "a a.b.c"},
		{"a/#", keyed, "a a.b.c", "b"},
		{"#", keyed, "a.b *.#", "$SYS.a"},
		{"$SYS/#", keyed, "$SYS.a $SYS", "$SYSTEM"},
		{"v1.0/x", keyed, "", "v1.0.x v1/0/x v1.0/x"}, // reaches MQTT as v1/0/x
		{"a/%c/x", keyed, "a.c1.x", "a.c2.x"},

		{"orders/#", named, "orders orders.eu orders/eu orders.eu.x", "order ordersx"},
		{"orders.eu", named, "orders.eu", "orders/eu orders"},
		{"orders/+", named, "orders.eu", "orders orders.eu.x"},
		{"%u/#", named, "alice alice.x", "bob.x"},
		{"amq/+", named, "amq.gen-xyz amq.topic", "amq.a.b"},

		{"cmd/#", folded, "cmd.reboot cmd/reboot cmd", "cmdx"},
		{"v1.0/x", folded, "v1.0/x v1/0/x v1.0.x", "v10/x"},
		{"a/+", folded, "a.b a/b", "a.b.c"},
	} {
		p, err := compilePattern(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		for _, a := range strings.Fields(c.yes) {
			if !p.matches([]byte(a), me, c.v) {
				t.Errorf("view %d: %q does not match %q", c.v, c.pattern, a)
			}
		}
		for _, a := range strings.Fields(c.not) {
			if p.matches([]byte(a), me, c.v) {
				t.Errorf("view %d: %q matches %q", c.v, c.pattern, a)
			}
		}
		if p.matches(nil, me, c.v) != (c.pattern == "#") {
			t.Errorf("view %d: %q and the empty address", c.v, c.pattern)
		}
	}
}

// hostile values for %c and %u. None may act as a pattern, add a level, be
// expanded again, or be read by a regular expression or a shell.
var hostile = []string{
	"", "#", "+", "+/#", "a/b", "/", "//", "../", "..", ".", ".*", "a.b", "*", "$SYS", "$", "\n", "a\nb",
	"%u", "%c", "%c%u", "%%c", "%", "^a$", "(a|b)", "[ab]", "a|b", `\`, `\d`, "-", "\x00", "a\x00", "\xff", "é", "a ",
}

func TestHostileValues(t *testing.T) {
	whole, err := compilePattern("dev/%c/%u/x")
	if err != nil {
		t.Fatal(err)
	}
	inner, _ := compilePattern("dev-%c-%u/x")
	first, _ := compilePattern("%c/x")
	for _, client := range hostile {
		for _, name := range hostile {
			id := &core.Identity{User: name, ClientID: client}
			usable := !strings.ContainsAny(client+name, "/\x00") && client != "" && name != ""
			for _, p := range []struct {
				p    *pattern
				text string
			}{{whole, "dev/" + client + "/" + name + "/x"}, {inner, "dev-" + client + "-" + name + "/x"}} {
				if got := p.p.matches([]byte(p.text), id, exact); got != usable {
					t.Errorf("client %q user %q: %q: %v, want %v", client, name, p.text, got, usable)
				}
				// Nothing but its own text matches, whatever the values are.
				for _, a := range []string{
					"dev/a/b/x", "dev/a/x", "dev/x", "dev", "dev//x", "dev///x", "dev/victim/alice/x", "dev/a/b/c/x",
					"dev/%c/%u/x", "dev/../../x", "dev-a-b/x", "dev-/x", "dev--/x", "dev-a/b/x", "$SYS/x", "a/b/x",
				} {
					if p.p.matches([]byte(a), id, exact) && a != p.text {
						t.Errorf("client %q user %q: matches %q", client, name, a)
					}
				}
				l, ok := p.p.fill(id, core.SyntaxMQTT, nil)
				if ok != usable {
					t.Errorf("client %q user %q: fill reports %v", client, name, !usable)
				}
				if usable && l.overlaps([]byte("dev/victim/+/x"), core.SyntaxMQTT) && client != "victim" {
					t.Errorf("client %q user %q: overlaps a filter of somebody else", client, name)
				}
			}
			if first.matches([]byte("$SYS/x"), id, exact) {
				t.Errorf("client %q opens $SYS", client)
			}
		}
	}
}

// A deny takes the value for the text it is, so that nobody gets out of it by
// the choice of a name.
func TestHostileValuesInDeny(t *testing.T) {
	p, _ := compilePattern("inbox/%c/#")
	for _, client := range hostile {
		if client == "" {
			continue
		}
		id := &core.Identity{ClientID: client}
		for _, a := range []string{"inbox/" + client, "inbox/" + client + "/x"} {
			if !p.refuses([]byte(a), id, exact) {
				t.Errorf("client %q: %q is not refused", client, a)
			}
		}
		for _, a := range []string{"inbox/other", "inbox", "inbox/", "other"} {
			if p.refuses([]byte(a), id, exact) && client != "/" && client != "." && client != "//" {
				t.Errorf("client %q: %q is refused", client, a)
			}
		}
	}
}

func TestAnonymousHasNoUserName(t *testing.T) {
	p, _ := compilePattern("home/%u/x")
	id := &core.Identity{User: "alice", Anonymous: true}
	for _, a := range []string{"home/alice/x", "home//x"} {
		if p.matches([]byte(a), id, exact) {
			t.Errorf("matches %q", a)
		}
	}
}

// naive answers as the package doc says it, by a regular expression. Bytes
// become runes first, because a value need not be UTF-8.
func naive(text, address string, id *core.Identity, v view) bool {
	values := []string{"%c", id.ClientID, "%u", id.User}
	separators := "/"
	if v != exact {
		separators = "/."
	}
	if v != folded {
		for i := 0; i < len(values); i += 2 {
			value := values[i+1]
			if strings.Contains(text, values[i]) && (value == "" || strings.ContainsAny(value, separators+"\x00")) {
				return false
			}
		}
	}
	if address == "" {
		return text == "#"
	}
	if address[0] == '$' && text[0] != '$' && !(v == folded && strings.HasPrefix(text, "%") && len(text) > 1 && strings.Contains("cu", text[1:2])) {
		return false
	}
	fold := func(s string) string { return strings.ReplaceAll(s, ".", "/") }
	if v == keyed || v == folded {
		address = fold(address)
	}
	var re strings.Builder
	re.WriteString(`(?s)^`)
	if text == "#" {
		return true
	}
	text, tail := strings.CutSuffix(text, "/#")
	for i, level := range strings.Split(text, "/") {
		if i > 0 && v == named {
			re.WriteString(`[/.]`)
		} else if i > 0 {
			re.WriteString(`/`)
		}
		switch {
		case level == "+" && v == named:
			re.WriteString(`[^/.]*`)
		case level == "+":
			re.WriteString(`[^/]*`)
		default:
			level = strings.NewReplacer(values...).Replace(level)
			if v == folded {
				level = fold(level)
			}
			re.WriteString(regexp.QuoteMeta(latin1(level)))
		}
	}
	switch {
	case tail && v == named:
		re.WriteString(`([/.].*)?`)
	case tail:
		re.WriteString(`(/.*)?`)
	}
	re.WriteString(`$`)
	return regexp.MustCompile(re.String()).MatchString(latin1(address))
}

func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func compare(t *testing.T, text, address string, id *core.Identity) {
	p, err := compilePattern(text)
	if err != nil {
		return
	}
	for v := exact; v <= folded; v++ {
		got, want := p.matches([]byte(address), id, v), naive(text, address, id, v)
		if got != want {
			t.Errorf("view %d, client %q, user %q: %q and %q: %v, naive %v", v, id.ClientID, id.User, text, address, got, want)
		}
		if v == folded {
			continue
		}
		want = want || naive(text, address, id, folded)
		if got := p.refuses([]byte(address), id, v); got != want {
			t.Errorf("view %d, client %q, user %q: %q refuses %q: %v, naive %v", v, id.ClientID, id.User, text, address, got, want)
		}
	}
}

// some strings that are likely to meet.
func anyOf(rng *rand.Rand, pieces []string, most int) string {
	var b strings.Builder
	for range rng.IntN(most + 1) {
		b.WriteString(pieces[rng.IntN(len(pieces))])
	}
	return b.String()
}

func TestMatchesLikeNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var (
		inPattern = []string{"a", "b", "a.b", "/", "/", "+", "/#", "#", "$", "%c", "%u", ".", "%"}
		inAddress = []string{"a", "b", "/", "/", ".", "+", "#", "$", "ab", "%", "\x00"}
		inValue   = []string{"a", "b", "/", ".", "+", "#", "$", "%c", "%u", "\x00", "ab"}
	)
	compiled := 0
	for range 60_000 {
		text := anyOf(rng, inPattern, 6)
		if _, err := compilePattern(text); err == nil {
			compiled++
		}
		compare(t, text, anyOf(rng, inAddress, 7),
			&core.Identity{ClientID: anyOf(rng, inValue, 2), User: anyOf(rng, inValue, 2)})
		if t.Failed() {
			return
		}
	}
	if compiled < 20_000 {
		t.Errorf("only %d of the patterns were legal", compiled)
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("a/+/dev-%c/#", "a/b/dev-c1/x", "c1", "alice")
	f.Add("%u/%c", "a.b/$", "$", "a.b")
	f.Add("$SYS/#", "$SYS.x", "#", "+")
	f.Fuzz(func(t *testing.T, text, address, client, user string) {
		compare(t, text, address, &core.Identity{ClientID: client, User: user})
	})
}
