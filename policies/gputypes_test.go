package policies_test

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// respelled names GPU types otherwise, in the nodes and in what tasks ask for, each time anew.
func respelled(rt *rapid.T, c policytest.Case) policytest.Case {
	other := func(name string) string {
		if !strings.Contains("A100 V100 T4", name) || name == "" {
			return name // a node's name
		}
		return rapid.SampledFrom([]string{name, strings.ToLower(name), "NVIDIA " + name, "nvidia " + strings.ToLower(name)}).Draw(rt, "spelling")
	}
	tb := *c.Table
	tb.Demands = slices.Clone(tb.Demands)
	for i := range tb.Demands {
		types := slices.Clone(tb.Demands[i].GPUTypes)
		for k := range types {
			types[k] = other(types[k])
		}
		tb.Demands[i].GPUTypes = types
	}
	tb.Speeds = slices.Clone(tb.Speeds)
	for i := range tb.Speeds {
		tb.Speeds[i] = slices.Clone(tb.Speeds[i])
		for k := range tb.Speeds[i] {
			tb.Speeds[i][k].GPUType = other(tb.Speeds[i][k].GPUType)
		}
	}
	tb.EstimateOn = maps.Clone(tb.EstimateOn)
	for _, t := range slices.Sorted(maps.Keys(tb.EstimateOn)) {
		on := slices.Clone(tb.EstimateOn[t])
		for k := range on {
			on[k].On = other(on[k].On)
		}
		tb.EstimateOn[t] = on
	}
	c.Table, c.Nodes = &tb, slices.Clone(c.Nodes)
	for i := range c.Nodes {
		c.Nodes[i].GPUType = other(c.Nodes[i].GPUType)
	}
	return c
}

// TestOrdersDoNotDependOnHowGPUTypesAreSpelled: A100, a100 and NVIDIA A100 are one type, to every policy.
func TestOrdersDoNotDependOnHowGPUTypesAreSpelled(t *testing.T) {
	for _, name := range everyPolicy() {
		t.Run(name, func(t *testing.T) {
			newPolicy := build(t, name)
			cases := policytest.Cases(policytest.Gen{MaxTasks: 24})
			rapid.Check(t, func(rt *rapid.T) {
				c := cases.Draw(rt, "case")
				slices.SortStableFunc(c.Faults, func(a, b policytest.Fault) int { return cmp.Compare(a.At, b.At) })
				var both [2]*sched.Kernel
				for i, c := range []policytest.Case{c, respelled(rt, c)} {
					var err error
					if both[i], err = sched.New(sched.Config{Table: c.Table, Nodes: c.Nodes, Start: c.Table.Tasks[0].Submit, Policy: newPolicy()}); err != nil {
						rt.Fatal(err)
					}
				}
				h := &hand{c: c, k: both[0], now: c.Table.Tasks[0].Submit, kept: map[sched.TaskID]time.Duration{}}
				for i := range 400 {
					at, in, more := h.surprised(rt, false)
					if !more {
						break
					}
					again := slices.Clone(in)
					orders, same := both[0].Step(at, in), both[1].Step(at, again)
					if !slices.EqualFunc(orders, same, sameOrder) {
						rt.Fatalf("batch %d at %v: %v, spelled otherwise %v", i, at, orders, same)
					}
					h.carryOut(orders)
				}
			})
		})
	}
}
