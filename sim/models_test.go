package sim_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// downUp is a loss of node 0.
func downUp(from, to float64) []sim.Fault {
	return []sim.Fault{{At: at(from)}, {At: at(to), Up: true}}
}

// Every number here is worked out by hand: a task of 10 s on 2 GPUs.
func TestSecondsOfATaskWhoseWorkIsSaved(t *testing.T) {
	every3 := func(change func(*sim.Checkpoint)) *sim.Checkpoint {
		c := &sim.Checkpoint{Every: "3s", Cost: s, Restart: 500 * time.Millisecond}
		if change != nil {
			change(c)
		}
		return c
	}
	fails := []sim.Fault{{Task: 0, Attempt: 1, After: 9 * s}}
	for _, c := range []struct {
		name        string
		cfg         sim.Config
		want        want
		saves, load float64 // GPU-seconds
	}{
		// 3 + 1 + 3 + 1 + 3 + 1 + 1
		{"pays for checkpoints", sim.Config{Policy: evictAt(), Checkpoint: every3(nil)}, want{sched.Done, 13, 26, 6, 0, 0}, 6, 0},
		{"none at its end", sim.Config{Policy: evictAt(), Checkpoint: &sim.Checkpoint{Every: "5s", Cost: s}}, want{sched.Done, 11, 22, 2, 0, 0}, 2, 0},
		{"5 s where nothing is said", sim.Config{Policy: evictAt(), Checkpoint: &sim.Checkpoint{Cost: s}}, want{sched.Done, 11, 22, 2, 0, 0}, 2, 0},
		// Lost at 9 s: 6 s are saved at 8 s, 1 s is done again. Up at 10 s, restores 0.5 s, works 3, saves 1, works 1.
		{"goes on from the last checkpoint", sim.Config{Policy: evictAt(), Checkpoint: every3(nil), Faults: downUp(9, 10)}, want{sched.Done, 15.5, 29, 9, 0, 1}, 6, 1},
		// Lost at 7.5 s, within the second checkpoint: 3 s are saved; 0.5 + 3 + 1 + 3 + 1 + 1.
		{"a checkpoint cut short saves nothing", sim.Config{Policy: evictAt(), Checkpoint: every3(nil), Faults: downUp(7.5, 8)}, want{sched.Done, 17.5, 34, 14, 0, 1}, 7, 1},
		// Lost at 8 s, as the second checkpoint ends.
		{"one that ends as the node is lost has saved", sim.Config{Policy: evictAt(), Checkpoint: every3(nil), Faults: downUp(8, 8)}, want{sched.Done, 13.5, 27, 7, 0, 1}, 6, 1},
		// Lost at 8 s, back at 9 s, lost at 9.25 s while it restores.
		{"restoring can fail too", sim.Config{Policy: evictAt(), Checkpoint: every3(nil), Faults: append(downUp(8, 9), downUp(9.25, 10)...)}, want{sched.Done, 15.5, 27.5, 7.5, 0, 2}, 6, 1.5},
		{"an attempt that fails keeps what is saved", sim.Config{Policy: evictAt(), Checkpoint: every3(nil), Faults: fails}, want{sched.Done, 14.5, 29, 9, 0, 1}, 6, 1},
		// Evicted at 2 s: saves until 3 s, restores 0.5 s; 8 s left: 3 + 1 + 3 + 1 + 2.
		{"saves before it stops", sim.Config{Policy: evictAt(2), Checkpoint: every3(nil)}, want{sched.Done, 13.5, 27, 7, 1, 0}, 6, 1},
		{"loses what is not saved", sim.Config{Policy: evictAt(5), Checkpoint: every3(func(c *sim.Checkpoint) { c.Stop = "lose" })}, want{sched.Done, 5 + .5 + 3 + 1 + 3 + 1 + 1, 29, 9, 1, 0}, 6, 1},
		{"stops at once where all is saved", sim.Config{Policy: evictAt(4), Checkpoint: every3(nil)}, want{sched.Done, 13.5, 27, 7, 1, 0}, 6, 1},
		// Evicted at 3.5 s, within its first checkpoint.
		{"waits for the checkpoint that is being taken", sim.Config{Policy: evictAt(3.5), Checkpoint: every3(nil)}, want{sched.Done, 13.5, 27, 7, 1, 0}, 6, 1},
		// Evicted at 2 s, its node is lost at 2.5 s: nothing is saved.
		{"a node lost while it saves", sim.Config{Policy: evictAt(2), Checkpoint: every3(nil), Faults: downUp(2.5, 3)}, want{sched.Done, 3 + .5 + 13, 32, 12, 0, 1}, 7, 1},
		{"only when it is preempted", sim.Config{Policy: evictAt(4), Checkpoint: &sim.Checkpoint{Every: "never", Cost: s}}, want{sched.Done, 11, 22, 2, 1, 0}, 2, 0},
		{"pays the overhead of a preemption too", sim.Config{Policy: evictAt(4), Overhead: s, Checkpoint: every3(nil)}, want{sched.Done, 14.5, 29, 9, 1, 0}, 6, 3},
		// Young's interval for one node: sqrt(2 x 1 s x 8 s) = 4 s.
		{"Young's interval", sim.Config{Policy: evictAt(), Checkpoint: &sim.Checkpoint{Every: "young", Cost: s, MTBF: 8 * s}}, want{sched.Done, 12, 24, 4, 0, 0}, 4, 0},
		{"cut by the horizon", sim.Config{Policy: evictAt(), Checkpoint: every3(nil), Horizon: at(7.5)}, want{sched.Running, sched.Never.Seconds(), 15, 3, 0, 0}, 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Workload, c.cfg.Nodes = workload(t, with(gpus(0, 10*s, 2), func(r *traces.Row) { r.Retries = 1 })), nodes(1, 0, 2)
			res := run(t, c.cfg)
			c.want.check(t, res)
			wantSeconds(t, "GPU-seconds in checkpoints", res.CheckpointGPUSeconds, c.saves)
			wantSeconds(t, "GPU-seconds in restoring", res.RestoreGPUSeconds, c.load)
		})
	}
}

