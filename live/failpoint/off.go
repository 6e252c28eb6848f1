//go:build !failpoints

// Package failpoint kills the process at named places, for crash tests: in programs built with -tags failpoints, and in no other.
package failpoint

// Hit ends the process as SIGKILL does where the place is armed.
func Hit(string) {}

// Naive reports whether something is to be done in the naive way, which the crash tests must notice: "start" attempts without the protocol that
// keeps them from running twice, "overwrite" the checkpoints before the new one is whole, be "lazy" about the time between two.
func Naive(string) bool { return false }

// Env is what a shim must inherit.
func Env() []string { return nil }
