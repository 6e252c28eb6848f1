package policies

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// batches simulates a case and returns every batch: its time and its orders.
func batches(t testing.TB, c policytest.Case, p sched.Policy) []string {
	var out []string
	cfg := sim.Config{
		Workload: &traces.Workload{Table: c.Table, Run: c.Run, RunOn: c.RunOn}, Nodes: c.Nodes, Policy: p, Restart: c.Restart,
		KillAtEstimate: c.KillAtEstimate, Overhead: c.Overhead,
		Tap: func(now sched.Time, _ []sched.Event, cmds []sched.Command) error {
			line := fmt.Sprint(int64(now))
			for _, cmd := range cmds {
				line += fmt.Sprint(" ", cmd.Kind, cmd.Task, "#", cmd.Attempt, cmd.On)
			}
			out = append(out, line)
			return nil
		},
	}
	for _, f := range c.Faults {
		cfg.Faults = append(cfg.Faults, sim.Fault{At: f.At, Node: f.Node, Up: f.Up, Task: f.Task, Attempt: f.Attempt, After: f.After})
	}
	if _, err := sim.Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	return out
}

func sameBatches(tb testing.TB, rt *rapid.T, c policytest.Case, fast, plain sched.Policy) {
	a, b := batches(tb, c, fast), batches(tb, c, plain)
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			rt.Fatalf("batch %d: %q, the plain list %q", i, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		rt.Fatalf("%d batches, the plain list %d", len(a), len(b))
	}
}

// drawPlace draws a placement, by name so that a failure says which, and makes it twice: for the fast and for the plain policy.
func drawPlace(rt *rapid.T) (fast, plain Place) {
	name := rapid.SampledFrom(append([]string{""}, PlacementNames()...)).Draw(rt, "placement")
	if name == "" {
		return nil, nil
	}
	return FindPlacement(name).place(nil, Hints{}), FindPlacement(name).place(nil, Hints{})
}

func TestRoundRobinGivesTheOrdersOfThePlainList(t *testing.T) {
	gen := policytest.Cases(policytest.Gen{NoRestart: true, SmallOverhead: true})
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		quantum := rapid.SampledFrom([]time.Duration{2e9, 5e8, 1e9, 5e9, 20e9}).Draw(rt, "quantum")
		quantum += c.Overhead // else they do not get on
		fast, plain := &RoundRobin{Quantum: quantum}, plainRoundRobin(quantum)
		fast.Place, plain.Place = drawPlace(rt)
		sameBatches(policytest.TB(t, rt), rt, c, fast, plain)
	})
}

// Two halves fit on one GPU, or on two: which tasks stop for the gang, the room tells, and not the number of GPUs that its replicas ask for.
func TestRoundRobinMakesRoomForAGangOfSharesAsThePlainList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 3}
		for i, d := range []sched.Demand{{Gang: 1, Need: sched.Need{GPUs: 1, GPUMilli: sched.Whole}}, {Gang: 2, Need: sched.Need{GPUs: 1, GPUMilli: 500}}} {
			tb.Demands, tb.Classes = append(tb.Demands, d), append(tb.Classes, sched.Class{Demand: sched.DemandID(i)})
		}
		c := policytest.Case{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 2}}}
		for i := range 3 {
			run := time.Duration(rapid.IntRange(1, 12).Draw(rt, "run")) * time.Second
			submit := sched.Time(rapid.IntRange(0, 3).Draw(rt, "submit")) * 1e9
			if i > 0 {
				submit += tb.Tasks[i-1].Submit
			}
			tb.Tasks = append(tb.Tasks, sched.Task{Submit: submit, Job: sched.JobID(i), Class: sched.ClassID(i / 2)})
			tb.Estimates, c.Run = append(tb.Estimates, run), append(c.Run, run)
		}
		sameBatches(policytest.TB(t, rt), rt, c, &RoundRobin{Quantum: 2 * time.Second}, plainRoundRobin(2*time.Second))
	})
}

