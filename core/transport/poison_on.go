//go:build race

package transport

const poison = true
