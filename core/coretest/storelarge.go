package coretest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/narumq/naru/core"
)

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

func testBigValue(t *testing.T, s core.Shard) {
	big := noise(10<<20, 1)
	done := make(chan error, 4)
	for i := range 4 {
		b := s.NewBatch()
		if i == 1 {
			b.Set([]byte("big"), big)
		} else {
			b.Set(fmt.Appendf(nil, "small%d", i), nil)
		}
		s.Commit(b, func(err error) { done <- err })
	}
	for range 4 {
		await(t, done)
	}
	if v := get(t, s, "big"); !bytes.Equal(v, big) {
		t.Errorf("a value of %d bytes came back different (%d)", len(big), len(v))
	}
	write(t, s, func(b core.Batch) { b.Delete([]byte("big")) })
	if got := keys(scan(t, s, "a", "z")); got != "small0 small2 small3" {
		t.Errorf("there is %q", got)
	}
}

func testBigBatch(t *testing.T, s core.Shard) {
	const n, size = 80, 256 << 10 // 20 MiB
	write(t, s, func(b core.Batch) {
		for i := range n {
			b.Set([]byte{'y', byte(i)}, noise(size, uint64(i)))
		}
	})
	i := 0
	err := s.Scan([]byte("y"), []byte("z"), func(k, v []byte) bool {
		if k[1] != byte(i) || !bytes.Equal(v, noise(size, uint64(i))) {
			t.Errorf("chunk %d: key %q, %d bytes", i, k, len(v))
		}
		i++
		return true
	})
	if err != nil || i != n {
		t.Errorf("%d of %d chunks: %v", i, n, err)
	}
	write(t, s, func(b core.Batch) { b.DeleteRange([]byte("y"), []byte("z")) })
	if ps := scan(t, s, "a", "z"); ps != nil {
		t.Errorf("%d keys are left", len(ps))
	}
}

func testManySmall(t *testing.T, s core.Shard) {
	const n = 20_000
	var called atomic.Int64
	last := make(chan error, 1)
	for i := range n {
		b := s.NewBatch()
		b.Set(binary.BigEndian.AppendUint64([]byte("m"), uint64(i)), []byte("x"))
		s.Commit(b, func(err error) {
			if called.Add(1) == n {
				last <- err
			}
		})
		if p := s.Pending(); p < 0 {
			t.Fatalf("Pending is %d", p)
		}
	}
	await(t, last)
	if got := len(scan(t, s, "m", "n")); got != n {
		t.Errorf("%d of %d", got, n)
	}
}

func testClosed(t *testing.T, open func(t *testing.T) (core.Shard, func())) {
	s, closeStore := open(t)
	defer closeStore()
	const n = 500
	var called atomic.Int64
	for i := range n {
		b := s.NewBatch()
		b.Set(fmt.Appendf(nil, "%d", i), nil)
		s.Commit(b, func(err error) {
			if err == nil {
				called.Add(1)
			}
		})
	}
	closeStore()
	if got := called.Load(); got != n {
		t.Errorf("close did not wait: %d of %d dones were called", got, n)
	}
	closeStore()

	got := make(chan error, 1)
	s.Commit(s.NewBatch(), func(err error) { got <- err })
	select {
	case err := <-got:
		if err == nil {
			t.Error("a commit to a closed store succeeded")
		}
	case <-time.After(patience):
		t.Error("a commit to a closed store never hears")
	}
	s.Commit(s.NewBatch(), nil)
	if _, err := s.Get([]byte("0"), func([]byte) {}); err == nil {
		t.Error("a closed store answers Get")
	}
	if err := s.Scan(nil, []byte("\xff"), func(_, _ []byte) bool { return true }); err == nil {
		t.Error("a closed store answers Scan")
	}
}
