package policies_test

import (
	"testing"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
)

// TestADecisionBeforeAnyFactOrdersNothing: the first batch may hold nothing that the policy is told, as a report of an attempt that nobody knows.
func TestADecisionBeforeAnyFactOrdersNothing(t *testing.T) {
	names := []string{"rms{mode=partitioned}"}
	for _, e := range policies.Catalogue {
		names = append(names, e.Name)
	}
	for _, name := range names {
		k, err := sched.New(sched.Config{Table: &sched.Table{}, Nodes: []sched.NodeSpec{{Name: "n", CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}, Policy: build(t, name)()})
		if err != nil {
			t.Fatal(err)
		}
		if out := k.Step(0, nil); len(out) > 0 {
			t.Errorf("%s orders %v", name, out)
		}
	}
}

// TestHRRNTellsWhoWaitsForRoomBehindAQuota: a task that a quota refused, and for which there is no room any more when its line is looked at next, waits for room.
func TestHRRNTellsWhoWaitsForRoomBehindAQuota(t *testing.T) {
	tb := &sched.Table{
		Tenants: []string{"", "a", "b"}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 2000}, Gang: 1}, {Need: sched.Need{CPU: 1000}, Gang: 1}},
		Classes: []sched.Class{{Demand: 0, Tenant: 1}, {Demand: 0, Tenant: 2}, {Demand: 1, Tenant: 2}},
	}
	for i, class := range []sched.ClassID{0, 2, 2, 0, 1, 1} { // of a; two small ones of b; then one of a, and two of b that ask for as much
		tb.Tasks = append(tb.Tasks, sched.Task{Job: sched.JobID(i), Class: class, Submit: sched.Time(i / 3)})
		tb.Estimates = append(tb.Estimates, 100)
	}
	tb.Jobs = int32(len(tb.Tasks))
	k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", CPU: 6000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}, Policy: build(t, "hrrn")()})
	if err != nil {
		t.Fatal(err)
	}
	arrive := func(from, to sched.TaskID) (in []sched.Event) {
		for id := from; id < to; id++ {
			in = append(in, sched.Event{Kind: sched.JobArrived, Task: id, N: 1, Node: sched.NoNode})
		}
		return in
	}
	quota := sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: &sched.Quota{Tenant: "a", CPU: 2000, GPUMilli: -1}}}
	k.Step(0, append([]sched.Event{quota}, arrive(0, 3)...))
	k.Step(1, arrive(3, 4)) // refused, with room for it
	k.Step(2, arrive(4, 6))
	if k.Phase(4) != sched.Running || k.CauseOf(3) != sched.Order || k.CauseOf(5) != sched.NoRoom {
		t.Fatalf("task 4 is %v, 3 waits for %v and 5 for %v", k.Phase(4), k.CauseOf(3), k.CauseOf(5))
	}
	k.Step(5, []sched.Event{{Kind: sched.Finished, Task: 1, Attempt: 1, Node: sched.NoNode, Done: 5}}) // a core: too little for any
	if c := k.CauseOf(3); c != sched.NoRoom {
		t.Errorf("it waits for %v", c)
	}
}
