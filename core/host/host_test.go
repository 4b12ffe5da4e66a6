package host

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

type fake struct {
	name        string
	trace       *[]string
	start, stop error
}

func (f *fake) Name() string { return f.name }
func (f *fake) Start(context.Context) error {
	*f.trace = append(*f.trace, "start "+f.name)
	return f.start
}
func (f *fake) Stop(context.Context) error {
	*f.trace = append(*f.trace, "stop "+f.name)
	return f.stop
}

func TestHost(t *testing.T) {
	broken := errors.New("broken")
	stuck := errors.New("stuck")
	for _, tc := range []struct {
		name    string
		plugins []fake
		trace   string
		errs    []error
	}{
		{"order", []fake{{name: "a"}, {name: "b"}, {name: "c"}}, "start a, start b, start c, stop c, stop b, stop a", nil},
		{"undo", []fake{{name: "a"}, {name: "b"}, {name: "c", start: broken}}, "start a, start b, start c, stop b, stop a", []error{broken}},
		{
			"undo goes on after a failure", []fake{{name: "a"}, {name: "b", stop: stuck}, {name: "c", start: broken}},
			"start a, start b, start c, stop b, stop a",
			[]error{broken, stuck},
		},
		{"stop goes on after a failure", []fake{{name: "a"}, {name: "b", stop: stuck}}, "start a, start b, stop b, stop a", []error{stuck}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var trace []string
			var plugins []Plugin
			for i := range tc.plugins {
				tc.plugins[i].trace = &trace
				plugins = append(plugins, &tc.plugins[i])
			}
			h := New(slog.New(slog.DiscardHandler), plugins...)
			err := errors.Join(h.Start(t.Context()), h.Stop(t.Context()), h.Stop(t.Context()))
			if got := strings.Join(trace, ", "); got != tc.trace {
				t.Errorf("got  %s\nwant %s", got, tc.trace)
			}
			for _, want := range tc.errs {
				if !errors.Is(err, want) {
					t.Errorf("error %v does not tell of %v", err, want)
				}
			}
			if len(tc.errs) == 0 && err != nil {
				t.Errorf("unexpected error %v", err)
			}
		})
	}
}
