package history

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// What a failure says of its retry is what becomes of the task: it waits so long, or its failure is final.
func TestAFailureThatSaysHowItGoesOnIsFollowed(t *testing.T) {
	for value, want := range map[int64][]sched.Phase{
		0: {sched.Backoff, sched.Ready, sched.Ready}, int64(3 * time.Second): {sched.Backoff, sched.Backoff, sched.Ready}, -1: {sched.Failed, sched.Failed, sched.Failed},
	} {
		for n := range int32(2) { // the next one that counts is final
			followFailure(t, value, n, want)
		}
	}
}

func followFailure(t *testing.T, value int64, n int32, want []sched.Phase) {
	t.Helper()
	tb := &sched.Table{
		Tasks: make([]sched.Task, 1), Estimates: make([]time.Duration, 1), Classes: []sched.Class{{Retries: 1, Backoff: 2 * time.Second}},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 1000}, Gang: 1}}, Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 1,
	}
	r := New(tb, []sched.NodeSpec{{Name: "n", CPU: 1000, Mem: sched.Unlimited}})
	const s = sched.Time(time.Second)
	r.Batch(0, []sched.Event{{Kind: sched.JobArrived, N: 1, Node: sched.NoNode}}, []sched.Command{{Kind: sched.Start, Attempt: 1, On: []sched.Placement{{Replicas: 1}}}})
	r.Batch(s, []sched.Event{{Kind: sched.FailedAttempt, Attempt: 1, Node: sched.NoNode, Value: value, N: n}}, nil)
	if value == 0 {
		start := sched.Command{Kind: sched.Start, Attempt: 2, On: []sched.Placement{{Replicas: 1}}}
		r.Batch(6*s, nil, []sched.Command{start})
		r.Batch(7*s, []sched.Event{{Kind: sched.FailedAttempt, Attempt: 2, Node: sched.NoNode}}, nil)
		if got := r.Look(Query{At: 7 * s, Task: &TaskQuery{}}).Task.Row.State; (got == sched.Failed) != (n == 0) {
			t.Errorf("after a failure of kind %d another leaves it %v", n, got)
		}
	}
	r.Advance(10 * s)
	for i, at := range []sched.Time{2 * s, 3500 * sched.Time(time.Millisecond), 5 * s} {
		if f := r.Look(Query{At: at, Task: &TaskQuery{}}); f.Task.Row.State != want[i] {
			t.Errorf("a failure that says %d: at %v it is %v, want %v", value, at.Seconds(), f.Task.Row.State, want[i])
		}
	}
}

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
