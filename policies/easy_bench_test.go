package policies_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// rigidJobs makes jobs as a supercomputer's log has them: sizes that are mostly powers of two, log-uniform up to a quarter of the pool, lognormal run
// times, estimates 1 to e times too long, offered load 0.9 that swings by half over a day.
func rigidJobs(n int, pool int64) *traces.Workload {
	rng := rand.New(rand.NewPCG(1, 1))
	tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(n)}
	w := &traces.Workload{Table: tb, Run: make([]time.Duration, n), Source: "rigid"}
	demand := map[int64]sched.DemandID{}
	size := func() int64 {
		k := math.Exp2(rng.Float64() * math.Log2(float64(pool)/4))
		if rng.IntN(4) > 0 {
			return int64(math.Exp2(math.Round(math.Log2(k))))
		}
		return int64(math.Ceil(k))
	}
	mean := 0.0
	for range 10000 {
		mean += float64(size()) / 10000
	}
	gap := mean * 600 * math.Exp(1.5*1.5/2) / 0.9 / float64(pool) // seconds between arrivals
	at := 0.0
	for t := range n {
		at += gap * rng.ExpFloat64() / (1 + 0.5*math.Sin(2*math.Pi*at/86400))
		k := size()
		d, ok := demand[k]
		if !ok {
			d = sched.DemandID(len(tb.Demands))
			demand[k] = d
			tb.Demands = append(tb.Demands, sched.Demand{Gang: 1, Need: sched.Need{CPU: k * 1000}})
			tb.Classes = append(tb.Classes, sched.Class{Demand: d})
		}
		run := time.Duration(600e9*math.Exp(1.5*rng.NormFloat64())) + 1
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: sched.Time(at * 1e9), Job: sched.JobID(t), Class: sched.ClassID(d)})
		w.Run[t] = run
		tb.Estimates = append(tb.Estimates, time.Duration(float64(run)*math.Exp(rng.Float64())))
	}
	return w
}

// BenchmarkRigidJobsOnOnePool is a million rigid jobs (100 000 with -short) on one counted pool, of up to a quarter of it and of 32 to 4096 sizes. What
// EASY costs is about the difference to fifo, whose own part is small.
func BenchmarkRigidJobsOnOnePool(b *testing.B) {
	jobs := 1_000_000
	if testing.Short() {
		jobs = 100_000
	}
	for _, pool := range []int64{128, 1024, 16384} {
		w := rigidJobs(jobs, pool)
		nodes := []sched.NodeSpec{{Name: "pool", CPU: pool * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}
		for _, policy := range []struct {
			name string
			make func() sched.Policy
		}{
			{"fifo", func() sched.Policy { return &policies.List{} }},
			{"easy", func() sched.Policy { return &policies.Easy{} }},
		} {
			b.Run(fmt.Sprintf("%d/%s", pool, policy.name), func(b *testing.B) {
				before := userNS(b)
				for range b.N {
					if _, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes, Policy: policy.make()}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((userNS(b)-before)/float64(b.N)/float64(w.Len()), "user-ns/task")
				b.ReportMetric(float64(len(w.Demands)), "sizes")
			})
		}
	}
}

func userNS(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano())
}
