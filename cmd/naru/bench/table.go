package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A Table is rows under a header, for a terminal.
type Table struct {
	Header []string
	Rows   [][]string
}

// String aligns the columns.
func (t Table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a Builder does not fail
	return b.String()
}

// List is every result in a row of its own.
func List(results []Result) Table {
	t := Table{Header: []string{"scenario", "target", "cost", "unit", "per second", "p50", "p99", "acked p50", "p99", "RSS MiB", "lost", "dup", "own us"}}
	for _, r := range results {
		cost, unit := r.Cost()
		t.Rows = append(t.Rows, []string{
			r.Label, r.Target, number(cost), unit, number(r.PerSecond), delay(r), delay99(r), took(r.ConfirmP50), took(r.ConfirmP99),
			fmt.Sprintf("%d>%d", r.RSSBefore>>20, r.RSSAfter>>20),
			fmt.Sprint(r.Lost), fmt.Sprint(r.Duplicates), number(r.OwnCPU),
		})
	}
	return t
}

// Compare puts the target of the first result, ours, beside each other one.
// The ratios are ours to theirs: below 1 is better for the cost and worse for
// the rate. Several results of one scenario on one target count by the one of
// median cost.
func Compare(results []Result) Table {
	t := Table{Header: []string{"scenario", "peer", "unit", "ours", "theirs", "ratio", "ours/s", "theirs/s", "ratio", "p99 ours", "theirs"}}
	if len(results) == 0 {
		return t
	}
	ours := results[0].Target
	for _, label := range names(results, func(r Result) string { return r.Label }) {
		mine, ok := median(results, label, ours)
		if !ok {
			continue
		}
		for _, peer := range names(results, func(r Result) string { return r.Target }) {
			theirs, ok := median(results, label, peer)
			if !ok || peer == ours {
				continue
			}
			cost, unit := mine.Cost()
			peerCost, _ := theirs.Cost()
			t.Rows = append(t.Rows, []string{
				label, peer, unit, number(cost), number(peerCost), ratio(cost, peerCost),
				number(mine.PerSecond), number(theirs.PerSecond), ratio(mine.PerSecond, theirs.PerSecond),
				delay99(mine), delay99(theirs),
			})
		}
	}
	return t
}

// names lists the different values of a field, in order of appearance.
func names(results []Result, field func(Result) string) (all []string) {
	for _, r := range results {
		if name := field(r); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// median is the result of median cost for one scenario on one target.
func median(results []Result, label, target string) (Result, bool) {
	var same []Result
	for _, r := range results {
		if r.Label == label && r.Target == target {
			same = append(same, r)
		}
	}
	if len(same) == 0 {
		return Result{}, false
	}
	slices.SortStableFunc(same, func(a, b Result) int {
		x, _ := a.Cost()
		y, _ := b.Cost()
		return cmp.Compare(x, y)
	})
	return same[len(same)/2], true
}

// number has three digits or more; what is not known is a dash.
func number(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 0.1 && v > -0.1:
		return fmt.Sprintf("%.3f", v)
	case v < 100 && v > -100:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return number(a / b)
}

func delay(r Result) string   { return took(r.P50) }
func delay99(r Result) string { return took(r.P99) }

func took(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return short(d).String()
}
