package main

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"unicode"
)

// goBenchHead is the beginning of a file in the format of Go's benchmarks.
func goBenchHead() string {
	s := fmt.Sprintf("goos: %s\ngoarch: %s\npkg: github.com/schedlab/schedlab/benchmarks/speed\n", runtime.GOOS, runtime.GOARCH)
	if name := firstField("/proc/cpuinfo", "model name"); name != "" {
		s += "cpu: " + name + "\n"
	}
	return s + "machine: " + where() + "\n"
}

// goBenchLine is one run as a line of Go's benchmark format.
func goBenchLine(r row, n int, s sample) string {
	words := strings.FieldsFunc(r.name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '-' })
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark/%s/tasks=%d 1", strings.Join(words, "_"), n)
	value := func(v float64, unit string) {
		if !math.IsNaN(v) {
			fmt.Fprintf(&b, " %.6g %s", v, unit)
		}
	}
	value(s.ns, "ns/task")
	if r.in == inMS {
		value(s.ratio, "start-ms")
	} else {
		value(s.ratio, "ratio")
	}
	value(s.bytes, "B/task")
	return b.String() + "\n"
}
