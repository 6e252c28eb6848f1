package main

import (
	"cmp"
	"io"
	"os"
	"testing"
)

// BenchmarkPolicy is for profiles: go test -run '^$' -bench Policy/fjf -benchtime 1x -cpuprofile cpu.prof ./benchmarks/speed
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
		b.Run(r.name, func(b *testing.B) {
			for b.Loop() {
				if err := measure(r.policy, cmp.Or(r.load, "gpus"), min(r.tasks, 1_000_000)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
