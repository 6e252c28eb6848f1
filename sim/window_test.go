package sim_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
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

// Where a decision costs nothing no fact ever waits for one, and the window opens all the same while facts come fast.
func TestTheAdaptiveWindowOpensUnderLoadWhereDecisionsCostNothing(t *testing.T) {
	rows := []traces.Row{cpus(0, 1*s, 1)}
	for i := range 2000 {
		rows = append(rows, cpus(100+float64(i)*0.001, 1*s, 1))
	}
	for i := range 20 {
		rows = append(rows, cpus(200+float64(i), 1*s, 1))
	}
	c := sim.Config{Workload: workload(t, rows...), Nodes: nodes(1, 5000, 0), Policy: &policies.List{}, Window: &sim.Window{Min: 10 * ms, Max: 50 * ms}}
	res := run(t, c)
	if res.Batches > 200 {
		t.Errorf("%d decisions of 4042 facts, 4000 of which come within 3 s", res.Batches)
	}
	for _, i := range []int{0, len(rows) - 1} {
		if o := res.Outcome(sched.TaskID(i)); o.Start != rows[i].Submit {
			t.Errorf("lone task %d waits %v", i, o.Start.Sub(rows[i].Submit))
		}
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
	cases := policytest.Cases(policytest.Gen{SmallOverhead: true, NoRestart: true})
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
		cc.Faults = append(slices.DeleteFunc(slices.Clone(c.Faults), func(f policytest.Fault) bool { return f.Attempt == 0 }), rec.NodeFaults()...) // nodes are lost when that is told
		if bad := rec.Check(cc, res.Outcome); len(bad) > 0 {
			t.Fatalf("%v", bad[0])
		}
	})
}

// TestAWindowAndCheckpointsWorkTogether is worked by hand. Facts wait 20 ms. A task of 10 s saves its work every 3 s, which takes 1 s. It starts at
// 0.02, saves up to 4.02 and 8.02 and has 6 s when its node is lost at 9, which is told at 9.02; the node is back at 10, told at 10.02. Restoring takes 2 s: it
// works from 12.02 to 15.02, saves up to 16.02 and is done at 17.02. Lost are the second since 8.02, the saving of 1 s three times and the restoring. The same
// where a policy orders the checkpoint, or stops the task.
func TestAWindowAndCheckpointsWorkTogether(t *testing.T) {
	c := sim.Config{
		Workload: workload(t, with(gpus(0, 10*s, 1), func(r *traces.Row) { r.Retries = 3 })), Nodes: nodes(1, 0, 1), Policy: &policies.List{},
		Window: &sim.Window{Min: 20 * ms, Max: 20 * ms}, Checkpoint: &sim.Checkpoint{Every: "3s", Cost: s, Restart: 2 * s},
		Faults: []sim.Fault{{At: at(9), Node: 0}, {At: at(10), Node: 0, Up: true}},
	}
	res := run(t, c)
	o := res.Outcome(0)
	if end := at(17.04); o.Start != at(0.02) || o.End != end || o.Attempts != 2 {
		t.Errorf("from %v to %v in %d attempts, want 0.02 to 17.04 in 2", o.Start.Seconds(), o.End.Seconds(), o.Attempts)
	}
	if lost := res.LostGPUSeconds; math.Abs(lost-6) > 1e-9 {
		t.Errorf("%v GPU-seconds lost, want 6", lost)
	}
}

// A gang of 60 s over two nodes starts when its arrival is told, at 1 s. Its first node is lost at 10 s and back at once, the other at 10.5 s: of both the same
// batch tells, at 11 s. None of it runs then, so that it starts anew in that batch and not one window later; its end at 71 s is told at 72 s.
func TestAGangThatLosesAllItsNodesInOneBatchIsOverThen(t *testing.T) {
	ns := nodes(2, 0, 1)
	w := workload(t, with(gpus(0, 60*s, 1), func(r *traces.Row) { r.Gang = 2 }))
	rec := check.Recorder{}
	cfg := sim.Config{
		Workload: w, Nodes: ns, Policy: &policies.List{}, Window: &sim.Window{Min: s, Max: s},
		Faults: []sim.Fault{{At: at(10)}, {At: at(10), Up: true}, {At: at(10.5), Node: 1}, {At: at(10.5), Node: 1, Up: true}},
		Tap: func(now sched.Time, in []sched.Event, out []sched.Command) error {
			rec.Tap(now, in, out)
			return nil
		},
	}
	res := run(t, cfg)
	if o := res.Outcome(0); o.End != at(72) || o.Held != 71*s || o.Attempts != 2 {
		t.Errorf("ends at %v s, held for %v in %d attempts, want 72 s, 71s and 2", o.End.Seconds(), o.Held, o.Attempts)
	}
	wantSeconds(t, "lost GPU-seconds", res.LostGPUSeconds, 20)
	c := check.Case{Table: w.Table, Run: w.Run, Nodes: ns, Faults: rec.NodeFaults(), Late: cfg.Window.Late()}
	for _, v := range rec.Check(c, res.Outcome) {
		t.Error(v)
	}
}

