package policies_test

import (
	"testing"
	"time"

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

// behindAQuota brings a policy to where task 3, which a quota refused while there was room, waits beside task 5, which finds none: both ask for 2 cores of 6. Tasks
// 1 and 2 run on one core each, 0 and 4 on two. The estimates are those of the tasks.
func behindAQuota(t *testing.T, policy string, estimates ...time.Duration) *sched.Kernel {
	t.Helper()
	tb := &sched.Table{
		Tenants: []string{"", "a", "b"}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 2000}, Gang: 1}, {Need: sched.Need{CPU: 1000}, Gang: 1}},
		Classes: []sched.Class{{Demand: 0, Tenant: 1}, {Demand: 0, Tenant: 2}, {Demand: 1, Tenant: 2}},
		Jobs:    6, Estimates: estimates,
	}
	for i, class := range []sched.ClassID{0, 2, 2, 0, 1, 1} { // of a; two small ones of b; then one of a, and two of b that ask for as much
		tb.Tasks = append(tb.Tasks, sched.Task{Job: sched.JobID(i), Class: class, Submit: sched.Time(i / 3)})
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", CPU: 6000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}, Policy: build(t, policy)()})
	if err != nil {
		t.Fatal(err)
	}
	quota := sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: &sched.Quota{Tenant: "a", CPU: 2000, GPUMilli: -1}}}
	k.Step(0, []sched.Event{quota, arrival(0), arrival(1), arrival(2)})
	k.Step(1, []sched.Event{arrival(3)})
	k.Step(2, []sched.Event{arrival(4), arrival(5)})
	if k.Phase(4) != sched.Running || k.CauseOf(3) != sched.Order || k.CauseOf(5) != sched.NoRoom {
		t.Fatalf("%s: task 4 is %v, 3 waits for %v and 5 for %v", policy, k.Phase(4), k.CauseOf(3), k.CauseOf(5))
	}
	return k
}

// TestWhoIsFirstWhereATaskEndsIsToldThatThereIsNoRoom: a task that a quota refused, and for which there is no room any more when a core comes free, waits for room.
func TestWhoIsFirstWhereATaskEndsIsToldThatThereIsNoRoom(t *testing.T) {
	for _, policy := range []string{"hrrn", "fair-share", "drf"} {
		k := behindAQuota(t, policy, 100, 100, 100, 100, 100, 100)
		k.Step(5, []sched.Event{report(sched.Finished, 1, 1, 5)})
		if c := k.CauseOf(3); c != sched.NoRoom {
			t.Errorf("%s: it waits for %v", policy, c)
		}
	}
}

// TestWhoComesNextAfterTheLastThatFitsIsToldThatThereIsNoRoom: the end of task 4 makes room for task 5, which is shorter than the one that a quota refused, and for no more.
func TestWhoComesNextAfterTheLastThatFitsIsToldThatThereIsNoRoom(t *testing.T) {
	k := behindAQuota(t, "sjf{skip=true}", 100, 100, 100, 100, 10, 50)
	k.Step(5, []sched.Event{report(sched.Finished, 4, 1, 5)})
	if k.Phase(5) != sched.Running || k.CauseOf(3) != sched.NoRoom {
		t.Errorf("task 5 is %v, 3 waits for %v", k.Phase(5), k.CauseOf(3))
	}
}

// TestWhoATaintKeepsOutIsToldNothingOfTheRoomThere: that a node with a taint has room again says nothing to those that it keeps out.
func TestWhoATaintKeepsOutIsToldNothingOfTheRoomThere(t *testing.T) {
	taint := sched.Taint{Key: "own", Value: "x", Effect: "NoSchedule"}
	two := sched.Need{CPU: 2000}
	tb := &sched.Table{
		Tenants: []string{"", "a", "b"}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Need: two, Gang: 1}, {Need: two, Gang: 1, Tolerations: []sched.Toleration{{Key: "own", Exists: true}}}},
		Classes: []sched.Class{{Demand: 0, Tenant: 1}, {Demand: 0, Tenant: 2}, {Demand: 1, Tenant: 2}},
		Jobs:    6, Estimates: make([]time.Duration, 6),
	}
	for i, class := range []sched.ClassID{2, 0, 0, 1, 1, 1} { // one on the node with the taint; two of a; then three of b, of which two find room
		tb.Tasks = append(tb.Tasks, sched.Task{Job: sched.JobID(i), Class: class, Submit: sched.Time(min(i, 4))})
	}
	nodes := []sched.NodeSpec{
		{Name: "own", CPU: 2000, Mem: sched.Unlimited, VRAM: sched.Unlimited, Taints: []sched.Taint{taint}},
		{Name: "n", CPU: 6000, Mem: sched.Unlimited, VRAM: sched.Unlimited},
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: build(t, "fjf")()})
	if err != nil {
		t.Fatal(err)
	}
	quota := sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: &sched.Quota{Tenant: "a", CPU: 2000, GPUMilli: -1}}}
	k.Step(0, []sched.Event{quota, arrival(0)})
	for i := range 3 {
		k.Step(sched.Time(1+i), []sched.Event{arrival(sched.TaskID(1 + i))})
	}
	k.Step(4, []sched.Event{arrival(4), arrival(5)})
	if k.Phase(4) != sched.Running || k.CauseOf(2) != sched.Order || k.CauseOf(5) != sched.NoRoom {
		t.Fatalf("task 4 is %v, 2 waits for %v and 5 for %v", k.Phase(4), k.CauseOf(2), k.CauseOf(5))
	}
	k.Step(9, []sched.Event{report(sched.Finished, 0, 1, 9)})
	if c := k.CauseOf(2); c != sched.Order {
		t.Errorf("it waits for %v", c)
	}
}
