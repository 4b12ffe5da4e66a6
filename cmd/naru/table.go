package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/rivo/uniseg"
)

// A table shows rows of one type in columns.
type table[T any] struct {
	columns []column[T]
	limit   int  // widest cell, 0: any
	inOrder bool // rows come in an order that says something
}

type column[T any] struct {
	head  string
	cell  func(T) string
	right bool
}

// sortedRows is how many rows are gathered to be sorted and to find the width of
// the columns. A longer list comes as it comes.
const sortedRows = 10_000

// write shows the rows, as JSON objects come.
func (tb *table[T]) write(w io.Writer, rows iter.Seq2[json.RawMessage, error]) error {
	out := bufio.NewWriter(w)
	var page [][]string
	pages, broke := 0, error(nil)
	for raw, err := range rows {
		var row T
		if err == nil {
			err = json.Unmarshal(raw, &row)
		}
		if broke = err; err != nil {
			break
		}
		cells := make([]string, len(tb.columns))
		for i, c := range tb.columns {
			cells[i] = tb.clip(printable(c.cell(row)))
		}
		if page = append(page, cells); len(page) == sortedRows {
			tb.page(out, page, pages == 0)
			pages++
			page = page[:0]
		}
	}
	if pages == 0 && !tb.inOrder {
		slices.SortStableFunc(page, slices.Compare)
	}
	if broke == nil || len(page) > 0 {
		tb.page(out, page, pages == 0)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return broke
}

// clip keeps a cell from taking the whole terminal.
func (tb *table[T]) clip(s string) string {
	if tb.limit == 0 || uniseg.StringWidth(s) <= tb.limit {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && uniseg.StringWidth(string(r)) > tb.limit-1 {
		r = r[:min(len(r)-1, tb.limit)]
	}
	return string(r) + "…"
}

// page writes rows under a heading.
func (tb *table[T]) page(out *bufio.Writer, rows [][]string, heading bool) {
	width := make([]int, len(tb.columns))
	if heading {
		var head []string
		for _, c := range tb.columns {
			head = append(head, c.head)
		}
		rows = append([][]string{head}, rows...)
	}
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], uniseg.StringWidth(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-uniseg.StringWidth(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if tb.columns[i].right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// writeArray writes the rows as one JSON array, an object on a line.
func writeArray(w io.Writer, rows iter.Seq2[json.RawMessage, error]) error {
	out := bufio.NewWriter(w)
	n := 0
	for raw, err := range rows {
		if err != nil {
			out.Flush()
			return err // what was written is no JSON, so that nobody takes it for all
		}
		sep := ",\n"
		if n++; n == 1 {
			sep = "[\n"
		}
		out.WriteString(sep)
		out.Write(safeJSON(bytes.TrimSpace(raw)))
	}
	if n == 0 {
		out.WriteByte('[')
	}
	out.WriteString("\n]\n")
	return out.Flush()
}

// moment renders a time for people.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// dash stands for nothing.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