// savingCase is a random case with failures of nodes, tasks and storage, and checkpoints.
func savingCase(t *rapid.T, policy string) (policytest.Case, sim.Config) {
	c := policytest.Cases(policytest.Gen{MaxTasks: 16, NoRestart: true, NoKill: true, NoOverhead: true, NoNodeFaults: true, NoTaskFaults: true, NoRunOn: true}).Draw(t, "case")
	cfg := caseConfig(c, build(t, policy))
	tenths := func(name string, to int) time.Duration {
		return time.Duration(rapid.IntRange(0, to).Draw(t, name)) * s / 10
	}
	cfg.Failures = &sim.Failures{MTBF: 300 * s, Repair: 5 * s, TaskMTBF: 300 * s, Retries: 250, StorageMTBF: 30 * s, StorageRepair: 3 * s}
	cfg.Checkpoint = &sim.Checkpoint{Every: rapid.SampledFrom([]sim.Interval{"1s", "2s", "daly", "never"}).Draw(t, "every"), Cost: tenths("saving", 9) + ms, Restart: tenths("restart", 9)}
	cfg.Seed = rapid.Uint64().Draw(t, "seed")
	cfg.Nodes = slices.Clone(cfg.Nodes)
	for i := range cfg.Nodes {
		cfg.Nodes[i].SpeedMilli = 0
	}
	c.Nodes = cfg.Nodes
	return c, cfg
}

func TestAWindowOfNoLengthChangesNothingOfCheckpoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"fifo", "easy", "rr{quantum=3s}", "srtf{victims=lost}"}).Draw(t, "policy")
		c, cfg := savingCase(t, name)
		var got [2]*sim.Result
		for i := range got {
			cfg.Policy = build(t, name)
			if i == 1 {
				cfg.Window = &sim.Window{}
			}
			res, err := runErr(cfg)
			if errors.Is(err, errNoEnd) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			got[i] = res
		}
		for id := range sched.TaskID(len(c.Run)) {
			if a, b := got[0].Outcome(id), got[1].Outcome(id); a != b {
				t.Fatalf("task %d: without a window %+v, with one of no length %+v", id, a, b)
			}
		}
		if a, b := got[0].LostGPUSeconds, got[1].LostGPUSeconds; math.Abs(a-b) > 1e-6 {
			t.Fatalf("%v GPU-seconds lost, with a window of no length %v", a, b)
		}
	})
}

// TestRunsWithAWindowAndCheckpointsKeepTheirPromises adds up the time that GPUs are held: less what was lost it is the work of the tasks, and what their
// ends and the losses of nodes waited until they were told.
func TestRunsWithAWindowAndCheckpointsKeepTheirPromises(t *testing.T) {
	restarts := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"fifo", "easy", "rr{quantum=3s}", "srtf{victims=lost}", "srsf{victims=saved}", "critical-path"}).Draw(t, "policy")
		c, cfg := savingCase(t, name)
		lo := time.Duration(rapid.IntRange(0, 500).Draw(t, "min")) * ms
		cfg.Window = &sim.Window{Min: lo, Max: lo + time.Duration(rapid.IntRange(0, 500).Draw(t, "more"))*ms, Cost: time.Duration(rapid.IntRange(0, 100).Draw(t, "cost")) * ms}
		res := savedCase(t, c, cfg)
		if res == nil {
			return
		}
		work, late := 0.0, 0.0
		for id := range sched.TaskID(len(c.Run)) {
			o, gpus := res.Outcome(id), float64(c.Table.DemandOf(id).GPUTotal())/sched.Whole
			if o.Phase != sched.Done {
				return // what had been kept of it is lost
			}
			run := c.Run[id].Seconds()
			work += gpus * run
			late += gpus * float64(o.Attempts) * cfg.Window.Late().Seconds()
			if o.Held < c.Run[id] {
				t.Errorf("task %d held its room for %v, and runs for %v", id, o.Held, c.Run[id])
			}
		}
		restarts += res.Restarts
		if got := res.GPUSeconds - res.LostGPUSeconds; got < work-1e-6 || got > work+late+1e-6 {
			t.Errorf("%v GPU-seconds held and %v lost, which leaves %v for work of %v, told up to %v late", res.GPUSeconds, res.LostGPUSeconds, got, work, late)
		}
	})
	if restarts == 0 {
		t.Error("nothing failed")
	}
}

// Two tasks share a GPU in turn, and the node is lost at any time: what an attempt saved before its end is no more than its checkpoints were, however much the ones before it had
// kept.
func TestALossAtAnyTimeBetweenCheckpointsKeepsThePromises(t *testing.T) {
	w := workload(t, gpus(0, 5*s, 1), gpus(0, 20*s, 1))
	for i := range w.Classes {
		w.Classes[i].Retries = 250
	}
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Case{Table: w.Table, Run: w.Run, Nodes: nodes(1, 4, 1)}
		cfg := caseConfig(c, build(t, "rr{quantum=3s}"))
		down := at(float64(rapid.IntRange(0, 25_000).Draw(t, "lost at, ms")) / 1000)
		cfg.Faults = []sim.Fault{{At: down, Node: 0}, {At: down.Add(5 * s), Node: 0, Up: true}}
		cfg.Checkpoint = &sim.Checkpoint{Every: "1s", Cost: 501 * ms, Restart: 900 * ms}
		cfg.Window = &sim.Window{Cost: ms}
		if savedCase(t, c, cfg) == nil {
			t.Fatal("it does not end")
		}
	})
}
