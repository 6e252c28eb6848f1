package policies_test

import (
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// Task 0 is promised n0, and goes to n3, which it fills. Task 1 is promised a core of n0 and three of n1; when its turn comes it takes three of n0 and one of n1, so that
// there is room for task 2 on n1 and n2.
func TestConservativeUsesRoomOfANodeOnWhichATaskStartsFewerReplicasThanPromised(t *testing.T) {
	gang := func(replicas int32) traces.Row {
		return with(cores(0, 10, 1), func(r *traces.Row) { r.Gang, r.Need.Mem = replicas, 2<<30 })
	}
	w := workload(t, cores(0, 10, 2), gang(4), gang(5))
	nodes := machines(4, 3, 0)
	for i := range nodes {
		nodes[i].CPU, nodes[i].Mem = 3500, 16<<30
	}
	nodes[3].CPU, nodes[3].Mem = 2000, 1<<30
	res := simulate(t, config(w, nodes, build(t, "conservative+best-fit")(), nil))
	for task := range sched.TaskID(3) {
		if at := res.Outcome(task).Start; at != 0 {
			t.Errorf("task %d starts at %v s, not at once", task, at.Seconds())
		}
	}
}
