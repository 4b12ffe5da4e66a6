package topic

import (
	"fmt"
	"strings"
	"testing"
)

// matches asks the trie and the model, which must agree.
func matches(t *testing.T, filter, address string, y Syntax) bool {
	t.Helper()
	want := naiveMatch(filter, address, y)
	trie := New[int](y)
	trie.Put(filter)
	calls := 0
	trie.Match([]byte(address), func(*int) { calls++ })
	if (calls == 1) != want || calls > 1 {
		t.Errorf("Trie with %q called %d times for %q, the model says %v", filter, calls, address, want)
	}
	return want
}

func TestMatch(t *testing.T) {
	tests := []struct {
		y       Syntax
		filter  string
		matches []string
		others  []string
	}{
		{MQTT, "a/b", []string{"a/b"}, []string{"a", "a/b/", "/a/b", "a/b/c", "A/b", "ab"}},
		{MQTT, "#", []string{"a", "a/b", "/", "/a", "a/", "+"}, []string{"$", "$SYS", "$SYS/a"}},
		{MQTT, "+", []string{"a", "+"}, []string{"/", "a/b", "/a", "$SYS"}},
		{MQTT, "+/+", []string{"/", "/a", "a/", "a/b"}, []string{"a", "a/b/c", "$SYS/b"}},
		{MQTT, "/+", []string{"/a", "/"}, []string{"a", "a/b", "//"}},
		{MQTT, "/#", []string{"/", "/a", "//"}, []string{"a", "a/"}},
		{MQTT, "a/#", []string{"a", "a/", "a/b", "a/b/c", "a//", "a/$x"}, []string{"ab", "b/a", "/a", ""}},
		{MQTT, "+/#", []string{"a", "a/b", "/"}, []string{"$SYS", "$SYS/a"}},
		{MQTT, "a/+/c", []string{"a/b/c", "a//c", "a/$/c"}, []string{"a/c", "a/b/b/c", "a/b/c/"}},
		{MQTT, "a/+/#", []string{"a/b", "a/b/c", "a/"}, []string{"a"}},
		{MQTT, "a//+", []string{"a//b", "a//"}, []string{"a/b", "a/x/b"}},
		{MQTT, "+/", []string{"a/", "/"}, []string{"a", "a/b"}},
		{MQTT, "$SYS/#", []string{"$SYS", "$SYS/a"}, []string{"SYS/a", "$SYSa"}},
		{MQTT, "$SYS/+", []string{"$SYS/a", "$SYS/"}, []string{"$SYS", "a/b"}},
		{MQTT, "$+/a", []string{"$+/a"}, []string{"$x/a"}},
		{MQTT, "+/$SYS", []string{"a/$SYS"}, []string{"$SYS", "$SYS/$SYS"}},
		// What the adapter refuses is a literal here.
		{MQTT, "a/#/b", []string{"a/#/b"}, []string{"a/b", "a/x/b"}},
		{MQTT, "a+/#", []string{"a+", "a+/b"}, []string{"ab"}},
		{MQTT, "a.*", []string{"a.*"}, []string{"a.b"}},

		{AMQP, "", []string{""}, []string{".", "a"}},
		{AMQP, ".", []string{"."}, []string{"", "a", "..", "a."}},
		{AMQP, "#", []string{"", ".", "a", "a.b"}, []string{"$SYS", "$SYS.a"}},
		{AMQP, "*", []string{"a", "*", "#"}, []string{"", ".", "a.b", "$SYS"}},
		{AMQP, "*.*", []string{".", "a.", ".a", "a.b"}, []string{"", "a", ".."}},
		{AMQP, "a.#", []string{"a", "a.", "a.b", "a.b.c"}, []string{"", "b", "b.a", ".a"}},
		{AMQP, "#.a", []string{"a", ".a", "b.a", "a.a", "b.c.a"}, []string{"", "a.", "a.b", "$SYS.a"}},
		{AMQP, "#.#", []string{"", "a", "a.b"}, []string{"$SYS"}},
		{AMQP, "#.*", []string{"a", "a.b", "."}, []string{""}},
		{AMQP, "*.#", []string{"a", "a.b", "."}, []string{""}},
		{AMQP, "*.#.*", []string{".", "a.b", "a.b.c"}, []string{"", "a"}},
		{AMQP, "a.#.b", []string{"a.b", "a.x.b", "a..b", "a.b.b"}, []string{"a", "b", "ab", "a.b.c"}},
		{AMQP, "a.#.#.b", []string{"a.b", "a.x.b", "a.x.y.b"}, []string{"a", "b"}},
		{AMQP, "#.a.#", []string{"a", "a.b", "b.a", "a.a", "b.a.c"}, []string{"", "b"}},
		{AMQP, "#.a.#.b.#", []string{"a.b", "x.a.y.b.z", "b.a.b"}, []string{"b.a", "a", ""}},
		{AMQP, "#.a.b", []string{"a.b", "a.a.b", "a.b.a.b"}, []string{"a.b.a", "b"}},
		{AMQP, "#.", []string{".", "a.", "a.b."}, []string{"", "a", ".a"}},
		{AMQP, ".#", []string{".", ".a", ".."}, []string{"", "a", "a."}},
		{AMQP, "#.$SYS", []string{"a.$SYS"}, []string{"$SYS", "$SYS.$SYS"}},
		{AMQP, "$SYS.#.a", []string{"$SYS.a", "$SYS.b.a"}, []string{"a", "$SYS"}},
		{AMQP, "a*.#b", []string{"a*.#b"}, []string{"ab.b"}},
		{AMQP, "a/+", []string{"a/+"}, []string{"a/b"}},
		{AMQP, "lazy.#", []string{"lazy.orange.new.rabbit"}, []string{"quick.orange.rabbit"}},
	}
	for _, test := range tests {
		for _, address := range test.matches {
			if !matches(t, test.filter, address, test.y) {
				t.Errorf("%q does not match %q", test.filter, address)
			}
		}
		for _, address := range test.others {
			if matches(t, test.filter, address, test.y) {
				t.Errorf("%q matches %q", test.filter, address)
			}
		}
	}
}

