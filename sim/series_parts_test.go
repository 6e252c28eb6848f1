package sim

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
)

// However soon the integers must be put into the buckets, the series is that of sums in floats alone.
func TestTheSeriesIsTheSameHoweverLongItsIntegersServe(t *testing.T) {
	const n = 40
	tb := &sched.Table{
		Tasks: make([]sched.Task, n), Estimates: make([]time.Duration, n), Jobs: n,
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 700, GPUs: 1, GPUMilli: 1000}, Gang: 1}, {Need: sched.Need{CPU: 3100}, Gang: 1}},
		Classes: []sched.Class{{}, {Demand: 1}},
	}
	nodes := []sched.NodeSpec{{Name: "a", CPU: 16000, GPUs: 8}}
	rapid.Check(t, func(rt *rapid.T) {
		for i := range tb.Tasks {
			tb.Tasks[i] = sched.Task{Job: sched.JobID(i), Class: sched.ClassID(rapid.IntRange(0, 1).Draw(rt, "class"))}
		}
		k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: &policies.List{Skip: true}})
		if err != nil {
			rt.Fatal(err)
		}
		span := rapid.SampledFrom([]time.Duration{0, time.Hour, 400 * time.Hour}).Draw(rt, "span")
		most := []int64{mostOf(nodes, n), 1 << 50, math.MaxInt64 / 1_000_000_000, math.MaxInt64}
		series := make([]seriesBuilder, len(most))
		for i, m := range most {
			series[i].start(0, span, m)
		}
		// The plain sums: of all that has been, whatever the bucket.
		var plain sums
		now, next := sched.Time(0), sched.TaskID(0)
		var running []sched.TaskID
		for next < n {
			was := now
			now += sched.Time(rapid.SampledFrom([]int64{0, 1, 1e6, 1e9, 7e12, 1e15, 1e17}).Draw(rt, "gap"))
			d := float64(now - was)
			plain.gpu += float64(k.Room().UsedGPUMilli()) * d
			plain.cpu += float64(k.Room().UsedCPU()) * d
			plain.queued += float64(k.Queued()) * d
			plain.running += float64(k.Running()) * d
			for i := range series {
				series[i].until(now, &k.State)
			}
			in := make([]sched.Event, 1)
			if len(running) > 0 && rapid.Bool().Draw(rt, "end") {
				in[0].Set(sched.Finished, running[0], 0, 1, 0)
				running = running[1:]
			} else {
				in[0].Set(sched.JobArrived, next, 1, 0, 0)
				next++
			}
			for _, c := range k.Step(now, in) {
				running = append(running, c.Task)
			}
		}
		near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }
		for i := range series {
			x := series[i].done()
			var got sums
			for j := range x.GPUs {
				d := float64(x.Width)
				if j == len(x.GPUs)-1 {
					d = float64(now - x.From.Add(time.Duration(j)*x.Width))
				}
				got = sums{got.gpu + x.GPUs[j]*d*sched.Whole, got.cpu + x.CPUs[j]*d*1000, got.queued + x.Queued[j]*d, got.running + x.Running[j]*d}
			}
			if !near(got.gpu, plain.gpu) || !near(got.cpu, plain.cpu) || !near(got.queued, plain.queued) || !near(got.running, plain.running) {
				rt.Fatalf("with values up to %d: %+v, plainly %+v", most[i], got, plain)
			}
		}
	})
}
