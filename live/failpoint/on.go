//go:build failpoints

package failpoint

import (
	"os"
	"strings"
	"syscall"
)

// Variable arms a place: NAME=FILE. The first process that comes by while the file is there removes it and is killed.
const Variable = "SCHEDLAB_FAILPOINT"

// NaiveVariable, if set, breaks the protocol.
const NaiveVariable = "SCHEDLAB_NAIVE"

var place, file, _ = strings.Cut(os.Getenv(Variable), "=")

// Hit ends the process as SIGKILL does where the place is armed.
func Hit(name string) {
	if name == place && os.Remove(file) == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// Naive reports whether attempts are to be started without the protocol that keeps them from running twice.
func Naive() bool { return os.Getenv(NaiveVariable) != "" }

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
