// Package coretest holds what every implementation of a seam of the core must
// pass, and what makes seams fail: the conformance suite of stores, a model of
// one, and a store whose disk fails when it is told to.
package coretest