// Young's and Daly's intervals are those of the attempt: of two nodes together and its own failures.
func TestTheIntervalIsThatOfTheNodesOfAnAttempt(t *testing.T) {
	// 1/M = 2/(96 s) + 1/(16 s) = 1/12 s: sqrt(2 x 1.5 s x 12 s) = 6 s, so one checkpoint in 10 s.
	w := workload(t, with(gpus(0, 10*s, 1), func(r *traces.Row) { r.Gang, r.Retries = 2, 250 }))
	c := &sim.Checkpoint{Every: "young", Cost: 1500 * time.Millisecond}
	f := &sim.Failures{MTBF: 96 * s, TaskMTBF: 16 * s}
	for seed := range uint64(1000) {
		res := run(t, sim.Config{Workload: w, Nodes: nodes(2, 0, 1), Policy: &policies.List{}, Checkpoint: c, Failures: f, Seed: seed})
		if res.Restarts == 0 {
			wantSeconds(t, "end", res.Outcome(0).End.Seconds(), 11.5)
			return
		}
	}
	t.Fatal("it always failed")
}

// orderer orders a checkpoint of task 0 at times, and keeps what it is told.
type orderer struct {
	policies.List
	at    []sched.Time
	told  []string
	watch bool
}

func (p *orderer) WatchesCheckpoints() bool { return p.watch }

func (p *orderer) Observe(st *sched.State, e sched.Event) {
	p.List.Observe(st, e)
	if e.Kind == sched.CheckpointDone || e.Kind == sched.Started {
		p.told = append(p.told, fmt.Sprintf("%g: %v, %g saved in %g, %g at risk", st.Now().Seconds(), e.Kind, st.Kept(0).Seconds(), time.Duration(e.Value).Seconds(), st.AtRisk(0).Seconds()))
	}
}

func (p *orderer) Decide(r *sched.Round) {
	p.List.Decide(r)
	for len(p.at) > 0 && p.at[0] <= r.Now() {
		r.Checkpoint(0)
		p.at = p.at[1:]
	}
	if len(p.at) > 0 {
		r.WakeAt(p.at[0])
	}
}