// stampede is a cluster of like nodes and many more tasks of one replica than it holds, so that many may be stopped at once.
func stampede(rt *rapid.T) policytest.Case {
	nodes, tasks := rapid.IntRange(1, 40).Draw(rt, "nodes"), rapid.IntRange(20, 300).Draw(rt, "tasks")
	seed := rapid.Uint64().Draw(rt, "seed")
	next := func(n uint64) uint64 { // xorshift64: a case of hundreds of tasks is too large to be drawn one by one
		seed ^= seed<<13 | 1
		seed ^= seed >> 7
		seed ^= seed << 17
		return seed % n
	}
	tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(tasks)}
	for i, need := range []sched.Need{
		{GPUs: 1, GPUMilli: sched.Whole},
		{GPUs: 2, GPUMilli: sched.Whole, CPU: 1000},
		{GPUs: 4, GPUMilli: sched.Whole, Mem: 1 << 30},
		{GPUs: 8, GPUMilli: sched.Whole},
		{CPU: 1000},
		{CPU: 3000, Mem: 5 << 30},
		{Mem: 2 << 30},
		{GPUs: 1, GPUMilli: sched.Whole, CPU: 4000}, // from here on more demands than the trees of rr in step
		{GPUs: 2, GPUMilli: sched.Whole},
		{CPU: 2000},
	} {
		tb.Demands = append(tb.Demands, sched.Demand{Gang: 1, Need: need})
		tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(i), Period: time.Duration(i%3) * time.Second})
	}
	kinds := uint64(len(tb.Demands))
	if rapid.Bool().Draw(rt, "gangs") {
		tb.Demands = append(tb.Demands, sched.Demand{Gang: 3, Need: sched.Need{GPUs: 2, GPUMilli: sched.Whole}}, sched.Demand{Gang: 2, Need: sched.Need{CPU: 2000}})
		tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(kinds)}, sched.Class{Demand: sched.DemandID(kinds + 1)})
		kinds += 2
	}
	if rapid.Bool().Draw(rt, "one kind") {
		kinds = 1
	}
	c := policytest.Case{Table: tb}
	for i := range nodes {
		n := sched.NodeSpec{Name: fmt.Sprint("n", i), CPU: 16000, Mem: 32 << 30, VRAM: sched.Unlimited, GPUs: 8, GPUType: "A"}
		if i == 0 && nodes < 4 { // else the gang of three does not fit
			n.GPUs = 24
		}
		c.Nodes = append(c.Nodes, n)
	}
	at := sched.Time(0)
	for t := range tasks {
		at += sched.Time(next(2) * next(4) * 25e7)
		run := time.Duration(1+next(120)) * 5e8
		if next(20) == 0 {
			run = 0
		}
		deadline := sched.Never
		if next(3) > 0 {
			deadline = at.Add(time.Duration(next(100)) * time.Second)
		}
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: at, Job: sched.JobID(t), Class: sched.ClassID(next(kinds))})
		tb.SetDeadline(sched.TaskID(t), deadline)
		est := run
		switch next(6) {
		case 0:
			est = run / 2
		case 1, 2:
			est = run * 2
		}
		tb.Estimates, c.Run = append(tb.Estimates, est), append(c.Run, run)
	}
	for range rapid.IntRange(0, 6).Draw(rt, "losses") {
		n, from := sched.NodeID(next(uint64(nodes))), sched.Time(next(100)*1e9)
		c.Faults = append(c.Faults, policytest.Fault{At: from, Node: n}, policytest.Fault{At: from.Add(time.Duration(next(20)) * time.Second), Node: n, Up: true})
	}
	slices.SortStableFunc(c.Faults, func(a, b policytest.Fault) int { return int(a.At/1e9 - b.At/1e9) })
	return c
}

func TestRoundRobinGivesTheOrdersOfThePlainListInAStampede(t *testing.T) {
	gen := rapid.Custom(stampede)
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		quantum := rapid.SampledFrom([]time.Duration{2e9, 1e9, 5e9, 20e9}).Draw(rt, "quantum")
		sameBatches(policytest.TB(t, rt), rt, c, &RoundRobin{Quantum: quantum}, plainRoundRobin(quantum))
	})
}

