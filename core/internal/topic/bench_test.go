package topic

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func benchMatch(b *testing.B, trie *Trie[int], address string, want int) {
	b.Helper()
	topic, n := []byte(address), 0
	trie.Match(topic, func(*int) { n++ })
	if n != want {
		b.Fatalf("%d leaves, want %d", n, want)
	}
	b.ReportAllocs()
	for b.Loop() {
		trie.Match(topic, func(*int) { n++ })
	}
}

func BenchmarkMatchExact(b *testing.B) {
	trie := New[int](MQTT)
	for i := range 100_000 {
		trie.Put(fmt.Sprintf("site/%d/kitchen/temp", i))
	}
	benchMatch(b, trie, "site/54321/kitchen/temp", 1)
}

func BenchmarkMatchWild(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	trie := New[int](MQTT)
	for i := range 100_000 {
		trie.Put(fmt.Sprintf("site/%d/+/temp/#", i))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	benchMatch(b, trie, "site/54321/kitchen/temp/max", 1)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/100_000, "heapB/filter")
}

func BenchmarkMatchOverlapping(b *testing.B) {
	trie := New[int](MQTT)
	levels := []string{"site", "54321", "kitchen", "temp", "max", "a", "b", "c", "d", "e"}
	for i := 1; i < 1000; i++ { // every choice of single wildcards but the last
		f := ""
		for j, l := range levels {
			if i&(1<<j) != 0 {
				l = "+"
			}
			f += l + "/"
		}
		trie.Put(strings.TrimSuffix(f, "/"))
	}
	trie.Put("#")
	benchMatch(b, trie, strings.Join(levels, "/"), 1000)
}

func BenchmarkMatchDepth(b *testing.B) {
	for _, depth := range []int{8, 64, 512, 4096, 32767} {
		b.Run(fmt.Sprint(depth), func(b *testing.B) {
			trie := New[int](MQTT)
			trie.Put(strings.TrimSuffix(strings.Repeat("+/", depth), "/"))
			benchMatch(b, trie, strings.TrimSuffix(strings.Repeat("a/", depth), "/"), 1)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(depth), "ns/level")
		})
	}
}

func BenchmarkMatchAMQP(b *testing.B) {
	trie := New[int](AMQP)
	for i := range 10_000 {
		trie.Put(fmt.Sprintf("stock.*.n%d", i))
		trie.Put(fmt.Sprintf("log.%d.#", i))
	}
	b.Run("usual", func(b *testing.B) { benchMatch(b, trie, "log.4321.kern.critical", 1) })
	for i := range 10_000 {
		trie.Put(fmt.Sprintf("#.n%d.*", i))
	}
	b.Run("inner", func(b *testing.B) { benchMatch(b, trie, "log.4321.n77.critical", 2) })
}

// Filters and addresses made to backtrack, up to 255 bytes of each, the most
// AMQP can carry. Twice the length is four times the work, not its square.
func BenchmarkMatchAttack(b *testing.B) {
	for _, n := range []int{31, 62, 124} {
		attack := func(name, filter string) { benchAttack(b, fmt.Sprint(name, "/", n), filter, n) }
		attack("inner", strings.Repeat("#.a.", n/2)+"b")
		attack("needle", "#."+strings.Repeat("a.", n/2)+"b")
	}
}

func benchAttack(b *testing.B, name, filter string, n int) {
	address := strings.TrimSuffix(strings.Repeat("a.", n), ".")
	b.Run(name+"/trie", func(b *testing.B) {
		trie := New[int](AMQP)
		trie.Put(filter)
		benchMatch(b, trie, address, 0)
	})
}

func BenchmarkPutDelete(b *testing.B) {
	trie := New[int](MQTT)
	for i := range 100_000 {
		trie.Put(fmt.Sprintf("site/%d/+/temp/#", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		trie.Put("site/x/+/temp/#")
		trie.Delete("site/x/+/temp/#")
	}
}

func BenchmarkValid(b *testing.B) {
	for name, s := range map[string]string{
		"ascii24":  "site/54321/kitchen/temp1",
		"ascii200": strings.Repeat("site/54321/kitchen/temp1/", 8),
		"unicode":  "site/54321/Küche/température",
	} {
		topic := []byte(s)
		b.Run("topic/"+name, func(b *testing.B) {
			for b.Loop() {
				ValidMQTTTopic(topic)
			}
		})
		b.Run("filter/"+name, func(b *testing.B) {
			for b.Loop() {
				ValidMQTTFilter(topic)
			}
		})
	}
}
