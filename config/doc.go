// Package config turns one strict YAML file, the environment and --set
// arguments into a tree of Go structs, and can say of every value where it
// came from.
//
// The one idea: the struct is the schema. Each part of the broker owns a config
// struct beside its code; this package reads names, documentation and rules from
// the field tags, defaults from the values already in the struct, and knows
// nothing else about any part. So a key exists in the loader, in `naru config`,
// in the reference table and in the reload check as soon as its field exists.
//
// The nouns: a key is a dotted path such as mqtt.listeners.0.address; a source
// is where values come from (defaults < file < environment < --set); a [Report]
// is every value in force with its origin; a [Change] is a difference between
// two loaded configurations.
//
// # Field tags
//
//	yaml:"name"       the key: lower case letters, digits, single underscores.
//	                  ",inline" merges the fields of a struct into its parent,
//	                  "-" hides a field. An exported field without this tag is an error.
//	doc:"..."         one sentence for the reference table; CheckDocs demands it.
//	unit:"..."        what a number counts, for the reference table. "bytes" on an
//	                  integer also makes it a size.
//	enum:"a,b"        the allowed values.
//	secret:"true"     the value is never printed. Holds for everything below the field.
//	reload:"true"     the value may change without a restart. Holds for everything below.
//
// # Types
//
// An owner uses plain types and imports nothing from here: bool, integers,
// floats, string, time.Duration, int64 with unit:"bytes", any type with
// UnmarshalText and MarshalText, structs, lists, maps with string keys, and
// pointers to these for what may be absent (null). The knowledge of how a size
// or a duration is written lives in the loader and not in the type, because core
// and the protocols may not import config, and because a time.Duration needs no
// conversion where it is used. [Size], [Duration] and [Secret] serve code outside
// the tree that reads the same notation (command line flags), and structs of
// packages that may import config.
//
// A duration is 10s, 1h30m, 7d, or never. never is the longest
// time.Duration (292 years) and not 0: a timer of that length needs no special
// case, and for many keys 0 means at once. What 0 means is said by the key's doc.
//
// A list or map in a source replaces the one before it, so that what the file
// says is what there is; a key below it (mqtt.listeners.0.address,
// users.alice.password) changes one element, or adds one. New elements get their
// defaults from an optional method SetDefaults() on the element's pointer.
//
// # Validation
//
// After loading, each value in the tree with a method Validate() error is asked,
// parts before the whole, its error prefixed with its path. Validate must not
// change the value: an element of a map is asked as a copy.
//
// # Why go.yaml.in/yaml/v4
//
// It is the line of go-yaml that the YAML organisation develops (gopkg.in/yaml.v3
// is archived, and go.yaml.in/yaml/v3 gets security fixes only). Its errors carry
// line and column as fields, where v3 puts a line into some messages, sometimes the
// wrong one; it bounds nesting, and the node tree leaves aliases unexpanded, so that
// what they may cost is decided here. github.com/goccy/go-yaml draws nicer excerpts,
// but its parser took 3 s for 80 KB of nested mappings and stops at the first
// duplicate key.
package config