// keyedPair is a preemptive policy of the catalogue and the plain list that it must equal.
func keyedPair(rt *rapid.T) (fast *Preemptive, plain *plainList) {
	key, falls, sinks := Key(ShortestRemaining), true, false
	switch rapid.SampledFrom([]string{"srtf", "srtf", "srsf", "srsf", "rms", "edf", "dm"}).Draw(rt, "order") {
	case "srsf":
		key, falls, sinks = RemainingService, false, true
	case "rms":
		key, falls = ByPeriod, false
	case "edf":
		key, falls = ByDeadline, false
	case "dm":
		key, falls = ByRelativeDeadline, false
	}
	skip := rapid.Bool().Draw(rt, "skip")
	evict, mild := overtakes(key), rapid.Bool().Draw(rt, "mild")
	if mild {
		evict = passes(key)
	}
	return &Preemptive{Key: key, Falls: falls, Sinks: sinks, Mild: mild, Skip: skip}, &plainList{Key: key, Skip: skip, Evict: evict}
}

func TestPreemptiveOrdersAreThoseOfThePlainList(t *testing.T) {
	gen := policytest.Cases(policytest.Gen{NoRestart: true, NoOverhead: true})
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		if rapid.Bool().Draw(rt, "equal nodes") { // else the search over all running tasks decides most cases of srtf
			for i := range c.Nodes {
				c.Nodes[i].SpeedMilli = 0
			}
			clear(c.RunOn)
			clear(c.Table.EstimateOn)
			for i := range c.Table.Classes {
				c.Table.Classes[i].Speeds = 0
			}
		}
		fast, plain := keyedPair(rt)
		fast.Place, plain.Place = drawPlace(rt)
		sameBatches(policytest.TB(t, rt), rt, c, fast, plain)
	})
}

func TestPreemptiveOrdersAreThoseOfThePlainListInAStampede(t *testing.T) {
	gen := rapid.Custom(stampede)
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		if rapid.Bool().Draw(rt, "few tops") { // else they are mostly all running tasks
			defer func(kept, deep int) { keptTops, deepTops = kept, deep }(keptTops, deepTops)
			keptTops = rapid.IntRange(1, 8).Draw(rt, "tops")
			deepTops = rapid.SampledFrom([]int{1, 10, 2048}).Draw(rt, "deep")
		}
		fast, plain := keyedPair(rt)
		sameBatches(policytest.TB(t, rt), rt, c, fast, plain)
	})
}

// withOrders leaves out the batches without orders: the fast policy may be woken for fewer.
func withOrders(batches []string) []string {
	return slices.DeleteFunc(batches, func(b string) bool { return !strings.Contains(b, " ") })
}

func TestLeastLaxityOrdersAreThoseOfThePlainListInAStampede(t *testing.T) {
	gen := rapid.Custom(stampede)
	stops := 0
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		if rapid.Bool().Draw(rt, "no deadlines") {
			c.Table.Deadlines = nil
		}
		skip, quantum := rapid.Bool().Draw(rt, "skip"), rapid.SampledFrom([]time.Duration{5e8, 1e9, 4e9}).Draw(rt, "quantum")
		rule := NewLLF(nil, skip, quantum)
		plain := &plainList{
			Key: LatestStart, Skip: skip,
			Evict: func(s *sched.State, running, t sched.TaskID) (int64, bool) {
				rank := laxityRunning(s, running)
				return rank, rule.mayYield(s, rank, LatestStart(s, t))
			},
			Wake: func(r *sched.Round, t sched.TaskID) {
				for v := range r.RunningTasks() {
					if at := rule.yields(laxityRunning(r.State, v), LatestStart(r.State, t)); at > r.Now() && r.Phase(v) == sched.Running {
						r.WakeAt(at)
					}
				}
			},
		}
		tb := policytest.TB(t, rt)
		a, b := withOrders(batches(tb, c, NewLLF(nil, skip, quantum))), withOrders(batches(tb, c, plain))
		for i := range min(len(a), len(b)) {
			if strings.Contains(a[i], sched.Stop.String()) {
				stops++
			}
			if a[i] != b[i] {
				rt.Fatalf("batch %d: %q, the plain list %q", i, a[i], b[i])
			}
		}
		if len(a) != len(b) {
			rt.Fatalf("%d batches, the plain list %d", len(a), len(b))
		}
	})
	if stops == 0 {
		t.Error("nobody was stopped")
	}
}
