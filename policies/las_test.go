package policies_test

import (
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// ordersOf simulates on one node of so many GPUs and returns the orders.
func ordersOf(t *testing.T, policy string, gpus int32, rows ...traces.Row) string {
	t.Helper()
	tap, text := orders()
	simulate(t, config(workload(t, rows...), machines(1, 64, gpus), build(t, policy)(), tap))
	return text()
}

func TestLeastAttainedRunsInTurnsOfAQuantum(t *testing.T) {
	// Worked by hand: task 0 has run for 4 s when task 1 comes, which is stopped only once it has come further than those 4 quanta.
	got := ordersOf(t, "las{quantum=1s}", 1, devices(0, 6, 1), devices(4, 6, 1))
	if want := "0 start 0@0, 4 stop 0, 4 start 1@0, 9 stop 1, 9 start 0@0, 11 start 1@0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTiresiasQueuesAreByGPUTime(t *testing.T) {
	// Task 0 comes to 10 GPU-seconds after 5 s, task 1 after 10 s; then both are in the second queue, and task 0 came first.
	got := ordersOf(t, "2d-las{queues=10,fifo=submit}", 2, devices(0, 8, 2), devices(1, 12, 1), devices(1, 3, 1))
	if want := "0 start 0@0, 5 stop 0, 5 start 1@0, 5 start 2@0, 15 stop 1, 15 start 0@0, 18 start 1@0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTiresiasPromotesWhoeverHasWaitedLong(t *testing.T) {
	// Task 0 is in the second queue from 10 s on and others keep coming to the first; at a knob of 1 it counts as new once it has waited for 10 s,
	// and comes before who came to the first queue since it was stopped.
	rows := []traces.Row{devices(0, 40, 1)}
	for i := range 12 {
		rows = append(rows, devices(9+9*float64(i), 9, 1))
	}
	starved := ordersOf(t, "2d-las{queues=10}", 1, rows...)
	if !strings.HasSuffix(starved, "start 12@0, 118 start 0@0") || strings.Count(starved, "stop") != 1 {
		t.Errorf("without promotion: %s", starved)
	}
	got := ordersOf(t, "2d-las{queues=10,promote=1}", 1, rows...)
	want := "0 start 0@0, 10 stop 0, 10 start 1@0, 19 start 2@0, 28 start 0@0, 38 stop 0, 38 start 3@0"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s ...", got, want)
	}
}

func TestARoundDecidesOnItsGridOnly(t *testing.T) {
	w := workload(t, devices(5, 70, 1), devices(10, 10, 1), devices(61, 10, 1))
	p := build(t, "2d-las{queues=3600,round=60s}")()
	simulate(t, config(w, machines(1, 64, 1), p, func(now sched.Time, _ []sched.Event, out []sched.Command) error {
		if len(out) > 0 && now%sched.Time(time.Minute) != 0 {
			t.Errorf("orders at %g s", now.Seconds())
		}
		return nil
	}))
}

