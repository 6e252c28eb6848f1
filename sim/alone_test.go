package sim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
)

// toldAll hides what a policy says that it need not be told.
type toldAll struct{ sched.Policy }

// recorder writes down what it is told alone as facts are written down.
type recorder struct{ told *strings.Builder }

func (r recorder) Batch(now sched.Time, in []sched.Event, out []sched.Command) error {
	fmt.Fprintln(r.told, now, in, out)
	return nil
}

func (r recorder) Finished(now sched.Time, t sched.TaskID, attempt int32, done time.Duration, out []sched.Command) error {
	return r.Batch(now, []sched.Event{{Kind: sched.Finished, Task: t, Node: sched.NoNode, Attempt: attempt, Done: done}}, out)
}

func (r recorder) Arrived(now sched.Time, t sched.TaskID, out []sched.Command) error {
	return r.Batch(now, []sched.Event{{Kind: sched.JobArrived, Task: t, N: 1, Node: sched.NoNode}}, out)
}

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
				var res [4]*sim.Result
				var books [4]string
				var told, orders [4]strings.Builder
				var tapped strings.Builder
				for i := range res {
					cfg := caseConfig(c, named(rt, name))
					cfg.Orders = func(out []sched.Command) { fmt.Fprintln(&orders[i], out) }
					if i == 3 {
						cfg.Recorder = recorder{&told[i]}
					} else if i > 0 {
						cfg.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
							fmt.Fprintln(&told[i], now, in, out)
							if i == 1 && len(out) > 0 {
								fmt.Fprintln(&tapped, out)
							}
							return nil
						}
					}
					if i == 2 { // all the long way
						cfg.Policy = toldAll{cfg.Policy}
						cfg.WaitParts = func([]sched.WaitPart) {}
					}
					var err error
					if res[i], err = runErr(cfg); err != nil {
						rt.Fatal(err)
					}
					r := *res[i]
					r.Outcome, r.Outcomes, r.Ran, r.Wall = nil, nil, nil, 0
					books[i] = fmt.Sprintf("%+v", r)
				}
				for _, i := range []int{0, 1, 3} {
					for id := range sched.TaskID(len(c.Run)) {
						if x, y := res[i].Outcome(id), res[2].Outcome(id); x != y {
							rt.Errorf("task %d: %+v, with all facts written down %+v", id, x, y)
						}
					}
					if books[i] != books[2] {
						rt.Errorf("%s\nwith all facts written down\n%s", books[i], books[2])
					}
				}
				for i := range orders {
					if orders[i].String() != tapped.String() {
						rt.Errorf("orders (%d):\n%s\nof all batches\n%s", i, &orders[i], &tapped)
					}
				}
				for _, i := range []int{1, 3} {
					if told[i].String() != told[2].String() {
						rt.Errorf("told (%d):\n%s\nwith all facts written down\n%s", i, &told[i], &told[2])
					}
				}
			})
		})
	}
}
