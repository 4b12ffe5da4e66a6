// Package prometheus tells the operator how the broker is: an HTTP listener on
// loopback with /healthz, /readyz, /metrics in Prometheus' format and, when
// asked for, /debug/pprof.
//
// The one idea: everything is read when somebody scrapes. What happens for every
// message is in [core.Stats], gathered by turns without atomics; what is there now
// is asked of the bus, and what is rare comes as events.
//
// No label has a value that a client chose: the number of series is fixed when
// the broker is built, whatever clients call themselves, their topics and their
// protocols.
package prometheus
