package sim_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
)

// toldAll hides what a policy says that it need not be told.
type toldAll struct{ sched.Policy }

func TestFactsThatAreNotWrittenDownDoAsThoseThatAre(t *testing.T) {
	for _, name := range []string{"fifo", "fjf", "sjf", "easy", "rr{quantum=2s}", "srtf", "conservative", "critical-path", "fair-share"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				c := policytest.Cases(policytest.Gen{NoRestart: true, SmallOverhead: true}).Draw(rt, "case")
				c.KillAtEstimate, c.RunOn, c.Table.EstimateOn, c.Table.EdgeBytes, c.Table.Data = false, nil, nil, nil, nil
				if rapid.Bool().Draw(rt, "calm") {
					c.Faults = nil
				}
				for i := range c.Nodes {
					c.Nodes[i].SpeedMilli = 0
				}
				for i := range c.Table.Classes {
					c.Table.Classes[i].Speeds = 0
				}
				var res [2]*sim.Result
				var books [2]string
				for i := range res {
					cfg := caseConfig(c, named(rt, name))
					if i == 1 {
						cfg.Policy = toldAll{cfg.Policy}
						cfg.Tap = func(sched.Time, []sched.Event, []sched.Command) error { return nil }
					}
					var err error
					if res[i], err = runErr(cfg); err != nil {
						rt.Fatal(err)
					}
					r := *res[i]
					r.Outcome, r.Outcomes, r.Ran, r.Wall = nil, nil, nil, 0
					books[i] = fmt.Sprintf("%+v", r)
				}
				for id := range sched.TaskID(len(c.Run)) {
					if x, y := res[0].Outcome(id), res[1].Outcome(id); x != y {
						rt.Errorf("task %d: %+v, with all facts written down %+v", id, x, y)
					}
				}
				if books[0] != books[1] {
					rt.Errorf("%s\nwith all facts written down\n%s", books[0], books[1])
				}
			})
		})
	}
}
