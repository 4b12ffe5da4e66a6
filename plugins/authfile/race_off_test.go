//go:build !race

package authfile

const underRace = false