func TestAnOrderedCheckpointHoldsTheTaskUpAndIsTold(t *testing.T) {
	w := workload(t, with(gpus(0, 10*s, 2), func(r *traces.Row) { r.Retries = 1 }))
	c := &sim.Checkpoint{Every: "4s", Cost: s, Restart: s}
	// 2 s of work, saved by 3 s; 4 more and saved by 8 s; the order at 7.5 s comes while it saves; 4 more: 12 s.
	p := &orderer{at: []sched.Time{at(2), at(7.5)}}
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 2), Policy: p, Checkpoint: c})
	want{sched.Done, 12, 24, 4, 0, 0}.check(t, res)
	if got := strings.Join(p.told, "; "); got != "3: checkpointed, 2 saved in 1, 0 at risk; 8: checkpointed, 6 saved in 1, 0 at risk" {
		t.Error(got)
	}
	// It fails after 6 s, by the script, though the order has moved its end: 2 s are kept, 3 lost.
	p = &orderer{at: []sched.Time{at(2)}, watch: true}
	res = run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 2), Policy: p, Checkpoint: c, Faults: []sim.Fault{{Task: 0, Attempt: 1, After: 6 * s}}})
	want{sched.Done, 6 + 1 + 4 + 1 + 4, 32, 2 * (1 + 3 + 1 + 1), 0, 1}.check(t, res)
	if got := strings.Join(p.told, "; "); got != "3: checkpointed, 2 saved in 1, 0 at risk; 7: started, 2 saved in 1, 0 at risk; 12: checkpointed, 6 saved in 1, 0 at risk" {
		t.Error(got)
	}
	// Of a task that would fail after its end, but not after the end that the checkpoint moves.
	p = &orderer{at: []sched.Time{at(2)}}
	res = run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 2), Policy: p, Checkpoint: &sim.Checkpoint{Every: "never", Cost: s}, Faults: []sim.Fault{{Task: 0, Attempt: 1, After: 10500 * time.Millisecond}}})
	want{sched.Done, 10.5 + 8, 37, 17, 0, 1}.check(t, res)
}

// errNoEnd ends a run in which tasks stop each other before they have saved anything, for ever.
var errNoEnd = errors.New("no end")

// savedCase runs a case under failures and checkpoints, and the independent checkers over it; nil where it does not end.
func savedCase(rt *rapid.T, c policytest.Case, cfg sim.Config) *sim.Result {
	var rec check.Recorder
	cfg.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
		if rec.Tap(now, in, out); rec.Batches() > 20_000 {
			return errNoEnd
		}
		return nil
	}
	res, err := runErr(cfg)
	if errors.Is(err, errNoEnd) {
		return nil
	} else if err != nil {
		rt.Fatal(err)
	}
	p := cfg.Checkpoint
	every, rule, node, own := p.For(cfg.Failures)
	one := check.Case{Table: cfg.Table(), Run: c.Run, RunOn: c.RunOn, Nodes: c.Nodes, Overhead: cfg.Overhead, Late: cfg.Window.Late(), Faults: rec.NodeFaults(), Saving: &check.Saving{
		Every: every, Rule: rule, NodeMTBF: node, MTBF: own, Cost: p.Cost, Restart: p.Restart, Lose: p.Stop == "lose", Wait: p.Outage == "wait",
		Outages: rec.Outages(), LostGPUSeconds: res.LostGPUSeconds,
	}}
	for _, v := range rec.Check(one, res.Outcome) {
		rt.Errorf("%v", v)
	}
	return res
}

