package powercut

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

const cutsOfLife = 10 // cuts in one life of a broker

// Number reads a number from the environment.
func Number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Lives runs lives of a broker, in parallel, until there were enough cuts, or
// one has failed. TEST_CUTS is the number of cuts; TEST_SEED repeats the choices
// of one life, though not the moments at which goroutines run.
func Lives(t *testing.T, life func(t *testing.T, seed uint64, cuts int)) {
	if os.Getenv("TEST_SEED") != "" {
		life(t, Number(t, "TEST_SEED", 0), cutsOfLife)
		return
	}
	cuts := 100
	if testing.Short() {
		cuts = 30
	}
	cuts = int(Number(t, "TEST_CUTS", uint64(cuts)))
	for seed := 0; cuts > 0; seed++ {
		n := min(cuts, cutsOfLife)
		cuts -= n
		t.Run(fmt.Sprint(seed), func(one *testing.T) {
			one.Parallel()
			if t.Failed() {
				one.Skip("one failure is enough")
			}
			life(one, uint64(seed), n)
		})
	}
}