// A leaf behind a multi wildcard can be reached in many ways and is called
// once all the same.
func TestMatchCallsEachLeafOnce(t *testing.T) {
	trie := New[string](AMQP)
	for _, f := range []string{"#", "#.a", "#.a.#", "#.#.a", "*.#.a", "#.*.a", "a.#.a.#", "#.a.#.a.#", "a.a.a", "*.*.*", "b.#"} {
		*trie.Put(f) = f
	}
	calls := map[string]int{}
	trie.Match([]byte("a.a.a"), func(f *string) { calls[*f]++ })
	if len(calls) != 10 {
		t.Errorf("called %d leaves, want 10: %v", len(calls), calls)
	}
	for f, n := range calls {
		if n != 1 {
			t.Errorf("%q called %d times", f, n)
		}
	}
}

// Nodes with many children, and addresses too long for the sets on the stack.
func TestMatchLarge(t *testing.T) {
	trie := New[int](AMQP)
	for i := range 100 {
		*trie.Put(fmt.Sprintf("#.w%d.#.end", i)) = i
	}
	for _, fill := range []int{1, 50, 500} {
		address := strings.Repeat("w7.x.w9.w7.", fill) + "end"
		got := map[int]int{}
		trie.Match([]byte(address), func(i *int) { got[*i]++ })
		if len(got) != 2 || got[7] != 1 || got[9] != 1 {
			t.Errorf("%d words: leaves and calls %v, want 7 and 9, once", 4*fill+1, got)
		}
	}
}

// Must end at once; with naive backtracking it would not end in our lifetime.
func TestMatchAttack(t *testing.T) {
	as := strings.TrimSuffix(strings.Repeat("a.", 127), ".")
	for _, filter := range []string{
		strings.Repeat("#.a.", 62) + "#.b",
		strings.Repeat("#.a.", 62) + "b",
		strings.Repeat("#.*.", 62) + "b",
		strings.Repeat("#.", 126) + "b",
		"#." + strings.Repeat("a.", 63) + "b",
		"#." + strings.Repeat("*.", 63) + "#.b",
	} {
		if matches(t, filter, as, AMQP) {
			t.Errorf("%q matches", filter)
		}
		if !matches(t, filter, as+".b", AMQP) {
			t.Errorf("%q does not match", filter)
		}
	}
}

