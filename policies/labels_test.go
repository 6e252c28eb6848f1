package policies_test

import (
	"fmt"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// An edge node stands first and would be free for all: it gets its taint from its label alone, and only who tolerates that may run there; a
// task that asks for a label runs where it is, and one that must not have a label where it is not, though others wait for nothing.
func TestEveryPolicyKeepsToLabelsAndTaints(t *testing.T) {
	nodes, err := cluster.Parse("1x(16cpu,8xA100,node-type=edge)+1x(16cpu,8xA100)+1x(16cpu,4xV100,accelerator=npu)")
	if err != nil {
		t.Fatal(err)
	}
	nodes[1].Labels = append(nodes[1].Labels, sched.Label{Key: "disk", Value: "hdd"})
	const edge, plain, npu = 0, 1, 2
	tolerate := []sched.Toleration{{Key: "edge-node", Value: "true", Effect: "NoSchedule"}}
	b := traces.NewBuilder("constraints", "test")
	var allowed [][]sched.NodeID
	for i := range 60 {
		r := devices(float64(i)*20, 100, int32(1+i%2))
		r.Need.CPU, r.Kind, r.Tenant = 1000, fmt.Sprint(i%3), fmt.Sprint(i%4)
		r.Deadline = 5000e9
		if i%5 == 4 {
			r.Need.GPUs, r.Need.GPUMilli = 0, 0
		}
		on := []sched.NodeID{plain, npu}
		switch i % 3 {
		case 1:
			r.Labels, on = []sched.Label{{Key: "accelerator", Value: "npu"}}, []sched.NodeID{npu}
		case 2:
			r.Labels, r.Tolerations, on = []sched.Label{{Key: "node-type", Value: "edge"}}, tolerate, []sched.NodeID{edge}
		}
		switch i % 15 {
		case 3: // anti-affinity, to a value and to a key
			r.NotLabels, on = []sched.NotLabel{{Key: "disk", Value: "hdd"}}, []sched.NodeID{npu}
		case 6:
			r.NotLabels, on = []sched.NotLabel{{Key: "accelerator", Any: true}, {Key: "disk", Value: "ssd"}}, []sched.NodeID{plain}
		}
		if i == 57 { // tolerates the taint, and may run anywhere
			r.Labels, r.Tolerations, on = nil, tolerate, []sched.NodeID{edge, plain, npu}
		}
		if err := b.Add(&r); err != nil {
			t.Fatal(err)
		}
		allowed = append(allowed, on)
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range everyPolicy() {
		t.Run(name, func(t *testing.T) {
			c := config(w, nodes, build(t, name)(), nil)
			c.Tap = func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
				for _, o := range out {
					for _, p := range o.On {
						ok := false
						for _, n := range allowed[o.Task] {
							ok = ok || n == p.Node
						}
						if o.Kind == sched.Start && !ok {
							t.Errorf("task %d starts on %s", o.Task, nodes[p.Node].Name)
						}
					}
				}
				return nil
			}
			if res := simulate(t, c); res.Unfinished > 0 {
				t.Errorf("%d tasks are unfinished", res.Unfinished)
			}
		})
	}
}
