package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestMatchFilterModel(t *testing.T) {
	for _, y := range []Syntax{MQTT, AMQP} {
		levels := []string{"a", "b", "", "$x", string(y.One), string(y.Many)}
		for seed := range uint64(3) {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 20000 {
				filter, address := randomOf(r, levels, y), randomOf(r, levels, y)
				want := naiveMatch(filter, address, y)
				if got := MatchFilter(filter, []byte(address), y); got != want {
					t.Fatalf("seed %d: MatchFilter(%q, %q) = %v", seed, filter, address, got)
				}
			}
		}
	}
}

func TestOverlap(t *testing.T) {
	tests := []struct {
		y    Syntax
		a, b string
		want bool
	}{
		{MQTT, "a/b", "a/b", true},
		{MQTT, "a/b", "a/c", false},
		{MQTT, "a/+", "+/b", true},
		{MQTT, "a/+", "b/#", false},
		{MQTT, "a/#", "a", true},
		{MQTT, "a/#", "a/b/c", true},
		{MQTT, "+", "a/b", false},
		{MQTT, "#", "$SYS/a", false},
		{MQTT, "+/a", "$SYS/a", false},
		{MQTT, "$SYS/#", "$SYS/+", true},
		{MQTT, "$SYS/#", "#", false},
		{MQTT, "/#", "+", false}, // could share only the empty topic
		{MQTT, "/#", "+/+", true},
		{AMQP, "#.a", "b.#", true},
		{AMQP, "#.a", "#.b", false},
		{AMQP, "a.#", "b.#", false},
		{AMQP, "a.#.b", "a.b", true},
		{AMQP, "a.#.b", "*.*.*", true},
		{AMQP, "a.#.b", "*", false},
		{AMQP, "a.*.#.b", "a.b", false},
		{AMQP, "#", "", true},
		{AMQP, "*", "", false},
		{AMQP, "#.$x", "*", false}, // could share only $x
		{AMQP, "#.$x", "*.*", true},
		{AMQP, "#.", "*", false}, // could share only one empty word
		{AMQP, "#.a.#.a.#.b", "a.a.a.a.*", true},
	}
	for _, test := range tests {
		if got := Overlap(test.a, test.b, test.y); got != test.want {
			t.Errorf("Overlap(%q, %q) = %v", test.a, test.b, got)
		}
		if got := Overlap(test.b, test.a, test.y); got != test.want {
			t.Errorf("Overlap(%q, %q) = %v", test.b, test.a, got)
		}
	}
}

// All pairs of filters of up to three levels. If two of them overlap, they do
// so at one of the addresses of up to six levels.
func TestOverlapExhaustive(t *testing.T) {
	for _, y := range []Syntax{MQTT, AMQP} {
		wildcards := []string{"a", "$x", "", string(y.One), string(y.Many)}
		filters, addresses := all(wildcards, 3, y), all([]string{"a", "$x", "", "z"}, 6, y)
		if y == MQTT {
			filters = slices.DeleteFunc(filters, func(f string) bool { return !ValidMQTTFilter([]byte(f)) })
			addresses = addresses[1:] // nothing can be published to the empty one
		}
		matched := make([][]bool, len(filters))
		for i, f := range filters {
			matched[i] = make([]bool, len(addresses))
			for j, a := range addresses {
				matched[i][j] = naiveMatch(f, a, y)
			}
		}
		pairs := 0
		for i, a := range filters {
			for j, b := range filters {
				want := false
				for k := range addresses {
					want = want || matched[i][k] && matched[j][k]
				}
				if got := Overlap(a, b, y); got != want {
					t.Errorf("%c: Overlap(%q, %q) = %v", y.Separator, a, b, got)
				}
				pairs++
			}
		}
		if pairs < 5000 {
			t.Errorf("only %d pairs", pairs)
		}
	}
}

// all returns the different strings of up to n of the levels.
func all(levels []string, n int, y Syntax) []string {
	list, seen := []string{""}, map[string]bool{"": true}
	row := [][]string{nil}
	for range n {
		var next [][]string
		for _, s := range row {
			for _, l := range levels {
				longer := append(s[:len(s):len(s)], l)
				next = append(next, longer)
				if j := strings.Join(longer, string(y.Separator)); !seen[j] {
					seen[j] = true
					list = append(list, j)
				}
			}
		}
		row = next
	}
	return list
}

func TestOverlapAttack(t *testing.T) {
	a := strings.Repeat("#.a.", 60) + "b"
	b := strings.Repeat("*.", 120) + "c"
	if Overlap(a, b, AMQP) {
		t.Error("overlap")
	}
	if !Overlap(a, strings.Repeat("*.", 120)+"b", AMQP) {
		t.Error("no overlap")
	}
}

func ExampleOverlap() {
	fmt.Println(Overlap("orders/+/eu", "orders/new/#", MQTT))
	fmt.Println(Overlap("orders/+/eu", "orders/#/us", MQTT))
	// Output:
	// true
	// false
}
