package benchmarks_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// diurnal is the speed workload of SPEC's budgets: n independent tasks of 1 to 8 GPUs, lognormal run times, arrivals at a rate that swings over a
// day, offered load 0.9 on 1000 nodes of 8 GPUs.
func diurnal(n int) *traces.Workload {
	rng := rand.New(rand.NewPCG(1, 2))
	gpus := []int32{1, 1, 1, 1, 2, 2, 4, 8}
	b := traces.NewBuilder("diurnal", "generated")
	const capacity, meanGPUs, meanRun = 8000.0, 2.5, 1847.0
	rate := 0.9 * capacity / (meanGPUs * meanRun) // tasks a second
	at := 0.0
	for range n {
		at += rng.ExpFloat64() / (rate * (1 + 0.5*math.Sin(2*math.Pi*at/86400)))
		run := time.Duration(600e9*math.Exp(1.5*rng.NormFloat64())) + 1
		if err := b.Add(&traces.Row{
			Submit: sched.Time(at * 1e9), Run: run, Estimate: time.Duration(float64(run) * math.Exp(rng.Float64())),
			Need: sched.Need{GPUs: gpus[rng.IntN(len(gpus))], GPUMilli: sched.Whole},
		}); err != nil {
			panic(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		panic(err)
	}
	return w
}

func BenchmarkMillionTasks(b *testing.B) {
	nodes, err := cluster.Parse("1000x8xV100")
	if err != nil {
		b.Fatal(err)
	}
	w := diurnal(1_000_000)
	for _, name := range []string{"fifo", "fjf", "sjf", "critical-path"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				spec, err := policies.Parse(name)
				if err != nil {
					b.Fatal(err)
				}
				p, err := policies.Build(spec, policies.Hints{MeanEstimate: 1800 * time.Second})
				if err != nil {
					b.Fatal(err)
				}
				res, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes, Policy: p})
				if err != nil {
					b.Fatal(err)
				}
				if res.Unfinished > 0 {
					b.Fatal(fmt.Errorf("%d tasks unfinished", res.Unfinished))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/task")
		})
	}
}
