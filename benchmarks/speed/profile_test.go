package main

import "testing"

// BenchmarkPolicy is for profiles: go test -run '^$' -bench Policy/easy -benchtime 1x -cpuprofile cpu.prof ./benchmarks/speed
func BenchmarkPolicy(b *testing.B) {
	for _, r := range table {
		if r.policy == "" || r.tasks > million {
			continue
		}
		b.Run(r.policy+"/"+r.load, func(b *testing.B) {
			for b.Loop() {
				a := asked{policy: r.policy, load: r.load, tasks: r.tasks}
				if _, err := a.simulate(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
