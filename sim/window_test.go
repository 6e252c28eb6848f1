package sim_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

const ms = time.Millisecond

// TestAFixedWindowGathersFromItsFirstFact is worked by hand: one core, tasks of 1 s at 0 and at 5 ms, a window of 20 ms, 2 ms a decision. Both arrivals are in the
// batch that closes at 20 ms; task 0 starts when it is decided, at 22 ms, and ends at 1.022 s, told at 1.044 s, when task 1 starts: three decisions.
func TestAFixedWindowGathersFromItsFirstFact(t *testing.T) {
	c := sim.Config{
		Workload: workload(t, cpus(0, 1*s, 1), cpus(0.005, 1*s, 1)), Nodes: nodes(1, 1, 0), Policy: &policies.List{},
		Window: &sim.Window{Min: 20 * ms, Max: 20 * ms, Cost: 2 * ms},
	}
	res := run(t, c)
	a, b := res.Outcome(0), res.Outcome(1)
	wantSeconds(t, "start", a.Start.Seconds(), 0.022)
	wantSeconds(t, "told end", a.End.Seconds(), 1.044)
	wantSeconds(t, "second start", b.Start.Seconds(), 1.044)
	wantSeconds(t, "second end", b.End.Seconds(), 2.066)
	wantSeconds(t, "waiting for the window", res.CauseSeconds[sched.Window], 0.022+0.017)
	if res.Batches != 3 {
		t.Errorf("%d decisions, want 3", res.Batches)
	}
}

// TestTheAdaptiveWindowTradesWaitForDecisions: 200 tasks a second on a cluster that has room for all. A decision takes 100 ms of the scheduler, so that 20 facts
// wait for each: the window grows to its 50 ms. With nothing to do it is gone: a lone task starts at once.
func TestTheAdaptiveWindowTradesWaitForDecisions(t *testing.T) {
	rows := []traces.Row{cpus(0, 1*s, 1)}
	for i := range 2000 {
		rows = append(rows, cpus(100+float64(i)*0.005, 1*s, 1))
	}
	c := sim.Config{Workload: workload(t, rows...), Nodes: nodes(1, 5000, 0), Policy: &policies.List{}}
	each := run(t, c)
	c.Window = &sim.Window{Min: 10 * ms, Max: 50 * ms, Cost: 100 * ms}
	adaptive := run(t, c)
	if o := adaptive.Outcome(0); o.Start != sched.Time(100*ms) {
		t.Errorf("a lone task starts at %v s, want after the decision alone, 0.1 s", o.Start.Seconds())
	}
	// 10 s of arrivals and 1 s of the last ends, a decision each 150 ms.
	if each.Batches < 2000 || adaptive.Batches > 90 || adaptive.Batches < 60 {
		t.Errorf("%d decisions without a window, %d with", each.Batches, adaptive.Batches)
	}
	var most time.Duration
	for i := range rows {
		most = max(most, adaptive.Outcome(sched.TaskID(i)).Start.Sub(rows[i].Submit))
	}
	if most > c.Window.Late() || most < 200*ms {
		t.Errorf("the longest wait is %v, want up to %v", most, c.Window.Late())
	}
}

func TestAWindowOfNoLengthChangesNothing(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{SmallOverhead: true, NoRestart: true})
	rapid.Check(t, func(t *rapid.T) {
		c := cases.Draw(t, "case")
		name := rapid.SampledFrom([]string{"fifo", "easy", "rr{quantum=3s}", "srtf"}).Draw(t, "policy")
		var got [2][]sched.Outcome
		for i := range got {
			cfg := caseConfig(c, build(t, name))
			if i == 1 {
				cfg.Window = &sim.Window{}
			}
			res, err := runErr(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for id := range c.Table.Tasks {
				got[i] = append(got[i], res.Outcome(sched.TaskID(id)))
			}
		}
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Fatalf("without a window %v, with one of no length %v", got[0], got[1])
		}
	})
}

func build(t *rapid.T, name string) sched.Policy {
	spec, err := policies.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policies.Build(spec, policies.Hints{MeanEstimate: 20 * s})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRunsWithAWindowKeepTheirPromises(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{SmallOverhead: true, NoRestart: true, NoNodeFaults: true})
	rapid.Check(t, func(t *rapid.T) {
		c := cases.Draw(t, "case")
		cfg := caseConfig(c, build(t, rapid.SampledFrom([]string{"fifo", "easy", "rr{quantum=3s}", "srtf", "critical-path"}).Draw(t, "policy")))
		lo := time.Duration(rapid.IntRange(0, 500).Draw(t, "min")) * ms
		cfg.Window = &sim.Window{Min: lo, Max: lo + time.Duration(rapid.IntRange(0, 500).Draw(t, "more"))*ms, Cost: time.Duration(rapid.IntRange(0, 100).Draw(t, "cost")) * ms}
		rec := check.Recorder{}
		cfg.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
			rec.Tap(now, in, out)
			return nil
		}
		res, err := runErr(cfg)
		if err != nil {
			t.Fatal(err)
		}
		cc := c
		cc.Late = cfg.Window.Late()
		if bad := rec.Check(cc, res.Outcome); len(bad) > 0 {
			t.Fatalf("%v", bad[0])
		}
	})
}
