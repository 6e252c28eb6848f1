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