// TestServiceGivenIsTheRunTimeInSpiteOfFailures holds random cases, failures and checkpoints against checkers that follow every attempt
// checkpoint by checkpoint: what finishes has had its run time, counted from what was saved, and what is lost adds up.
func TestServiceGivenIsTheRunTimeInSpiteOfFailures(t *testing.T) {
	lost, saves := 0.0, 0.0
	rapid.Check(t, func(rt *rapid.T) {
		c := policytest.Cases(policytest.Gen{MaxTasks: 16, Sends: true}).Draw(rt, "case")
		seconds := func(name string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from*10, to*10).Draw(rt, name)) * s / 10
		}
		cfg := caseConfig(c, named(rt, rapid.SampledFrom([]string{"fifo", "srtf", "rr{quantum=4s}", "las", "critical-path", "easy", "srsf", "srtf+two-choices"}).Draw(rt, "policy")))
		cfg.KillAtEstimate, cfg.Restart, cfg.Seed = false, false, rapid.Uint64().Draw(rt, "seed")
		cfg.Overhead = min(cfg.Overhead, s)
		// A node that the script leaves down may come back by itself.
		cfg.Failures = &sim.Failures{MTBF: seconds("mtbf", 100, 1000), Repair: seconds("repair", 0, 5), Shape: rapid.SampledFrom([]float64{0, 0.7, 2}).Draw(rt, "shape"), RepairShape: 1, Retries: 200}
		if cfg.Failures.Repair == 0 {
			cfg.Failures.RepairShape = 0
		}
		if rapid.Bool().Draw(rt, "tasks fail") {
			cfg.Failures.TaskMTBF = seconds("task mtbf", 100, 1000)
		}
		if rapid.Bool().Draw(rt, "storage fails") {
			cfg.Failures.StorageMTBF, cfg.Failures.StorageRepair = seconds("storage mtbf", 5, 50), seconds("storage repair", 1, 10)
		}
		cfg.Checkpoint = &sim.Checkpoint{
			Every: rapid.SampledFrom([]sim.Interval{"", "300ms", "1s", "2s", "young", "daly", "never"}).Draw(rt, "every"), Cost: seconds("cost", 0, 1), Restart: seconds("restart", 0, 1),
			Stop: rapid.SampledFrom([]string{"", "save", "lose"}).Draw(rt, "stop"), Outage: rapid.SampledFrom([]string{"", "fail", "wait"}).Draw(rt, "outage"),
		}
		if e := cfg.Checkpoint.Every; cfg.Checkpoint.Cost == 0 && (e == "young" || e == "daly") {
			cfg.Checkpoint.Cost = s / 10
		}
		res := savedCase(rt, c, cfg)
		if res == nil {
			return
		}
		lost, saves = lost+res.LostGPUSeconds, saves+res.CheckpointGPUSeconds
		// Told or not, what nobody looks at changes nothing.
		cfg.Policy = watcher{named(rt, "fifo")}
		told := savedCase(rt, c, cfg)
		cfg.Policy = named(rt, "fifo")
		untold := savedCase(rt, c, cfg)
		if told == nil || untold == nil {
			return
		}
		for id := range sched.TaskID(len(c.Run)) {
			if told.Outcome(id) != untold.Outcome(id) {
				rt.Errorf("task %d: %+v, and if checkpoints are told %+v", id, untold.Outcome(id), told.Outcome(id))
			}
		}
	})
	if lost == 0 || saves == 0 {
		t.Errorf("%v GPU-seconds lost, %v in checkpoints: nothing was tried", lost, saves)
	}
}

// watcher is a policy that wants to be told.
type watcher struct{ sched.Policy }

func (watcher) WatchesCheckpoints() bool { return true }

func TestAModelThatIsOffOrDoesNothingChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := policytest.Cases(policytest.Gen{MaxTasks: 16, Sends: true}).Draw(rt, "case")
		name := rapid.SampledFrom([]string{"fifo", "srtf", "rr{quantum=4s}", "critical-path"}).Draw(rt, "policy")
		cfg := caseConfig(c, named(rt, name))
		cfg.Restart = cfg.Restart && name != "rr{quantum=4s}" // it would never end
		plain, err := runErr(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		cfg.Policy = named(rt, name)
		cfg.Failures = &sim.Failures{MTBF: 1e6 * time.Hour, TaskMTBF: 1e6 * time.Hour}
		if !cfg.KillAtEstimate && !cfg.Restart && len(cfg.Faults) == 0 {
			cfg.Checkpoint = &sim.Checkpoint{} // they cost nothing
		}
		with, err := runErr(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		for id := range sched.TaskID(len(c.Run)) {
			if a, b := plain.Outcome(id), with.Outcome(id); a != b {
				rt.Errorf("task %d: %+v, with models that do nothing %+v", id, a, b)
			}
		}
		if math.Abs(plain.LostGPUSeconds-with.LostGPUSeconds) > 1e-9 {
			rt.Errorf("lost %v, with models that do nothing %v", plain.LostGPUSeconds, with.LostGPUSeconds)
		}
	})
}

