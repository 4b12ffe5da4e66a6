package format

import (
	"fmt"
	"strconv"
	"time"
)

// layouts are the letters of strftime that Go's package time has a word for, in
// the C locale.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan",
	'c': "Mon Jan _2 15:04:05 2006", 'd': "02", 'D': "01/02/06", 'e': "_2", 'F': "2006-01-02",
	'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'P': "pm",
	'r': "03:04:05 PM", 'R': "15:04", 'S': "05", 'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05",
	'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
}

// appendTime appends @verb.
func appendTime(b []byte, verb byte, t time.Time) []byte {
	if layout, ok := layouts[verb]; ok {
		return t.AppendFormat(b, layout)
	}
	isoYear, isoWeek := t.ISOWeek()
	switch verb {
	case 'N': // Mosquitto's own: nanoseconds
		return fmt.Appendf(b, "%09d", t.Nanosecond())
	case 'n':
		return append(b, '\n')
	case 't':
		return append(b, '\t')
	case 's':
		return strconv.AppendInt(b, t.Unix(), 10)
	case 'C':
		return fmt.Appendf(b, "%02d", t.Year()/100)
	case 'g':
		return fmt.Appendf(b, "%02d", isoYear%100)
	case 'G':
		return fmt.Appendf(b, "%04d", isoYear)
	case 'V':
		return fmt.Appendf(b, "%02d", isoWeek)
	case 'k':
		return fmt.Appendf(b, "%2d", t.Hour())
	case 'l':
		return fmt.Appendf(b, "%2d", (t.Hour()+11)%12+1)
	case 'u':
		return strconv.AppendInt(b, int64(t.Weekday()+6)%7+1, 10)
	case 'w':
		return strconv.AppendInt(b, int64(t.Weekday()), 10)
	case 'U':
		return fmt.Appendf(b, "%02d", (t.YearDay()+6-int(t.Weekday()))/7)
	case 'W':
		return fmt.Appendf(b, "%02d", (t.YearDay()+6-int(t.Weekday()+6)%7)/7)
	}
	return b
}
