package config

import (
	"strconv"
	"strings"
	"unicode"
)

// join adds one segment to a path. A segment that could not be told from the
// dots around it is quoted: users."a.b".password.
func join(path, segment string) string {
	if segment == "" || strings.ContainsFunc(segment, func(r rune) bool {
		return r == '.' || r == '"' || r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}) {
		segment = strconv.Quote(segment)
	}
	if path == "" {
		return segment
	}
	return path + "." + segment
}

func joinAll(path string, segments []string) string {
	for _, s := range segments {
		path = join(path, s)
	}
	return path
}

// splitSet takes "path=value" apart.
func splitSet(arg string) (segments []string, value string, ok bool) {
	for {
		var segment string
		if quoted, err := strconv.QuotedPrefix(arg); err == nil && arg[0] == '"' {
			segment, _ = strconv.Unquote(quoted)
			arg = arg[len(quoted):]
		} else {
			end := strings.IndexAny(arg, ".=")
			if end < 0 {
				return nil, "", false
			}
			segment, arg = arg[:end], arg[end:]
		}
		segments = append(segments, segment)
		switch {
		case strings.HasPrefix(arg, "="):
			return segments, arg[1:], true
		case strings.HasPrefix(arg, "."):
			arg = arg[1:]
		default:
			return nil, "", false
		}
	}
}

// envName is the environment variable that sets path, or "" if none can: a
// variable's name has no case, and no room for an index that is not known.
func envName(path string) string {
	if strings.ContainsAny(path, `[<"`) || path != strings.ToLower(path) {
		return ""
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}
