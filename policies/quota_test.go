package policies_test

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// A task that a quota keeps waiting at the head of a demand's line must not hide from a preemptive policy that an urgent one has come behind
// it: x runs, y found no room and may not stop it, z may.
func TestATaskBehindOneThatAQuotaRefusesStillStopsWhatItMay(t *testing.T) {
	const r, x, y, z = 0, 1, 2, 3
	tb := &sched.Table{
		Tasks:     []sched.Task{{}, {Class: 1}, {Class: 2}, {Submit: 1e9, Class: 2}},
		Deadlines: []sched.Time{5e9, sched.Never, sched.Never, 10e9},
		Estimates: []time.Duration{9e9, 9e9, 9e9, 9e9},
		Classes:   []sched.Class{{Demand: 0, Tenant: 1}, {Demand: 1}, {Demand: 0}},
		Demands:   []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 2000}}, {Gang: 1, Need: sched.Need{CPU: 1000}}},
		Tenants:   []string{"", "red"}, Queues: []string{""}, Kinds: []string{""}, Jobs: 4,
	}
	for i := range tb.Tasks {
		tb.Tasks[i].Job = sched.JobID(i)
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", CPU: 2000, Mem: sched.Unlimited}}, Policy: build(t, "edf")()})
	if err != nil {
		t.Fatal(err)
	}
	arrived := func(t sched.TaskID) sched.Event {
		return sched.Event{Kind: sched.JobArrived, Task: t, N: 1, Node: sched.NoNode}
	}
	none := &sched.Detail{Quota: &sched.Quota{Tenant: "red", CPU: 0, GPUMilli: -1}}
	k.Step(0, []sched.Event{{Kind: sched.QuotaSet, More: none}, arrived(r), arrived(x), arrived(y)})
	if k.Phase(r) != sched.Ready || k.Phase(x) != sched.Running || k.Phase(y) != sched.Ready {
		t.Fatalf("r %v, x %v, y %v: the case is another", k.Phase(r), k.Phase(x), k.Phase(y))
	}
	k.Step(1e9, []sched.Event{arrived(z)})
	if k.Phase(x) != sched.Stopping || k.Phase(z) != sched.Claiming {
		t.Errorf("x is %v and z is %v: z is due first and has to wait", k.Phase(x), k.Phase(z))
	}
}

// With repack=true a task that is moved frees its tenant's quota for a moment. What may start by that and waits for others to make room must not
// lose it again to the one that was moved, which would be moved anew, and so on for ever: x ends, so that m is to move from b to a; w, which m's
// quota kept waiting, comes before v and takes a.
func TestRepackingComesToRestWhereAQuotaHoldsTasksBack(t *testing.T) {
	const x, v, m, w = 0, 1, 2, 3
	one, four := sched.Need{GPUs: 1, GPUMilli: sched.Whole}, sched.Need{GPUs: 4, GPUMilli: sched.Whole}
	tb := &sched.Table{
		Tasks:     []sched.Task{{Job: x}, {Job: v, Class: 1}, {Job: m, Class: 2}, {Job: w, Class: 3, Submit: 1e9}},
		Estimates: []time.Duration{5e9, 20e9, 30e9, 6e9},
		Classes:   []sched.Class{{Demand: 0}, {Demand: 1}, {Demand: 1, Tenant: 1}, {Demand: 2, Tenant: 1}},
		Demands:   []sched.Demand{{Gang: 1, Need: sched.Need{GPUs: 3, GPUMilli: sched.Whole}}, {Gang: 1, Need: one}, {Gang: 1, Need: four}},
		Tenants:   []string{"", "red"}, Queues: []string{""}, Kinds: []string{""}, Jobs: 4,
	}
	node := sched.NodeSpec{Name: "a", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 4}
	nodes := []sched.NodeSpec{node, node}
	nodes[1].Name = "b"
	k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: build(t, "srtf{repack=true}")()})
	if err != nil {
		t.Fatal(err)
	}
	arrived := func(t sched.TaskID) sched.Event {
		return sched.Event{Kind: sched.JobArrived, Task: t, N: 1, Node: sched.NoNode}
	}
	quota := &sched.Detail{Quota: &sched.Quota{Tenant: "red", CPU: -1, GPUMilli: 4 * sched.Whole}}
	k.Step(0, []sched.Event{{Kind: sched.QuotaSet, More: quota}, arrived(x), arrived(v), arrived(m)})
	k.Step(1e9, []sched.Event{arrived(w)})
	facts := []sched.Event{{Kind: sched.Finished, Task: x, Attempt: 1, Done: 5e9}}
	for batch := 0; len(facts) > 0; batch++ {
		if batch == 10 {
			t.Fatalf("after %d batches of one instant there still are orders", batch)
		}
		orders := k.Step(5e9, facts)
		facts = nil
		for _, o := range orders {
			if o.Kind == sched.Stop {
				facts = append(facts, sched.Event{Kind: sched.Stopped, Task: o.Task, Attempt: o.Attempt, Done: 5e9})
			}
		}
	}
	if k.Phase(w) != sched.Running || k.Phase(v) != sched.Running || k.Phase(m) != sched.Ready {
		t.Errorf("w is %v, v is %v, m is %v: m waits for the quota that w has", k.Phase(w), k.Phase(v), k.Phase(m))
	}
}
