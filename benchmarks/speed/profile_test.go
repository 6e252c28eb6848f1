package main

import (
	"io"
	"os"
	"testing"
)

// BenchmarkPolicy is for profiles: go test -run '^$' -bench Policy/fifo -benchtime 1x -cpuprofile cpu.prof ./benchmarks/speed
func BenchmarkPolicy(b *testing.B) {
	stdout := os.Stdout
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { os.Stdout = stdout; _ = null.Close() }()
	os.Stdout = null
	_ = io.Discard
	for _, r := range table {
		if r.policy == "" {
			continue
		}
		b.Run(r.policy, func(b *testing.B) {
			for b.Loop() {
				if err := measure(r.policy, min(r.tasks, 1_000_000)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
