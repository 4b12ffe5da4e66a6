package config

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
)

// mask is what is shown in place of a secret. As the value of a secret key it
// is never taken for the secret itself: see loader.masked.
const mask = "***"

// Secret is text that no log, fmt verb or encoder shows. string(s) is the one
// way to the value. A package that may not import config uses a string field with
// secret:"true", which hides it in everything this package prints, and there only.
type Secret string

func (Secret) String() string       { return mask }
func (Secret) GoString() string     { return mask }
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// Format hides the value from every verb: a Stringer alone would still leak
// through %d, whose complaint about the wrong verb prints the raw value.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, mask) }

// MarshalText hides the value from encoding/json and its like.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// MarshalYAML hides the value from every YAML library in use.
func (Secret) MarshalYAML() (any, error) { return mask, nil }

var (
	_ fmt.Formatter          = Secret("")
	_ slog.LogValuer         = Secret("")
	_ encoding.TextMarshaler = Secret("")
)