// The times of failures follow their distribution: Kolmogorov and Smirnov's test at the level 0.001 against gonum's Weibull.
func TestNodesFailByTheirDistribution(t *testing.T) {
	w := workload(t, cpus(0, 4000*time.Hour, 1), cpus(0, 4000*time.Hour, 1))
	for _, f := range []sim.Failures{{MTBF: time.Hour}, {MTBF: time.Hour, Shape: 0.7}, {Scale: 2 * time.Hour, Shape: 3}} {
		var ups, downs []float64
		last := map[sched.NodeID]sched.Time{}
		f.Repair, f.RepairShape = 10*time.Minute, 1
		f.Retries = 255
		run(t, sim.Config{Workload: w, Nodes: nodes(2, 1, 0), Policy: &policies.List{Skip: true}, Failures: &f, Checkpoint: &sim.Checkpoint{}, Tap: func(now sched.Time, in []sched.Event, _ []sched.Command) error {
			for _, e := range in {
				switch e.Kind {
				case sched.NodeDown:
					ups = append(ups, now.Sub(last[e.Node]).Hours())
					last[e.Node] = now
				case sched.NodeUp:
					downs = append(downs, now.Sub(last[e.Node]).Hours())
					last[e.Node] = now
				}
			}
			return nil
		}})
		shape, scale := f.Shape, f.Scale.Hours()
		if shape == 0 {
			shape = 1
		}
		if scale == 0 {
			scale = 1 / math.Gamma(1+1/shape)
		}
		ks(t, f.String()+": up", ups, distuv.Weibull{K: shape, Lambda: scale})
		ks(t, f.String()+": down", downs, distuv.Weibull{K: 1, Lambda: 1. / 6})
	}
}

func ks(t *testing.T, what string, got []float64, want distuv.Weibull) {
	t.Helper()
	slices.Sort(got)
	d, n := 0.0, float64(len(got))
	for i, x := range got {
		p := want.CDF(x)
		d = max(d, math.Abs(p-float64(i)/n), math.Abs(p-float64(i+1)/n))
	}
	if limit := 1.95 / math.Sqrt(n); len(got) < 1000 || d > limit {
		t.Errorf("%s: %d times differ from the distribution by %.4f, %.4f is allowed", what, len(got), d, limit)
	}
}

// Nodes fail at the same times whatever runs on them.
func TestEveryPolicySeesTheSameFailures(t *testing.T) {
	var rows []traces.Row
	for i := range 200 {
		rows = append(rows, gpus(float64(i), time.Duration(1+i*7%50)*s, 1+int32(i%3)))
	}
	w := workload(t, rows...)
	var first string
	for _, name := range []string{"fifo", "srtf", "critical-path"} {
		var x strings.Builder
		run(t, sim.Config{Workload: w, Nodes: nodes(3, 0, 4), Policy: named(t, name), Failures: &sim.Failures{MTBF: 100 * s, Repair: 10 * s}, Seed: 7, Tap: func(now sched.Time, in []sched.Event, _ []sched.Command) error {
			for _, e := range in {
				if (e.Kind == sched.NodeDown || e.Kind == sched.NodeUp) && now < at(200) {
					fmt.Fprintf(&x, "%v %v n%d\n", now, e.Kind, e.Node)
				}
			}
			return nil
		}})
		if first == "" {
			first = x.String()
		}
		if x.String() != first || strings.Count(first, "node-down") < 3 {
			t.Errorf("%s: other failures, or few:\n%s\n%s", name, x.String(), first)
		}
	}
}