// The deepest filter a client can write.
func TestMatchDeep(t *testing.T) {
	filter, address := strings.Repeat("+/", maxMQTT/2)+"#", []byte(strings.Repeat("/", maxMQTT))
	trie, calls := New[string](MQTT), 0
	trie.Put(filter)
	trie.Match(address, func(*string) { calls++ })
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	trie.Walk(func(f string, _ *string) bool {
		if f != filter {
			t.Error("Walk gives another filter")
		}
		return true
	})
	trie.Delete(filter)
	checkEmpty(t, trie)
}

func TestMatchDoesNotAllocate(t *testing.T) {
	mqtt, amqp := New[int](MQTT), New[int](AMQP)
	for i := range 100 {
		mqtt.Put(fmt.Sprintf("site/%d/+/temp", i))
		mqtt.Put(fmt.Sprintf("site/%d/kitchen/temp", i))
		amqp.Put(fmt.Sprintf("#.%d.*.temp.#", i))
		amqp.Put(fmt.Sprintf("site.%d.#", i))
		amqp.Put(fmt.Sprintf("site.%d.kitchen.temp", i))
	}
	mqtt.Put("#")
	mqtt.Put("$SYS/#")
	amqp.Put("site.#.temp")
	tests := []struct {
		trie    *Trie[int]
		address string
		want    int
	}{
		{mqtt, "site/42/kitchen/temp", 3},
		{mqtt, "$SYS/load", 1},
		{mqtt, strings.Repeat("a/", 1000), 1},
		{amqp, "site.42.kitchen.temp", 4},
		{amqp, "site.42" + strings.Repeat(".42", 79) + ".temp.final", 2},
	}
	for _, test := range tests {
		address, n := []byte(test.address), 0
		allocs := testing.AllocsPerRun(10, func() {
			n = 0
			test.trie.Match(address, func(*int) { n++ })
		})
		if allocs != 0 || n != test.want {
			t.Errorf("%.30q: %v allocations, %d leaves, want 0 and %d", test.address, allocs, n, test.want)
		}
	}
	if n := len(tests[4].address); n != 255 {
		t.Errorf("the long key has %d bytes, want the 255 that AMQP can carry", n)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a/+\n#\n+/b\n$x/#", []byte("a/b"), false)
	f.Add("a.#\n#.a.#\n*.b\n#.#.b\n.\n", []byte("a.b.a"), true)
	f.Add("#.a.#.a\n#.$x", []byte("$x.a..a"), true)
	f.Add("a/#/b\na+", []byte("a/#/b"), false)
	f.Fuzz(func(t *testing.T, lines string, address []byte, amqp bool) {
		if len(lines) > 2000 || len(address) > 500 {
			return
		}
		y := MQTT
		if amqp {
			y = AMQP
		}
		filters := strings.Split(lines, "\n")
		trie, model := New[string](y), map[string]bool{}
		for _, filter := range filters {
			*trie.Put(filter) = filter
			model[filter] = true
		}
		compare(t, trie, model, string(address))

		for i, filter := range filters {
			if i%2 == 0 {
				trie.Delete(filter)
				delete(model, filter)
			}
		}
		compare(t, trie, model, string(address))
		for _, filter := range filters {
			trie.Delete(filter)
		}
		checkEmpty(t, trie)
	})
}

// compare holds everything a trie says against the filters in the model.
func compare(t *testing.T, trie *Trie[string], model map[string]bool, address string) {
	t.Helper()
	calls := map[string]int{}
	trie.Match([]byte(address), func(f *string) { calls[*f]++ })
	for filter := range model {
		want := 0
		if naiveMatch(filter, address, trie.syntax) {
			want = 1
		}
		if calls[filter] != want {
			t.Fatalf("address %q, filter %q: %d calls, want %d", address, filter, calls[filter], want)
		}
		delete(calls, filter)
	}
	if len(calls) > 0 {
		t.Fatalf("address %q: calls for %v, which are not there", address, calls)
	}
	if trie.Len() != len(model) {
		t.Fatalf("Len is %d, want %d", trie.Len(), len(model))
	}
}

func checkEmpty(t *testing.T, trie *Trie[string]) {
	t.Helper()
	if trie.Len() != 0 || trie.exact != nil || trie.wild != 0 || trie.inner != 0 || trie.root.size() != 0 {
		t.Fatalf("not empty: %d filters, %d wild, %d inner, root %d", trie.Len(), trie.wild, trie.inner, trie.root.size())
	}
}
