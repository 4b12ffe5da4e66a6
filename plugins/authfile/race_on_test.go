//go:build race

package authfile

// underRace says that pools lose what is put in them, now and then on purpose.
const underRace = true
