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
