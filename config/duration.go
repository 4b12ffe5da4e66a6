package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration, written 10s, 1h30m, 7d, 0 or never.
type Duration time.Duration

func (d Duration) String() string { return formatDuration(time.Duration(d)) }

// MarshalText writes the canonical form, with days as the largest unit.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes, and more.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := parseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// never is what the word "never" means; see the package documentation.
const never = time.Duration(math.MaxInt64)

const day = 24 * time.Hour

var (
	errDuration      = errors.New("expected a duration such as 10s, 5m, 7d or never")
	errDurationUnit  = errors.New("the unit is missing: expected a duration such as 10s, 5m, 7d or never")
	errDurationRange = errors.New("the duration is out of range: for no limit write never")
)

func parseDuration(text string) (time.Duration, error) {
	switch {
	case text == "never":
		return never, nil
	case text == "0":
		return 0, nil
	case text == "" || text[0] == '-' || text[0] == '+':
		return 0, errDuration
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, errDurationUnit
	}
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 64)
	if err != nil {
		return 0, errDuration
	}
	if n > uint64(never/day) {
		return 0, errDurationRange
	}
	sum := time.Duration(n) * day
	if rest == "" {
		return sum, nil
	}
	part, err := time.ParseDuration(rest)
	if err != nil || rest[0] == '-' || rest[0] == '+' {
		return 0, errDuration
	}
	if part > never-sum {
		return 0, errDurationRange
	}
	return sum + part, nil
}

func formatDuration(d time.Duration) string {
	if d == never {
		return "never"
	}
	var days string
	if d >= day {
		days = strconv.FormatInt(int64(d/day), 10) + "d"
		if d %= day; d == 0 {
			return days
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}
