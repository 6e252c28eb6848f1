package main

import (
	"math/rand/v2"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// load is a workload with the cluster that it is made for.
type load struct {
	nodes string
	make  func(n int) *traces.Workload
}

var loads = map[string]load{
	"gpus":    {"1000x8xV100", diurnal},
	"four":    {"1000x(96cpu,1024gb,8xH100:80gb)", fourResources},
	"layered": {"250x32cpu", layered},
}

// fourResources is the diurnal workload with 8 cores, 64 GiB of RAM and 40 GiB of VRAM to each GPU: GPUs bind, and all four are checked.
func fourResources(n int) *traces.Workload {
	w := diurnal(n)
	for i := range w.Demands {
		need := &w.Demands[i].Need
		need.CPU, need.Mem, need.VRAM = int64(need.GPUs)*8000, int64(need.GPUs)*64<<30, 40<<30
	}
	return w
}

// layered makes one job of n tasks of a core each and about three times as many edges: layers of random width, 10000 on average, each task
// behind 1 to 5 tasks of the layer before, run times of 1 to 100 s, ids topological.
func layered(n int) *traces.Workload {
	rng := rand.New(rand.NewPCG(2, 1))
	tb := &sched.Table{
		Tasks: make([]sched.Task, n), Estimates: make([]time.Duration, n), Jobs: 1,
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 1000}, Gang: 1}}, Classes: []sched.Class{{}},
		PredOff: make([]int32, 1, n+1), SuccOff: make([]int32, n+1),
	}
	w := &traces.Workload{Table: tb, Run: make([]time.Duration, n), Source: "layered", Format: "generated"}
	for from, end, before := 0, 0, 0; from < n; before, from = from, end {
		end = min(n, from+1+rng.IntN(20000))
		for t := from; t < end; t++ {
			tb.Tasks[t].Deadline = sched.Never
			w.Run[t] = time.Second + time.Duration(rng.Int64N(99e9))
			tb.Estimates[t] = w.Run[t]
			if from > 0 {
				tb.Pred = someOf(tb.Pred, rng, before, from, 1+rng.IntN(5))
			}
			tb.PredOff = append(tb.PredOff, int32(len(tb.Pred)))
		}
	}
	for _, p := range tb.Pred {
		tb.SuccOff[p+1]++
	}
	for t := range n {
		tb.SuccOff[t+1] += tb.SuccOff[t]
	}
	tb.Succ = make([]sched.TaskID, len(tb.Pred))
	at := append([]int32(nil), tb.SuccOff...)
	for t := range sched.TaskID(n) {
		for _, p := range tb.Preds(t) {
			tb.Succ[at[p]] = t
			at[p]++
		}
	}
	return w
}

// someOf appends up to k different tasks of before..from-1, ascending.
func someOf(preds []sched.TaskID, rng *rand.Rand, before, from, k int) []sched.TaskID {
	start := len(preds)
	for range min(k, from-before) {
		p := sched.TaskID(before + rng.IntN(from-before))
		i := len(preds)
		for i > start && preds[i-1] > p {
			i--
		}
		if i > start && preds[i-1] == p {
			continue
		}
		preds = append(preds, p)
		copy(preds[i+1:], preds[i:])
		preds[i] = p
	}
	return preds
}
