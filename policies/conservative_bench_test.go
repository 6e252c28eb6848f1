package policies_test

import (
	"context"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
)

// BenchmarkConservativeByEstimates is 4000 tasks (1000 with -short) at a load of 1.05, whose estimates are half or twice the run time: with the half,
// whatever outlives its estimate displaces promises, time and again.
func BenchmarkConservativeByEstimates(b *testing.B) {
	nodes, err := cluster.Parse("4x(16cpu,8xA100)")
	if err != nil {
		b.Fatal(err)
	}
	spec := "jobs=4000,load=1.05,gpus=philly"
	if testing.Short() {
		spec = "jobs=1000,load=1.05,gpus=philly"
	}
	for _, c := range []struct {
		name   string
		factor float64
	}{{"short", 0.5}, {"long", 2}} {
		b.Run(c.name, func(b *testing.B) {
			w, err := gen.MustParse(spec).Generate(1, nodes)
			if err != nil {
				b.Fatal(err)
			}
			for t := range w.Estimates {
				w.Estimates[t] = max(1, time.Duration(float64(w.Run[t])*c.factor))
			}
			before := userNS(b)
			for range b.N {
				if _, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes, Policy: &policies.Conservative{}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((userNS(b)-before)/float64(b.N)/float64(w.Len()), "user-ns/task")
		})
	}
}
