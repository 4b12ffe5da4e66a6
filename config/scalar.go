package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parse reads text into v. The error says what was expected; the caller says
// where, and what was found. Only the text counts, not whether it stood in quotes.
func (sh *shape) parse(v reflect.Value, text string) error {
	switch sh.kind {
	case kindBool:
		switch strings.ToLower(text) {
		case "true", "false":
			v.SetBool(text[0]|0x20 == 't')
		default:
			return errors.New("expected true or false")
		}
	case kindInt:
		n, err := strconv.ParseInt(text, 0, v.Type().Bits())
		if err != nil || zeroLed(text) {
			top := int64(math.MaxInt64) >> (64 - v.Type().Bits())
			return errNumber(text, err, strconv.FormatInt(-top-1, 10), strconv.FormatInt(top, 10))
		}
		v.SetInt(n)
	case kindUint:
		n, err := strconv.ParseUint(text, 0, v.Type().Bits())
		if err != nil || zeroLed(text) {
			top := uint64(math.MaxUint64) >> (64 - v.Type().Bits())
			return errNumber(text, err, "0", strconv.FormatUint(top, 10))
		}
		v.SetUint(n)
	case kindFloat:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return errors.New("expected a number such as 0.5")
		}
		v.SetFloat(n)
	case kindDuration:
		d, err := parseDuration(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
	case kindSize:
		n, err := parseSize(text)
		if err != nil {
			return err
		}
		if v.CanInt() {
			if n > math.MaxInt64 || v.OverflowInt(int64(n)) {
				return errSizeRange
			}
			v.SetInt(int64(n))
		} else {
			if v.OverflowUint(n) {
				return errSizeRange
			}
			v.SetUint(n)
		}
	case kindString:
		v.SetString(text)
	case kindText:
		fresh := reflect.New(sh.typ)
		if err := fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			return sh.errText(v, err)
		}
		v.Set(fresh.Elem())
	}
	if len(sh.enum) > 0 && !slices.Contains(sh.enum, sh.text(v)) {
		return sh.errEnum(text)
	}
	return nil
}

// zeroLed finds 0755, which is octal to YAML 1.1 and decimal to YAML 1.2.
func zeroLed(text string) bool {
	digits := strings.TrimLeft(text, "+-")
	return len(digits) > 1 && digits[0] == '0' && (digits[1] == '_' || '0' <= digits[1] && digits[1] <= '9')
}

func errNumber(text string, err error, low, high string) error {
	switch {
	case zeroLed(text):
		return errors.New("expected an integer without leading zeros, such as 8 (or 0o10 for octal)")
	case errors.Is(err, strconv.ErrRange), low == "0" && text != "" && text[0] == '-':
		return fmt.Errorf("expected an integer from %s to %s", low, high)
	}
	return errors.New("expected an integer such as 100")
}

func (sh *shape) errEnum(text string) error {
	hint := ""
	if near := nearest(text, sh.enum); near != "" && !sh.secret {
		hint = fmt.Sprintf(" (did you mean %s?)", near)
	}
	return fmt.Errorf("expected %s%s", oneOf(sh.enum), hint)
}

// errText keeps the error of a secret's UnmarshalText to itself: such errors
// usually quote the text.
func (sh *shape) errText(before reflect.Value, err error) error {
	if sh.secret {
		return errors.New("the value is not in the form this key needs")
	}
	if example := sh.text(before); example != "" && !before.IsZero() {
		return fmt.Errorf("expected a value such as %s: %w", quote(example), err)
	}
	return err
}

// oneOf writes a list for a reader: "one of text or json".
func oneOf(words []string) string {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = quote(w)
	}
	if len(shown) < 2 {
		return strings.Join(shown, "")
	}
	return "one of " + strings.Join(shown[:len(shown)-1], ", ") + " or " + shown[len(shown)-1]
}

// text writes a leaf in its canonical form, which parse reads back. It shows
// secrets.
func (sh *shape) text(v reflect.Value) string {
	switch sh.kind {
	case kindBool:
		return strconv.FormatBool(v.Bool())
	case kindInt:
		return strconv.FormatInt(v.Int(), 10)
	case kindUint:
		return strconv.FormatUint(v.Uint(), 10)
	case kindFloat:
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
	case kindDuration:
		return formatDuration(time.Duration(v.Int()))
	case kindSize:
		switch {
		case v.CanUint():
			return formatSize(v.Uint())
		case v.Int() < 0:
			return strconv.FormatInt(v.Int(), 10)
		}
		return formatSize(uint64(v.Int()))
	case kindString:
		return v.String()
	}
	addressable := reflect.New(sh.typ)
	addressable.Elem().Set(v)
	text, err := addressable.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return "" // a zero value that has no text, as some types answer
	}
	return string(text)
}

// flow writes any value as YAML on one line. Secrets are shown only if reveal is set.
func (sh *shape) flow(v reflect.Value, reveal bool) string {
	v, ok := sh.deref(v)
	switch {
	case !ok:
		return "null"
	case sh.secret && !reveal && sh.flat() && !sh.empty(v):
		return quote(mask)
	}
	switch sh.kind {
	case kindSection:
		parts := make([]string, len(sh.fields))
		for i, f := range sh.fields {
			parts[i] = f.name + ": " + f.flow(v.FieldByIndex(f.index), reveal)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case kindMap:
		var parts []string
		for _, key := range sortedKeys(v) {
			parts = append(parts, quote(key)+": "+sh.elem.flow(at(v, key), reveal))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case kindList:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = sh.elem.flow(v.Index(i), reveal)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case kindString, kindText:
		return quote(sh.text(v))
	}
	return sh.text(v)
}

// empty reports whether v holds no secret: that nothing is set may be seen.
func (sh *shape) empty(v reflect.Value) bool {
	return v.IsZero() || sh.kind == kindList && v.Len() == 0
}

// plain is text that every YAML reader takes for a string without quotes, also
// inside a flow list. Whatever might be read as something else is quoted.
var plain = regexp.MustCompile(`^([A-Za-z_/]|\.\.?/)[A-Za-z0-9_./-]*$`)

var notStrings = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n"}

// quote writes text as a YAML scalar. Go's escapes are YAML's, for valid UTF-8.
func quote(text string) string {
	if plain.MatchString(text) && !slices.Contains(notStrings, strings.ToLower(text)) {
		return text
	}
	return strconv.Quote(text)
}
