package history

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Time in which nothing is open is no part of what utilization and throughput are over: they stay what they were at the last end.
func TestAQuietWeekAfterTheLastEndChangesNoMetric(t *testing.T) {
	tb := &sched.Table{
		Tasks: make([]sched.Task, 2), Estimates: make([]time.Duration, 2), Classes: make([]sched.Class, 1),
		Demands: []sched.Demand{{Need: sched.Need{GPUs: 1, GPUMilli: sched.Whole}, Gang: 1}}, Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 1,
	}
	r := New(tb, []sched.NodeSpec{{Name: "n", GPUs: 2, CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited}})
	const s = sched.Time(time.Second)
	start := func(at sched.Time, task sched.TaskID) {
		r.Batch(at, []sched.Event{{Kind: sched.JobArrived, Task: task, N: 1, Node: sched.NoNode}},
			[]sched.Command{{Kind: sched.Start, Task: task, Attempt: 1, On: []sched.Placement{{Replicas: 1, GPUs: 1}}}})
	}
	check := func(at sched.Time, utilization, throughput float64) {
		t.Helper()
		if m := r.Look(Query{At: at}).Metrics; m.Utilization != utilization || m.Throughput != throughput {
			t.Errorf("at %v: utilization %v, %v tasks a minute; want %v, %v", at.Seconds(), m.Utilization, m.Throughput, utilization, throughput)
		}
	}
	start(0, 0)
	r.Advance(5 * s)
	check(5*s, 0.5, 0)
	r.Batch(10*s, []sched.Event{{Kind: sched.Finished, Task: 0, Attempt: 1, Node: sched.NoNode}}, nil)
	check(10*s, 0.5, 6)
	week := sched.Time(7 * 24 * time.Hour)
	r.Advance(week)
	check(week, 0.5, 6)
	check(week/2, 0.5, 6)
	start(week, 1) // who comes now shows that it was idle
	r.Advance(week + 10*s)
	check(week/2, 0.5, 6)
	check(week+10*s, 10/(week.Seconds()+10), 60/(week.Seconds()+10))
}