func TestQueueLimitsMustAscend(t *testing.T) {
	for _, bad := range []string{"2d-las{queues=7200/3600}", "2d-las{queues=0}", "2d-las{queues=a}", "2d-las{round=-1s}", "2d-las{promote=1e-9}"} {
		if _, err := policies.Parse(bad); err == nil || !strings.Contains(err.Error(), "must be") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestWhoClaimsRoomIsNotAwaitedToCountAsNew(t *testing.T) {
	// Tasks 0 and 1 share the T4. Task 1 is stopped at 2 s after a second in which it was served, and at 4 s claims the T4 of task 0, which has come to the
	// third queue; without the claim it would count as new at 4.25 s. The next step is that of task 2 on the A100, which task 3 waits for, at 4.5 s.
	of := func(r traces.Row, gpu string) traces.Row {
		return with(r, func(r *traces.Row) { r.GPUTypes = []string{gpu} })
	}
	nodes := machines(2, 64, 1)
	nodes[0].GPUType, nodes[1].GPUType = "T4", "A100"
	w := workload(t, of(devices(0, 9, 1), "T4"), of(devices(1, 9, 1), "T4"), of(devices(3.5, 9, 1), "A100"), of(devices(3.5, 9, 1), "A100"))
	k, err := sched.New(sched.Config{Table: w.Table, Nodes: nodes, Policy: build(t, "2d-las{queues=1/3,promote=2.25}")()})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []struct {
		at float64
		in []sched.Event
	}{
		{0, []sched.Event{arrival(0)}},
		{1, []sched.Event{arrival(1)}},
		{1, []sched.Event{report(sched.Stopped, 0, 1, time.Second)}},
		{2, nil},
		{2, []sched.Event{report(sched.Stopped, 1, 1, time.Second)}},
		{3.5, []sched.Event{arrival(2), arrival(3)}},
		{4, nil},
	} {
		k.Step(second(b.at), b.in)
	}
	if k.Phase(0) != sched.Stopping || k.Phase(1) != sched.Claiming || k.Phase(2) != sched.Running || k.Phase(3) != sched.Ready {
		t.Fatalf("at 4 s: %v, %v, %v, %v", k.Phase(0), k.Phase(1), k.Phase(2), k.Phase(3))
	}
	if at, _ := k.NextWake(); at != sched.Time(4.5e9) {
		t.Errorf("wakes at %g s", at.Seconds())
	}
}

func TestARestoredKernelAwaitsNoStepForWhoStandsBehindOneThatAQuotaRefused(t *testing.T) {
	// The GPU goes from task 0, at rank 3 then, to task 1, at rank 1, and to task 2. Task 3, of a tenant without GPUs, might stop that and is refused, and
	// task 0, which asks for the same, finds no room behind it. Once task 4 has claimed the GPU there is none for task 3 either.
	and := func(r traces.Row, cores int64, tenant string) traces.Row {
		return with(r, func(r *traces.Row) { r.Need.CPU, r.Tenant = cores*1000, tenant })
	}
	w := workload(t, and(devices(0, 99, 1), 0, "blue"), and(devices(3, 99, 1), 1, "blue"), and(devices(4, 99, 1), 0, "blue"), and(devices(5, 99, 1), 0, "red"), and(devices(5.5, 99, 1), 2, "blue"))
	newPolicy := build(t, "las{quantum=1s}")
	c := sched.Config{Table: w.Table, Nodes: machines(1, 64, 1), Policy: newPolicy()}
	k, err := sched.New(c)
	if err != nil {
		t.Fatal(err)
	}
	quota := sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: &sched.Quota{Tenant: "red", CPU: -1}}}
	k.Step(second(0), []sched.Event{quota, arrival(0)})
	k.Step(second(3), []sched.Event{arrival(1)})
	k.Step(second(3), []sched.Event{report(sched.Stopped, 0, 1, 3*time.Second)})
	k.Step(second(4), []sched.Event{arrival(2)})
	k.Step(second(4), []sched.Event{report(sched.Stopped, 1, 1, time.Second)})
	k.Step(second(5), []sched.Event{arrival(3)})
	k.Step(second(5.5), []sched.Event{arrival(4)})
	for task, want := range []sched.Phase{sched.Ready, sched.Ready, sched.Stopping, sched.Ready, sched.Claiming} {
		if got := k.Phase(sched.TaskID(task)); got != want {
			t.Errorf("task %d is %v, not %v", task, got, want)
		}
	}
	c.Policy = newPolicy()
	again := restore(t, k, c)
	if at, _ := k.NextWake(); at != second(6) {
		t.Fatalf("wakes at %g s", at.Seconds())
	}
	k.Step(second(6), nil)
	again.Step(second(6), nil)
	a, _ := k.NextWake()
	if b, _ := again.NextWake(); a != b {
		t.Errorf("wakes at %g s, the restored kernel at %g s", a.Seconds(), b.Seconds())
	}
}

func TestARoundBeginsAtTheFirstDecisionBehindItWhereFactsAreGathered(t *testing.T) {
	for window, want := range map[time.Duration][]float64{0: {0, 60}, 20 * time.Millisecond: {60.02, 120.02}} {
		w := workload(t, cores(0, 5, 1), cores(0.5, 5, 1))
		c := sim.Config{Workload: w, Nodes: machines(1, 1, 0), Policy: build(t, "2d-las{round=60s,queues=100}")()}
		if window > 0 {
			c.Window = &sim.Window{Min: window, Max: window}
		}
		r := simulate(t, c)
		for task, at := range want {
			if got := r.Outcome(sched.TaskID(task)).Start; got != second(at) {
				t.Errorf("with a window of %v task %d starts at %g s, not %g s", window, task, got.Seconds(), at)
			}
		}
	}
}
