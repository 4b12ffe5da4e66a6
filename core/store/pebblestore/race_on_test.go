//go:build race

package pebblestore

// underRace says that Pebble looks for its own mistakes too, at a price.
const underRace = true
