package policies_test

import (
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Whoever comes while a task waits for its victims to stop cannot stop it yet, and does as soon as it has started.
func TestATaskThatCameDuringAClaimStopsTheClaimantOnceItRuns(t *testing.T) {
	table := &sched.Table{
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 3, Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}},
		Classes: []sched.Class{{}, {Priority: 1}, {Priority: 2}}, Estimates: []time.Duration{30 * time.Second, 20 * time.Second, 10 * time.Second},
	}
	for i := range 3 {
		table.Tasks = append(table.Tasks, sched.Task{Job: sched.JobID(i), Class: sched.ClassID(i), Submit: sched.Time(i) * 1e9})
	}
	arrives := func(task sched.TaskID) sched.Event {
		return sched.Event{Kind: sched.JobArrived, Task: task, N: 1, Node: sched.NoNode}
	}
	for _, name := range []string{"srtf", "srsf", "priority", "sjf{preempt=true}"} {
		k, err := sched.New(sched.Config{Table: table, Nodes: []sched.NodeSpec{{CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}, Policy: build(t, name)()})
		if err != nil {
			t.Fatal(err)
		}
		var stopped []sched.TaskID
		for at, e := range []sched.Event{arrives(0), arrives(1), arrives(2), {Kind: sched.Stopped, Task: 0, Attempt: 1, Done: 3 * time.Second}} {
			for _, o := range k.Step(sched.Time(at)*1e9, []sched.Event{e}) {
				if o.Kind == sched.Stop {
					stopped = append(stopped, o.Task)
				}
			}
		}
		if !slices.Equal(stopped, []sched.TaskID{0, 1}) {
			t.Errorf("%s stops %v, wanted task 0 for task 1, and then that for task 2", name, stopped)
		}
	}
}
