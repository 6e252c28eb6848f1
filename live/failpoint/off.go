//go:build !failpoints

// Package failpoint kills the process at named places, for crash tests: in programs built with -tags failpoints, and in no other.
package failpoint

// Hit ends the process as SIGKILL does where the place is armed.
func Hit(string) {}

// Naive reports whether attempts are to be started without the protocol that keeps them from running twice, which the crash test must
// notice.
func Naive() bool { return false }

// Env is what a shim must inherit.
func Env() []string { return nil }
