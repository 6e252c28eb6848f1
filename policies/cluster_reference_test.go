package policies_test

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/metrics"
)

// plainCases are cases that the cluster reference knows: whole GPUs, nothing fails. Where uniform, all nodes have reference speed.
func plainCases(uniform bool) *rapid.Generator[policytest.Case] {
	g := policytest.Gen{NoNodeFaults: true, NoTaskFaults: true, NoRestart: true, NoKill: true, NoOverhead: true, NoRunOn: true}
	return rapid.Map(policytest.Cases(g), func(c policytest.Case) policytest.Case {
		for i := range c.Table.Demands {
			d := &c.Table.Demands[i]
			if d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole { // several on a GPU before: now each has its own
				d.Need.GPUMilli, d.Gang = sched.Whole, 1
			}
		}
		if uniform {
			for n := range c.Nodes {
				c.Nodes[n].SpeedMilli = 0
			}
		}
		return c
	})
}

// TestTheSimulatorIsThePlainReference compares, task by task and byte by byte of the tasks CSV (times, attempts, nodes, devices), with a
// simulation that shares no code with it: policytest.RefSimulate.
func TestTheSimulatorIsThePlainReference(t *testing.T) {
	const quantum = 3 * time.Second
	weights := policies.DefaultWeights
	for _, c := range []struct {
		policy    string
		uniform   bool
		reference func() policytest.RefPolicy
	}{
		{"fifo", false, policytest.RefListFIFO},
		{"fjf", false, policytest.RefListFJF},
		{"sjf", false, func() policytest.RefPolicy { return policytest.RefListSJF(true) }},
		{"sjf{skip=false}", false, func() policytest.RefPolicy { return policytest.RefListSJF(false) }},
		{"easy", false, policytest.RefClusterEASY},
		{"srtf", true, policytest.RefListSRTF},
		{"rr{quantum=3s}", true, func() policytest.RefPolicy { return policytest.RefRoundRobin(quantum) }},
		{"critical-path", false, func() policytest.RefPolicy { return policytest.RefCriticalPath(policytest.RefWeights(weights), 0, 8) }},
		{"critical-path{patience=5s,score=2}", false, func() policytest.RefPolicy {
			return policytest.RefCriticalPath(policytest.RefWeights(weights), 5*time.Second, 2)
		}},
		{"critical-path{patience=20s,score=0}", false, func() policytest.RefPolicy {
			return policytest.RefCriticalPath(policytest.RefWeights(weights), 20*time.Second, 0)
		}},
	} {
		t.Run(c.policy, func(t *testing.T) {
			t.Parallel()
			newPolicy, cases := build(t, c.policy), plainCases(c.uniform)
			tasks, waited, again := 0, 0, 0
			check := func(rt *rapid.T) {
				one := cases.Draw(rt, "case")
				w := &traces.Workload{Table: one.Table, Run: one.Run}
				last := map[sched.TaskID][]sched.Placement{}
				res := simulate(policytest.TB(t, rt), config(w, one.Nodes, newPolicy(), func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
					for _, o := range out {
						if o.Kind == sched.Start {
							last[o.Task] = append([]sched.Placement(nil), o.On...)
						}
					}
					return nil
				}))
				want := policytest.RefSimulate(one, c.reference())
				got := tasksCSV(rt, w, one.Nodes, res.Outcome, func(t sched.TaskID) []sched.Placement { return last[t] })
				plain := tasksCSV(rt, w, one.Nodes, func(t sched.TaskID) sched.Outcome {
					k := want[t]
					node := sched.NoNode
					if len(k.On) > 0 {
						node = k.On[0].Node
					}
					return sched.Outcome{Phase: k.Phase, Attempts: k.Attempts, Ready: k.Ready, Start: k.Start, End: k.End, Held: k.Held, Node: node}
				}, func(t sched.TaskID) []sched.Placement { return want[t].On })
				if !bytes.Equal(got, plain) {
					rt.Fatalf("%s gives\n%s\nand the reference\n%s", c.policy, got, plain)
				}
				for _, k := range want {
					tasks++
					if k.Start > k.Ready {
						waited++
					}
					again += max(int(k.Attempts)-1, 0)
				}
			}
			for range 20 { // of a hundred cases each, unless -rapid.checks says more
				rapid.Check(t, check)
			}
			t.Logf("%d tasks, %d waited, %d stopped", tasks, waited, again)
			if waited < tasks/20 || c.uniform && again < tasks/50 {
				t.Error("the cases say little")
			}
		})
	}
}

func tasksCSV(tb rapid.TB, w *traces.Workload, nodes []sched.NodeSpec, outcome func(sched.TaskID) sched.Outcome, placed func(sched.TaskID) []sched.Placement) []byte {
	var b bytes.Buffer
	all := func(from sched.TaskID, outcomes []sched.Outcome) {
		for i := range outcomes {
			outcomes[i] = outcome(from + sched.TaskID(i))
		}
	}
	if err := metrics.WriteTasks(&b, w, nodes, all, placed); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}
