package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/narumq/naru/plugins/operator"
)

// nodeFlags say which node an operator's command is for.
type nodeFlags struct {
	src    source
	socket string
	json   bool
}

func (f *nodeFlags) register(cmd *cobra.Command) {
	f.src.flags(cmd)
	cmd.Flags().StringVar(&f.socket, "socket", "", "the node's socket (default: operator.socket of the configuration)")
	cmd.SetFlagErrorFunc(wrongUsage)
}

func (f *nodeFlags) registerJSON(cmd *cobra.Command) {
	f.register(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON instead of a table")
}

// wrongUsage says what is wrong with a command line, and how it should be.
func wrongUsage(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n\n%s", cmd.CommandPath(), printable(err.Error()), cmd.UsageString())
	return &exitError{exitUsage}
}

// arguments checks how many there are. What is the name of one in the usage.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return wrongUsage(cmd, fmt.Errorf("%s is missing", what))
		case len(args) > most && most == 0:
			return wrongUsage(cmd, fmt.Errorf("%q: it takes no arguments", args[0]))
		case len(args) > most:
			return wrongUsage(cmd, fmt.Errorf("%q is one argument too many", args[most]))
		}
		return nil
	}
}

// kindMissing is for a command that has others below it: args are what was given
// instead of one of them. Options behind it are those of the one that is meant.
func kindMissing(what string, kinds ...string) func(cmd *cobra.Command, args []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return wrongUsage(cmd, fmt.Errorf("%q is none of %s", args[0], strings.Join(kinds, ", ")))
		}
		return wrongUsage(cmd, fmt.Errorf("%s what? %s; options come behind that", what, strings.Join(kinds, ", ")))
	}
}

// each does something for each name. What goes wrong with one is told, and does not
// keep it from the others.
func each(cmd *cobra.Command, names []string, do func(name string) error) error {
	failed := false
	for _, name := range names {
		err := do(name)
		var unreachable *operator.Unreachable
		switch {
		case err == nil:
		case len(names) == 1, errors.As(err, &unreachable), cmd.Context().Err() != nil:
			return err
		default:
			fmt.Fprintln(cmd.ErrOrStderr(), "naru:", printable(err.Error()))
			failed = true
		}
	}
	if failed {
		return &exitError{exitFailed}
	}
	return nil
}

// client returns what speaks to the node.
func (f *nodeFlags) client() (*operator.Client, error) {
	if f.socket != "" {
		return operator.NewClient(f.socket), nil
	}
	cfg, _, err := f.src.load()
	if err != nil {
		return nil, fmt.Errorf("%w\n(--socket leads to the node without its configuration)", err)
	}
	return operator.NewClient(operatorSocket(cfg)), nil
}

// ask runs f with a client. What goes wrong may quote what clients have chosen.
func (f *nodeFlags) ask(do func(cmd *cobra.Command, args []string, c *operator.Client) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := f.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return explain(cmd, do(cmd, args, c))
	}
}

// explain makes an error one that can be shown, with what helps.
func explain(cmd *cobra.Command, err error) error {
	var unreachable *operator.Unreachable
	var usage usageError
	var said *exitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return err
	case errors.As(err, &usage):
		return wrongUsage(cmd, err)
	case !errors.As(err, &unreachable):
		return errors.New(printable(err.Error()))
	}
	hint := ""
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "\nOnly the user that runs the node may use its socket, and root."
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		hint = "\nIs the node running? It listens in the data_dir of its configuration: see --config, --set and --socket."
	}
	return fmt.Errorf("%s%s", printable(err.Error()), hint)
}

// completions is how many names are offered, and completeTime how long the
// shell waits for them.
const (
	completions  = 200
	completeTime = 2 * time.Second
)

// complete offers names from a list of the running node.
func (f *nodeFlags) complete(kind, field string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := f.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), completeTime)
		defer cancel()
		var names []cobra.Completion
		for row, err := range c.List(ctx, kind, operator.Query{Match: begun + "*"}) {
			var fields map[string]any
			if err != nil || json.Unmarshal(row, &fields) != nil || len(names) == completions {
				break
			}
			// A name that the terminal must not see cannot be typed either.
			if name, ok := fields[field].(string); ok && printable(name) == name {
				names = append(names, name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// printable makes text from clients safe for a terminal: what does not print is
// escaped as in Go, and so is the backslash. Line breaks of our own errors stay.
func printable(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, s[i])
		case strconv.IsPrint(r) && r != '\\':
			out = append(out, s[i:i+n]...)
		default:
			quoted := strconv.QuoteRune(r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		i += n
	}
	return string(out)
}

// safeJSON escapes what JSON leaves as it is and a terminal might obey.
func safeJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == 0x7f || r >= 0x80 && r <= 0xffff && !strconv.IsPrint(r):
			out = fmt.Appendf(out, `\u%04x`, r)
		case r > 0xffff && !strconv.IsPrint(r):
			hi, lo := 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = append(out, text[i:i+n]...)
		}
		i += n
	}
	return out
}

// printJSON prints one value, on several lines.
func printJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(safeJSON(text), '\n'))
	return err
}

// terminal says whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newBar shows progress in bytes, if w is a terminal.
func newBar(w io.Writer, what string, total int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(terminal(w)),
		progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
}

// size renders a number of bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.95 && unit < 3 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGT"[unit])
}
