package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func result(target string, kind Kind, cost, perSecond float64) Result {
	s := Defaults(kind)
	r := Result{Target: target, Scenario: s, Label: s.String(), BrokerCPU: cost, PerSecond: perSecond, P99: 1500 * time.Microsecond}
	if kind == Idle {
		r.Idle = &IdleFigures{RSSLater: cost}
	}
	return r
}

func TestCompare(t *testing.T) {
	table := Compare([]Result{
		result("naru", Pairs, 0.5, 400_000),
		result("peer", Pairs, 7, 100_000),
		result("naru", Pairs, 0.25, 800_000), // the median of three is the one of 0.5
		result("naru", Pairs, 9, 1),
		result("peer", Fanout, 8, 1), // ours did not run
		result("naru", Idle, 2, 0),
		result("peer", Idle, 1, 0),
		result("naru", Connect, 0, 100), // cost unknown
		result("peer", Connect, 20, 50),
	})
	want := []string{
		"pairs qos0 50x64 200B|peer|us/message|0.50|7.00|0.071|400000|100000|4.00|1.5ms|1.5ms",
		"idle 8000|peer|KiB/connection|2.00|1.00|2.00|-|-|-|1.5ms|1.5ms",
		"connect 5000|peer|us/connect|-|20.00|-|100|50.00|2.00|1.5ms|1.5ms",
	}
	var got []string
	for _, row := range table.Rows {
		if len(row) != len(table.Header) {
			t.Errorf("row of %d under a header of %d", len(row), len(table.Header))
		}
		got = append(got, strings.Join(row, "|"))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	lines := strings.Split(table.String(), "\n")
	if at := strings.Index(lines[0], "peer"); at < 0 || !strings.HasPrefix(lines[1][at:], "peer") {
		t.Errorf("columns are not aligned:\n%s", table)
	}
	if rows := Compare(nil).Rows; rows != nil {
		t.Errorf("nothing compares to %v", rows)
	}
}

func TestWriteJSON(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, []Result{result("naru", Idle, 2, 0)}); err != nil {
		t.Fatal(err)
	}
	var back []Result
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back) != 1 || back[0].Label != "idle 8000" || back[0].Idle.RSSLater != 2 || back[0].Scenario != Defaults(Idle) {
		t.Errorf("came back as %+v", back)
	}
}
