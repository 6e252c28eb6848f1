package policies_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// Up to five jobs that are there at once on one GPU of each of two types, against every way to divide them, each GPU's shortest first (Horn 1973 says
// that no other order is better).
func TestAlloXHasTheLeastSumOfCompletionTimes(t *testing.T) {
	nodes := []sched.NodeSpec{{Name: "v", GPUs: 1, GPUType: "V100"}, {Name: "k", GPUs: 1, GPUType: "K80"}}
	for i := range nodes {
		nodes[i].CPU, nodes[i].Mem, nodes[i].VRAM = sched.Unlimited, sched.Unlimited, sched.Unlimited
	}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(rt, "jobs")
		runs := make([][2]int, n)
		b := traces.NewBuilder("jobs", "test")
		for i := range runs {
			runs[i] = [2]int{rapid.IntRange(1, 40).Draw(rt, "V100"), rapid.IntRange(1, 40).Draw(rt, "K80")}
			r := devices(0, float64(runs[i][0]), 1)
			r.RunOn = []sched.CostOn{{On: "V100", Run: time.Duration(runs[i][0]) * time.Second}, {On: "K80", Run: time.Duration(runs[i][1]) * time.Second}}
			if err := b.Add(&r); err != nil {
				rt.Fatal(err)
			}
		}
		w, err := b.Build()
		if err != nil {
			rt.Fatal(err)
		}
		least := 1 << 30
		for set := range 1 << n {
			sum := 0
			for on := range 2 {
				for i := range runs {
					if set>>i&1 != on {
						continue
					}
					sum += runs[i][on]
					for j := range runs { // whoever is shorter there, or as short and before, runs first
						if j != i && set>>j&1 == on && (runs[j][on] < runs[i][on] || runs[j][on] == runs[i][on] && j < i) {
							sum += runs[j][on]
						}
					}
				}
			}
			least = min(least, sum)
		}
		res := simulate(t, config(w, nodes, build(t, "allox{patience=1000000}")(), nil))
		got := 0
		for i := range runs {
			got += int(res.Outcome(sched.TaskID(i)).End.Seconds())
		}
		if got != least {
			rt.Fatalf("the completion times sum up to %d, and %d is possible: %v", got, least, runs)
		}
	})
}
