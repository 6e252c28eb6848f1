//go:build failpoints

package failpoint

import (
	"os"
	"strings"
	"syscall"
)

// Variable arms a place: NAME=FILE. The first process that comes by while the file is there removes it and is killed.
const Variable = "SCHEDLAB_FAILPOINT"

// NaiveVariable names what is done in the naive way.
const NaiveVariable = "SCHEDLAB_NAIVE"

var place, file, _ = strings.Cut(os.Getenv(Variable), "=")

// Hit ends the process as SIGKILL does where the place is armed.
func Hit(name string) {
	if name == place && os.Remove(file) == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// Naive reports whether something is to be done in the naive way.
func Naive(what string) bool { return os.Getenv(NaiveVariable) == what }

// Env is what a shim must inherit.
func Env() []string {
	var out []string
	for _, name := range []string{Variable, NaiveVariable} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}
