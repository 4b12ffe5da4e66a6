package config

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// Size is a number of bytes, written 64KiB, 256MB, 1.5GiB or as a plain number.
// KiB, MiB, GiB, TiB count in 1024; KB, MB, GB, TB in 1000.
type Size int64

func (s Size) String() string { return formatSize(uint64(max(s, 0))) }

// MarshalText writes the shortest exact form.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String writes, and more.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := parseSize(string(text))
	if err != nil {
		return err
	}
	if n > 1<<63-1 {
		return errSizeRange
	}
	*s = Size(n)
	return nil
}

var (
	errSize      = errors.New("expected a size such as 64KiB, 256MB or 1GiB")
	errSizeUnit  = errors.New("the unit is ambiguous: write KiB, MiB, GiB (1024) or KB, MB, GB (1000)")
	errSizeRange = errors.New("the size is out of range")
	errSizePart  = errors.New("the size is not a whole number of bytes")
)

// sizeUnits in the order in which formatSize tries them: binary units win a tie.
var sizeUnits = []struct {
	name  string
	bytes uint64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
}

func parseSize(text string) (uint64, error) {
	number, unit := text, ""
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		number, unit = text[:i], strings.TrimLeft(text[i:], " ")
	}
	// The length bounds the work for big.Rat; no size needs more digits.
	if number == "" || len(number) > 30 || number[0] == '.' || number[len(number)-1] == '.' {
		return 0, errSize
	}
	n, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, errSize
	}
	scale, err := sizeUnit(unit)
	if err != nil {
		return 0, err
	}
	n.Mul(n, new(big.Rat).SetInt(new(big.Int).SetUint64(scale)))
	switch {
	case !n.IsInt():
		return 0, errSizePart
	case !n.Num().IsUint64():
		return 0, errSizeRange
	}
	return n.Num().Uint64(), nil
}

func sizeUnit(unit string) (uint64, error) {
	if unit == "" || strings.EqualFold(unit, "B") {
		return 1, nil
	}
	for _, u := range sizeUnits {
		if strings.EqualFold(unit, u.name) {
			return u.bytes, nil
		}
	}
	if len(unit) == 1 && strings.Contains("kKmMgGtT", unit) {
		return 0, errSizeUnit
	}
	return 0, errSize
}

// formatSize writes n exactly, with the fewest digits: 65536 is 64KiB, 256000000
// is 256MB although 1024 divides it too.
func formatSize(n uint64) string {
	number, unit := strconv.FormatUint(n, 10), ""
	for _, u := range sizeUnits {
		if n == 0 || n%u.bytes != 0 {
			continue
		}
		if s := strconv.FormatUint(n/u.bytes, 10); len(s) < len(number) {
			number, unit = s, u.name
		}
	}
	return number + unit
}
