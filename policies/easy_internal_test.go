package policies

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

func orderStream(t testing.TB, c policytest.Case, p sched.Policy) []string {
	var out []string
	cfg := sim.Config{
		Workload: &traces.Workload{Table: c.Table, Run: c.Run, RunOn: c.RunOn}, Nodes: c.Nodes, Policy: p, Restart: c.Restart,
		KillAtEstimate: c.KillAtEstimate, Overhead: c.Overhead,
		Tap: func(now sched.Time, _ []sched.Event, cmds []sched.Command) error {
			for _, cmd := range cmds {
				out = append(out, fmt.Sprint(now, cmd.Kind, cmd.Task, cmd.On))
			}
			return nil
		},
	}
	for _, f := range c.Faults {
		cfg.Faults = append(cfg.Faults, sim.Fault{At: f.At, Node: f.Node, Up: f.Up, Task: f.Task, Attempt: f.Attempt, After: f.After})
	}
	if _, err := sim.Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	return out
}

// The index of expected ends, the lines that find the next task by its estimate, and the lazy reservation give what trying every task
// against a copy of the room gives.
func TestEasyIsTheSameWithItsIndexesAndWithout(t *testing.T) {
	gen := policytest.Cases(policytest.Gen{})
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		tb := policytest.TB(t, rt)
		fast, plain := orderStream(tb, c, &Easy{}), orderStream(tb, c, &Easy{plain: true})
		if !slices.Equal(fast, plain) {
			rt.Fatalf("orders differ:\nfast  %q\nplain %q", fast, plain)
		}
	})
}

// Two tasks hold memory until 5 s and 10 s; only the second's end makes room for the head. So the shadow time is 10 s, and a task of 8 s may
// start at once.
func TestEasyReservesByMemoryToo(t *testing.T) {
	b := traces.NewBuilder("memory", "test")
	for _, row := range []struct{ run, gib int64 }{{5, 1}, {10, 7}, {10, 6}, {8, 2}} {
		d := time.Duration(row.run) * time.Second
		if err := b.Add(&traces.Row{Run: d, Estimate: d, Need: sched.Need{CPU: 1000, Mem: row.gib << 30}}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	nodes := []sched.NodeSpec{{Name: "n", CPU: 16000, Mem: 10 << 30}}
	for _, p := range []*Easy{{}, {plain: true}} {
		res, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes, Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		if head, filler := res.Outcome(2).Start, res.Outcome(3).Start; head != 10e9 || filler != 0 {
			t.Errorf("plain=%v: the head starts at %v s and the filler at %v s, wanted 10 and 0", p.plain, head.Seconds(), filler.Seconds())
		}
	}
}
