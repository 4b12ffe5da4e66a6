package props

import "testing"

func TestTableString(t *testing.T) {
	table := AddStr(nil, "x-match", "all")
	table = AddInt32(table, "n", -5)
	table = AddFloat64(table, "f", 1.5)
	table = AddBool(table, "b", true)
	table = AddTime(table, "t", 7)
	table = AddVoid(table, "v")
	table = AddTable(table, "table", AddStr(nil, "a", "\n"))
	table = AddArray(table, "array", PushInt64(PushStr(nil, "s"), 1))
	table = append(table, "\x01dD\x02\x00\x00\x00\x7b"...)
	const want = `x-match="all", n=-5, f=1.5, b=true, t=7, v=void, table={a="\n"}, array=["s", 1], d=123e-2`
	if got := table.String(); got != want || table.Validate() != nil {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := Table(nil).String(); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	if got := nest(MaxDepth+500, false).String(); got == "" {
		t.Error("of one that is nested too deep: nothing")
	}
}
