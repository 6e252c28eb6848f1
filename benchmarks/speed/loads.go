package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// load is a workload with the cluster that it is made for. The same n gives the same workload.
type load struct {
	nodes string
	make  func(n int) *traces.Workload
}

var loads = map[string]load{
	"gpus":    {"1000x8xV100", diurnal},
	"four":    {"1000x(96cpu,1024gb,8xH100:80gb)", fourResources},
	"layered": {"1000x8cpu", layered},
}

// diurnal makes n independent tasks of 1 to 8 GPUs: lognormal run times (median 600 s, sigma 1.5), Poisson arrivals at a rate that swings by
// half over a day, offered load 0.9 on 1000 nodes of 8 GPUs, estimates 1 to e times too long.
func diurnal(n int) *traces.Workload {
	arrivals, sizes := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(1, 2))
	gpus := []int32{1, 2, 4, 8}
	share := []float64{0.5, 0.75, 0.875, 1}
	const capacity, meanGPUs = 8000.0, 0.5*1 + 0.25*2 + 0.125*4 + 0.125*8
	meanRun := 600 * math.Exp(1.5*1.5/2)
	rate := 0.9 * capacity / (meanGPUs * meanRun) // tasks a second
	tb := &sched.Table{
		Tasks: make([]sched.Task, n), Estimates: make([]time.Duration, n), Jobs: int32(n),
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
	}
	for i, g := range gpus {
		tb.Demands = append(tb.Demands, sched.Demand{Need: sched.Need{GPUs: g, GPUMilli: sched.Whole}, Gang: 1})
		tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(i)})
	}
	w := &traces.Workload{Table: tb, Run: make([]time.Duration, n), Source: "diurnal", Format: "generated"}
	at := 0.0
	for t := range n {
		at += arrivals.ExpFloat64() / (rate * (1 + 0.5*math.Sin(2*math.Pi*at/86400)))
		class, u := 0, sizes.Float64()
		for u >= share[class] {
			class++
		}
		run := time.Duration(600e9*math.Exp(1.5*sizes.NormFloat64())) + 1
		tb.Tasks[t] = sched.Task{Submit: sched.Time(at * 1e9), Job: sched.JobID(t), Class: sched.ClassID(class)}
		w.Run[t], tb.Estimates[t] = run, time.Duration(float64(run)*math.Exp(sizes.Float64()))
	}
	return w
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

// layered makes one job of n tasks of a core each and about three times as many edges: layers of random width (15000 to 30000, fewer
// where n is small), each task behind 1 to 5 tasks of the layer before, run times of 1 to 100 s, ids topological. The layers are wider than
// the 8000 cores, which are busy most of the time.
func layered(n int) *traces.Workload {
	rng := rand.New(rand.NewPCG(2, 1))
	tb := &sched.Table{
		Tasks: make([]sched.Task, n), Jobs: 1,
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 1000}, Gang: 1}}, Classes: []sched.Class{{}},
		PredOff: make([]int32, 1, n+1), Pred: make([]sched.TaskID, 0, 3*n),
	}
	w := &traces.Workload{Table: tb, Run: make([]time.Duration, n), Source: "layered", Format: "generated"}
	tb.Estimates = w.Run // exact, and shared as the readers do
	narrow := max(min(15_000, n/15), 1)
	for from, end, before := 0, 0, 0; from < n; before, from = from, end {
		end = min(n, from+narrow+rng.IntN(narrow))
		for t := from; t < end; t++ {
			w.Run[t] = time.Second + time.Duration(rng.Int64N(99e9))
			if from > 0 {
				tb.Pred = someOf(tb.Pred, rng, before, from, 1+rng.IntN(5))
			}
			tb.PredOff = append(tb.PredOff, int32(len(tb.Pred)))
		}
	}
	off := make([]int32, n+2)
	for _, p := range tb.Pred {
		off[p+2]++
	}
	for t := range n {
		off[t+2] += off[t+1]
	}
	tb.Succ = make([]sched.TaskID, len(tb.Pred))
	for t := range sched.TaskID(n) {
		for _, p := range tb.Preds(t) {
			tb.Succ[off[p+1]] = t // where the list of p begins, and in the end that of p+1
			off[p+1]++
		}
	}
	tb.SuccOff = off[:n+1]
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
