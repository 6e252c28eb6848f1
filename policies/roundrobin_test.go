package policies_test

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// phases checks the phases of the first tasks.
func phases(t *testing.T, k *sched.Kernel, at string, want ...sched.Phase) {
	t.Helper()
	for task, ph := range want {
		if got := k.Phase(sched.TaskID(task)); got != ph {
			t.Errorf("at %s task %d is %v, not %v", at, task, got, ph)
		}
	}
}

// turns is a kernel under rr, with slices of 2 s, that has been told of the tasks of a workload when they were submitted.
func turns(t *testing.T, w *traces.Workload, nodes []sched.NodeSpec) *sched.Kernel {
	t.Helper()
	k, err := sched.New(sched.Config{Table: w.Table, Nodes: nodes, Policy: build(t, "rr{quantum=2s}")()})
	if err != nil {
		t.Fatal(err)
	}
	for task := range w.Tasks {
		k.Step(w.Tasks[task].Submit, []sched.Event{arrival(sched.TaskID(task))})
	}
	return k
}

func TestRoundRobinCountsOnRoomThatAClaimHasGivenUp(t *testing.T) {
	// At 2 s task 2 claims the GPU of task 0, which takes its time to stop, so that no slice is over that would help task 3. When task 2 is cancelled that GPU is
	// to be task 3's: the slice of task 1, on the other node, is over at 2.5 s, and goes on.
	w := workload(t, devices(0, 9, 1), devices(0.5, 9, 1), devices(1, 9, 1), devices(1.2, 9, 1))
	k := turns(t, w, machines(2, 64, 1))
	k.Step(second(2), nil)
	phases(t, k, "2 s", sched.Stopping, sched.Running, sched.Claiming, sched.Ready)
	k.Step(second(2.2), []sched.Event{{Kind: sched.Cancelled, Task: 2, Node: sched.NoNode}})
	k.Step(second(2.5), nil)
	phases(t, k, "2.5 s", sched.Stopping, sched.Running, sched.Dropped, sched.Ready)
	k.Step(second(3), []sched.Event{report(sched.Stopped, 0, 1, 2*time.Second)})
	if k.Phase(3) != sched.Running {
		t.Errorf("at 3 s task 3 is %v, not running", k.Phase(3))
	}
}

func TestRoundRobinCountsOnMemoryThatAnEndMakesFree(t *testing.T) {
	// Task 3 wants a whole node. At 2 s one slice is over, of half a node; the other half comes free at 2.5 s, long before its slice and that of task 2 are over.
	mem := func(submit float64, gib int64) traces.Row {
		return traces.Row{Submit: second(submit), Run: 9 * time.Second, Estimate: 9 * time.Second, Need: sched.Need{Mem: gib << 30}}
	}
	w := workload(t, mem(0, 2), mem(1, 2), mem(1.5, 4), mem(1.6, 4))
	nodes := machines(2, 64, 0)
	nodes[0].Mem, nodes[1].Mem = 4<<30, 4<<30
	k := turns(t, w, nodes)
	k.Step(second(2), nil)
	phases(t, k, "2 s", sched.Running, sched.Running, sched.Running, sched.Ready)
	k.Step(second(2.5), []sched.Event{report(sched.Finished, 1, 1, 1500*time.Millisecond)})
	phases(t, k, "2.5 s", sched.Stopping, sched.Done, sched.Running, sched.Claiming)
}

func TestRoundRobinCountsOnAShareThatAnEndMakesFree(t *testing.T) {
	// Two halves of the only GPU are held when task 2 comes; at 1.5 s, before any slice is over, one comes free.
	half := func(submit float64) traces.Row {
		return with(devices(submit, 9, 1), func(r *traces.Row) { r.Need.GPUMilli = 500 })
	}
	k := turns(t, workload(t, half(0), half(0.5), half(1)), machines(1, 64, 1))
	phases(t, k, "1 s", sched.Running, sched.Running, sched.Ready)
	k.Step(second(1.5), []sched.Event{report(sched.Finished, 0, 1, 1500*time.Millisecond)})
	phases(t, k, "1.5 s", sched.Done, sched.Running, sched.Running)
}
