// Package fakenvml builds a stand-in for libnvidia-ml.so, so that the tests of this and other packages, and of the whole program, go
// through the same cgo calls as on a machine with NVIDIA GPUs. Its values come from a file that it reads again at each call.
package fakenvml

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed fakenvml.c.txt
var source []byte

// FileEnv is the environment variable that names the file of values to the library.
const FileEnv = "FAKE_NVML"

// Kind is a variant of the library.
type Kind string

// The variants.
const (
	New    Kind = ""       // a driver of today
	Old    Kind = "OLD"    // of about 2015: first versions of the calls; no utilization, power, graphics processes
	Broken Kind = "BROKEN" // lacks a call without which nothing works
)

// ErrNoCompiler says that there is no C compiler here; a test skips with it.
var ErrNoCompiler = errors.New("gcc is not on this machine, and the fake NVML library is built with it")

// Build compiles the library into the folder and returns its path.
func Build(dir string, k Kind) (string, error) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return "", ErrNoCompiler
	}
	c := filepath.Join(dir, "fakenvml"+string(k)+".c")
	if err := os.WriteFile(c, source, 0o600); err != nil {
		return "", err
	}
	lib := filepath.Join(dir, "libfakenvml"+string(k)+".so")
	args := []string{"-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wno-unused-function", "-o", lib, c}
	if k != New {
		args = append(args, "-D"+string(k))
	}
	if out, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return lib, nil
}

// Write replaces the file of values at once: a reader sees the old ones or the new ones.
func Write(path string, lines ...string) error {
	if err := os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Machine returns the values of a machine with n GPUs of a name and size, nothing in use.
func Machine(n int, name string, vram int64) []string {
	lines := []string{fmt.Sprintf("- gpus %d", n), "- version 550.54.15"}
	for i := range n {
		for _, kv := range []string{
			"name " + name, fmt.Sprintf("uuid GPU-fake-%d", i), fmt.Sprintf("bus 00000000:%02x:00.0", i+7), fmt.Sprintf("minor %d", i),
			fmt.Sprintf("total %d", vram), "used 0", "util 0", "temp 30", "power 60000",
		} {
			lines = append(lines, fmt.Sprintf("%d %s", i, kv))
		}
	}
	return lines
}
