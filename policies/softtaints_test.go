package policies_test

import (
	"slices"
	"testing"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// softly is a node of four cores and GPUs with a soft taint, then one without.
func softly() []sched.NodeSpec {
	nodes := machines(2, 4, 4)
	nodes[0].Taints = []sched.Taint{{Key: "spot", Value: "yes", Effect: "PreferNoSchedule"}}
	return nodes
}

// nodesOf returns where the tasks of a workload are started first.
func nodesOf(t *testing.T, name string, w *traces.Workload, nodes []sched.NodeSpec) []sched.NodeID {
	t.Helper()
	on := make([]sched.NodeID, len(w.Table.Tasks))
	for i := range on {
		on[i] = sched.NoNode
	}
	c := config(w, nodes, build(t, name)(), nil)
	c.Tap = func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
		for _, o := range out {
			if o.Kind == sched.Start && on[o.Task] == sched.NoNode {
				on[o.Task] = o.On[0].Node
			}
		}
		return nil
	}
	if res := simulate(t, c); res.Unfinished > 0 {
		t.Errorf("%s: %d tasks are unfinished", name, res.Unfinished)
	}
	return on
}

// placingPolicies are first fit by the default of a policy, and every placement.
func placingPolicies() []string {
	names := []string{"fifo", "critical-path", "critical-path{score=0}", "easy", "rr", "srtf", "fifo+best-fit{by=sum}", "fifo+fgd{score=1}", "fifo+load-weighted{load=all}"}
	for _, p := range policies.PlacementNames() {
		names = append(names, "fifo+"+p, "easy+"+p)
	}
	return names
}

func TestATaskTakesASoftTaintedNodeOnlyWhereNoOtherHasRoom(t *testing.T) {
	for _, name := range placingPolicies() {
		w := workload(t, devices(0, 100, 2), devices(1, 100, 2), devices(2, 100, 1), devices(3, 10, 3), devices(102, 10, 1))
		if got, want := nodesOf(t, name, w, softly()), []sched.NodeID{1, 1, 0, 0, 1}; !slices.Equal(got, want) {
			t.Errorf("%s: starts on nodes %v, want %v", name, got, want)
		}
	}
}

func TestASoftTaintMakesNoTaskWait(t *testing.T) {
	for _, name := range placingPolicies() {
		rows := []traces.Row{devices(0, 100, 4), devices(1, 100, 2), cores(2, 100, 4), devices(3, 50, 2)}
		gang := with(devices(200, 10, 2), func(r *traces.Row) { r.Gang = 4 })
		w := workload(t, append(rows, gang)...)
		c := config(w, softly(), build(t, name)(), nil)
		c.Tap = func(now sched.Time, _ []sched.Event, out []sched.Command) error {
			for _, o := range out {
				if submit := w.Table.Tasks[o.Task].Submit; o.Kind == sched.Start && now != submit {
					t.Errorf("%s: task %d of %d starts at %d", name, o.Task, submit, now)
				}
			}
			return nil
		}
		simulate(t, c)
	}
}

func TestWhoToleratesASoftTaintSeesNoDifference(t *testing.T) {
	for _, name := range placingPolicies() {
		var rows []traces.Row
		for i := range 40 {
			r := devices(float64(i), 5+float64(i*7%11), int32(1+i%3))
			if i%4 == 3 {
				r = cores(float64(i), 9, 2)
			}
			r.Gang = int32(1 + i%5/4)
			r.Tolerations = []sched.Toleration{{Key: "spot", Exists: true}}
			rows = append(rows, r)
		}
		w := workload(t, rows...)
		if got, want := nodesOf(t, name, w, softly()), nodesOf(t, name, w, machines(2, 4, 4)); !slices.Equal(got, want) {
			t.Errorf("%s: starts on nodes %v, without the taint on %v", name, got, want)
		}
	}
}

// Who plans by finish time looks at no soft taint: two like nodes would end a task at the same time, and it takes the lower-numbered.
func TestEveryPolicyTakesASoftTaintedNodeLastUnlessItPlansByFinishTime(t *testing.T) {
	plans := []string{"conservative", "heft", "cpop", "peft", "lookahead", "lookahead{depth=all}", "dls", "etf", "min-min", "max-min"}
	for _, name := range everyPolicy() {
		w := workload(t, with(devices(0, 100, 2), func(r *traces.Row) { r.Deadline = 5000e9 }))
		want := sched.NodeID(1)
		if slices.Contains(plans, name) {
			want = 0
		}
		if got := nodesOf(t, name, w, softly()); got[0] != want {
			t.Errorf("%s: starts on node %d, want %d", name, got[0], want)
		}
	}
}