func TestTracesOfFailuresAreRead(t *testing.T) {
	ns := nodes(2, 1, 0)
	got, err := sim.ReadFaults(strings.NewReader("node,down_s,up_s\n# a comment\nn1,10.5,20\nn0,30,\n"), ns)
	if want := []sim.Fault{{At: at(10.5), Node: 1}, {At: at(20), Node: 1, Up: true}, {At: at(30)}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	got, err = sim.ReadFaults(strings.NewReader("task,attempt,after_s\n3,1,2.5\n"), ns)
	if want := []sim.Fault{{Task: 3, Attempt: 1, After: 2500 * time.Millisecond}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]string{
		"": "begins with", "a,b,c\n": "line 1", "node,down_s,up_s\nx,1,2\n": `no node "x"`, "node,down_s,up_s\nn0,1,0\n": "line 2: up_s",
		"node,down_s,up_s\nn0,one,2\n": "line 2: down_s", "task,attempt,after_s\n1,0,2\n": "line 2", "node,down_s,up_s\nn0,1\n": "line 2",
	} {
		if _, err := sim.ReadFaults(strings.NewReader(text), ns); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestModelsReadWhatTheyPrint(t *testing.T) {
	for _, text := range []string{"mtbf=720h,shape=0.7,repair=10m", "scale=500h,shape=2,repair=1m30s,repair-shape=1", "task-mtbf=100h,task-shape=0.5,retries=5", "storage-mtbf=200h,storage-repair=1h", "trace=a b.csv"} {
		f, err := sim.ParseFailures(text)
		if err != nil || f.String() != text {
			t.Errorf("%s: %v, %v", text, f, err)
		}
	}
	for _, text := range []string{"every=10m,cost=30s,restart=1m", "every=daly,cost=1s,mtbf=24h,stop=lose,outage=wait", "cost=1s"} {
		c, err := sim.ParseCheckpoint(text)
		if err != nil || c.String() != text {
			t.Errorf("%s: %v, %v", text, c, err)
		}
	}
	for text, want := range map[string]string{
		"": "must be written", "mtbf": "must be written", "mtfb=1h": `there is no "mtfb"; it is written mtbf=`, "mtbf=1h,mtbf=2h": "mtbf is said twice", "mtbf=soon": "duration",
		"mtbf=-1h": "negative", "mtbf=1h,scale=1h": "not both", "repair=1h": "nothing fails", "mtbf=0": "nothing fails", "task-mtbf=0s,storage-mtbf=0s": "nothing fails", "retries=3": "", "shape=2": "shape without", "mtbf=1h,shape=0": "", "mtbf=1h,shape=NaN": "0.1 to 100",
		"storage-mtbf=1h": "together", "retries=300": "255", "mtbf=1h,repair-shape=1": "without repair",
	} {
		if _, err := sim.ParseFailures(text); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{"every=0s": "above 0", "every=often": "young", "every=daly": "needs a cost", "cost=-1s": "negative", "stop=now": "save or lose", "outage=maybe": "fail or wait"} {
		if _, err := sim.ParseCheckpoint(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	c := sim.Checkpoint{Every: "daly", Cost: s}
	if err := c.Check(nil); err == nil || !strings.Contains(err.Error(), "needs mtbf") {
		t.Error(err)
	}
}

// A repair takes what is said, always, where it has no distribution.
func TestARepairTakesItsTime(t *testing.T) {
	var down sched.Time
	repairs := 0
	run(t, sim.Config{
		Workload: workload(t, with(gpus(0, 1000*s, 1), func(r *traces.Row) { r.Retries = 100 })), Nodes: nodes(1, 0, 1), Policy: &policies.List{},
		Failures: &sim.Failures{MTBF: 100 * s, Repair: 10 * s}, Checkpoint: &sim.Checkpoint{Every: "10s"},
		Tap: func(now sched.Time, in []sched.Event, _ []sched.Command) error {
			for _, e := range in {
				switch e.Kind {
				case sched.NodeDown:
					down = now
				case sched.NodeUp:
					if repairs++; now != down.Add(10*s) {
						t.Errorf("lost at %v s, back at %v s", down.Seconds(), now.Seconds())
					}
				}
			}
			return nil
		},
	})
	if repairs < 3 {
		t.Errorf("%d repairs: nothing was tried", repairs)
	}
}
