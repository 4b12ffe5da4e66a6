package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the reference of every key of dst: a heading and a table
// for each section, the keys outside of any section first. Like Keys it panics on
// a struct that Load refuses.
func WriteMarkdown(w io.Writer, dst any) error {
	out := bufio.NewWriter(w)
	var top []Key
	var sections [][]Key // each begins with the key of the section itself
	for _, k := range Keys(dst) {
		switch {
		case !strings.ContainsAny(k.Path, ".["):
			if strings.Contains(k.Type, "section") {
				sections = append(sections, []Key{k})
			} else {
				top = append(top, k)
			}
		default:
			last := &sections[len(sections)-1]
			*last = append(*last, k)
		}
	}
	if len(top) > 0 {
		fmt.Fprintln(out, "## Top level")
		writeTable(out, top)
	}
	for i, keys := range sections {
		if i > 0 || len(top) > 0 {
			fmt.Fprintln(out)
		}
		section := keys[0]
		fmt.Fprintf(out, "## %s\n", section.Path)
		if section.Doc != "" {
			fmt.Fprintf(out, "\n%s\n", section.Doc)
		}
		if section.Type == "section" {
			keys = keys[1:] // the heading has said it all
		}
		writeTable(out, keys)
	}
	return out.Flush()
}

func writeTable(w io.Writer, keys []Key) {
	if len(keys) == 0 {
		return
	}
	fmt.Fprintln(w, "\n| Key | Type | Default | Reload | Meaning |\n|---|---|---|---|---|")
	for _, k := range keys {
		typ := k.Type
		if k.Unit != "" && !strings.HasPrefix(typ, "size") {
			typ += " (" + k.Unit + ")"
		}
		reload := ""
		if k.Reload {
			reload = "yes"
		}
		meaning := k.Doc
		if len(k.Enum) > 0 {
			meaning += " One of `" + strings.Join(k.Enum, "`, `") + "`."
		}
		if k.Secret {
			meaning += " Secret."
		}
		dflt := ""
		if k.Default != "" {
			dflt = "`" + k.Default + "`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", cell(k.Path), cell(typ), cell(dflt), reload, cell(meaning))
	}
}

// cell keeps text from ending a table cell.
var cellReplacer = strings.NewReplacer("|", `\|`, "\n", " ")

func cell(s string) string { return cellReplacer.Replace(s) }
