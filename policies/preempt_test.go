package policies_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// Orders are carried out late, and facts of every kind come in between (cancellations, holds, quotas, new nodes, new estimates): the preemptive
// policies give the orders, and the wishes to be woken, of the plain list.
func TestPreemptivePoliciesAreThePlainListUnderAllFacts(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{MaxTasks: 24})
	for _, name := range []string{"rr", "srtf", "rms", "edf"} {
		t.Run(name, func(t *testing.T) {
			evictions := 0
			rapid.Check(t, func(rt *rapid.T) {
				c := cases.Draw(rt, "case")
				slices.SortStableFunc(c.Faults, func(a, b policytest.Fault) int { return cmp.Compare(a.At, b.At) })
				if rapid.Bool().Draw(rt, "whole GPUs, equal nodes") {
					for i := range c.Table.Demands {
						if d := &c.Table.Demands[i]; d.Need.GPUs > 0 {
							d.Need.GPUMilli = sched.Whole
						}
					}
					for i := range c.Nodes {
						c.Nodes[i].SpeedMilli = 0
					}
					clear(c.Table.EstimateOn)
					evenSpeeds(c.Table)
				}
				skip := name != "rr" && rapid.Bool().Draw(rt, "skip")
				full, quantum := name, 2*time.Second
				if name == "rr" {
					full = "rr{quantum=2s}"
				} else {
					full += fmt.Sprintf("{skip=%v}", skip)
				}
				config := sched.Config{Table: c.Table, Nodes: c.Nodes, Start: c.Table.Tasks[0].Submit}
				kernel := func(p sched.Policy) *sched.Kernel {
					config.Policy = p
					k, err := sched.New(config)
					if err != nil {
						rt.Fatal(err)
					}
					return k
				}
				k, plain := kernel(build(t, full)()), kernel(policies.PlainPreemptive(name, quantum, skip))
				h := &hand{c: c, k: k, now: config.Start, kept: map[sched.TaskID]time.Duration{}}
				for i := range 400 {
					at, in, more := h.surprised(rt, i < 60)
					if !more {
						break
					}
					again := slices.Clone(in)
					got := k.Step(at, in)
					want := plain.Step(at, again)
					if !slices.EqualFunc(got, want, sameOrder) {
						rt.Fatalf("batch %d at %v: %v, the plain list %v", i, at, got, want)
					}
					a, _ := k.NextWake()
					if b, _ := plain.NextWake(); a != b {
						rt.Fatalf("batch %d at %v: wakes at %v, the plain list at %v", i, at, a, b)
					}
					for _, o := range got {
						if o.Kind == sched.Stop {
							evictions++
						}
					}
					h.carryOut(got)
				}
			})
			if evictions < 10 && !testing.Short() { // -short draws a fifth of the cases
				t.Errorf("%d orders to stop: the cases say little", evictions)
			}
		})
	}
}

// evenSpeeds takes the throughput tables away.
func evenSpeeds(tb *sched.Table) {
	for i := range tb.Classes {
		tb.Classes[i].Speeds = 0
	}
}
