package sim_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// TestAQueueScalesByItsBacklogAndItsNodesComeLateAndLeaveEmpty is worked by hand. One core a node, 10 tasks of 100 s at 0, two nodes on, target 2 tasks a
// replica, no rates. At 15 s 8 wait: ceil(8/2) = 4 replicas; the two nodes come 60 s later, at 75 s. The next decisions still see 8 waiting
// against 4: 4 replicas. At 75 s two start, 6 wait: 3 wished, kept at 4 by the window of 300 s. At 100 s the first two end and two start, at 175 and
// 200 s again; from then on nothing waits, all has ended at 300 s.
func TestAQueueScalesByItsBacklogAndItsNodesComeLateAndLeaveEmpty(t *testing.T) {
	var rows []traces.Row
	for range 10 {
		rows = append(rows, cpus(0, 100*s, 1))
	}
	w := workload(t, rows...)
	var x script
	res := run(t, sim.Config{
		Workload: w, Nodes: nodes(6, 1, 0), Policy: &policies.List{}, Tap: x.tap,
		Elastic: &sim.Elastic{Provisioning: 60 * s, Queues: []sim.ElasticQueue{{Backlog: 2, Tier: "high"}}},
	})
	var ends []float64
	for i := range rows {
		ends = append(ends, res.Outcome(sched.TaskID(i)).End.Seconds())
	}
	for i, want := range []float64{100, 100, 175, 175, 200, 200, 275, 275, 300, 300} {
		if ends[i] != want {
			t.Fatalf("ends %v: that of task %d, want %v", ends, i, want)
		}
	}
	wantSeconds(t, "node seconds", res.NodeHours*3600, 2*300+2*(300-15))
	if res.Scalings != 1 {
		t.Errorf("%d changes of the replicas, want 1", res.Scalings)
	}
}

// TestADrainedNodeEndsItsWorkAndCostsUntilThen: without a window the queue shrinks as soon as nothing waits. Four nodes run tasks of 40 s, of 1000 s and of 50 s;
// the two that were switched on at 15 s are drained at the next decision, and cost until their task has ended.
func TestADrainedNodeEndsItsWorkAndCostsUntilThen(t *testing.T) {
	w := workload(t, cpus(0, 40*s, 1), cpus(0, 1000*s, 1), cpus(0, 50*s, 1), cpus(0, 50*s, 1), cpus(500, 1*s, 1))
	res := run(t, sim.Config{
		Workload: w, Nodes: nodes(4, 1, 0), Policy: &policies.List{},
		Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Min: 1, Backlog: 1, Tier: "high", DownWindow: -1}}},
	})
	// At the start one node is on and runs task 0. At 15 s 3 wait: 3 replicas; 1 and 2 start. At 30 s one waits, of 3 replicas: 1 wished, so two nodes are
	// drained: those with the fewest tasks, of equals the last, nodes 2 and 1. Task 3 starts at 40 s on node 0. Node 2 is off at 65 s, node 1 at 1015 s.
	for i, want := range []float64{0, 15, 15, 40, 500} {
		if got := res.Outcome(sched.TaskID(i)).Start.Seconds(); got != want {
			t.Errorf("task %d starts at %v s, want %v", i, got, want)
		}
	}
	wantSeconds(t, "node seconds", res.NodeHours*3600, 1015+(65-15)+(1015-15))
}

func TestAGangBelowTheBacklogsTargetGetsTheNodesThatItTakes(t *testing.T) {
	gang := with(gpus(0, 10*s, 2), func(r *traces.Row) { r.Gang = 3 })
	c := sim.Config{Workload: workload(t, gang), Nodes: nodes(5, 8, 2), Policy: &policies.List{}, Elastic: &sim.Elastic{Provisioning: 30 * s, Queues: []sim.ElasticQueue{{}}}}
	if got := run(t, c).Outcome(0).Start; got != at(45) {
		t.Errorf("starts at %v s, want 45: decided at 15 s, 30 s to switch a node on", got.Seconds())
	}
	c.Elastic.Queues[0].Max = 2
	if _, err := runErr(c); err == nil || !strings.Contains(err.Error(), "takes 3 nodes") {
		t.Errorf("a task that its queue can never hold: %v", err)
	}
}

// TestHighTiersTakeThePoolFirst: two queues of the same backlog share eight nodes. The high one has its six at the first decision, the low one stays at its
// minimum for 300 s, and never holds more than its two.
func TestHighTiersTakeThePoolFirst(t *testing.T) {
	var rows []traces.Row
	for i := range 120 {
		rows = append(rows, with(cpus(0, 60*s, 1), func(r *traces.Row) { r.Queue = []string{"serve", "batch"}[i%2] }))
	}
	w := workload(t, rows...)
	c := sim.Config{
		Workload: w, Nodes: nodes(8, 2, 0), Policy: &policies.List{Skip: true},
		Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Name: "serve", Tier: "high", Backlog: 5, Max: 8}, {Name: "batch", Tier: "low", Backlog: 5}}},
	}
	res := poolChecked(t, c)
	last := map[string]float64{}
	for i := range rows {
		q := rows[i].Queue
		last[q] = max(last[q], res.Outcome(sched.TaskID(i)).Start.Seconds())
	}
	if last["serve"] > 310 || last["batch"] < 600 {
		t.Errorf("last starts %v: the high tier is to be served first", last)
	}
}

// poolChecked runs with both independent checkers.
func poolChecked(t interface {
	Helper()
	Fatalf(string, ...any)
}, c sim.Config,
) *sim.Result {
	t.Helper()
	rec := check.Recorder{}
	pool := check.Pool{Table: c.Workload.Table, Nodes: c.Nodes, Delay: c.Elastic.Provisioning}
	c.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
		rec.Tap(now, in, out)
		pool.Tap(now, in, out)
		return nil
	}
	res, err := runErr(c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	bad := rec.Check(check.Case{Table: c.Workload.Table, Run: c.Workload.Run, RunOn: c.Workload.RunOn, Nodes: c.Nodes, Faults: rec.NodeFaults()}, res.Outcome)
	// A node that was ordered and had not come when all was over costs too, and no fact tells of it.
	coming := time.Duration(res.Last)%(15*s) <= c.Elastic.Provisioning
	bad = append(bad, pool.Check(res.NodeHours, res.Last, c.Elastic.Provisioning < 15*s && !coming && len(c.Faults) == 0)...)
	if len(bad) > 0 {
		t.Fatalf("%v", bad[0])
	}
	return res
}

func TestElasticRunsKeepTheirPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []traces.Row
		n := rapid.IntRange(1, 60).Draw(t, "tasks")
		for range n {
			r := cpus(float64(rapid.IntRange(0, 900).Draw(t, "submit")), time.Duration(rapid.IntRange(0, 400).Draw(t, "run"))*s, int64(rapid.IntRange(1, 2).Draw(t, "cores")))
			r.Queue = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "queue")
			r.Gang = int32(rapid.IntRange(1, 2).Draw(t, "gang"))
			rows = append(rows, r)
		}
		b := traces.NewBuilder("case", "test")
		for i := range rows {
			if err := b.Add(&rows[i]); err != nil {
				t.Fatal(err)
			}
		}
		w, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		queue := func(name string) sim.ElasticQueue {
			return sim.ElasticQueue{
				Name: name, Tier: rapid.SampledFrom([]string{"high", "normal", "low"}).Draw(t, "tier"), Min: int32(rapid.IntRange(1, 2).Draw(t, "min")), Max: int32(rapid.IntRange(2, 6).Draw(t, "max")),
				Backlog: int64(rapid.IntRange(1, 6).Draw(t, "backlog")), DownWindow: time.Duration(rapid.IntRange(-1, 60).Draw(t, "window")) * s,
			}
		}
		policy := rapid.SampledFrom([]string{"fifo", "fjf", "easy", "sjf", "rr{quantum=20s}", "srtf"}).Draw(t, "policy")
		spec, err := policies.Parse(policy)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policies.Build(spec, policies.Hints{MeanEstimate: 20 * s})
		if err != nil {
			t.Fatal(err)
		}
		c := sim.Config{
			Workload: w, Nodes: nodes(rapid.IntRange(6, 9).Draw(t, "nodes"), 2, 0), Policy: p,
			Elastic: &sim.Elastic{Provisioning: time.Duration(rapid.IntRange(0, 40).Draw(t, "delay")) * s, Queues: []sim.ElasticQueue{queue("a"), queue("b"), queue("")}},
		}
		for range rapid.IntRange(0, 3).Draw(t, "faults") {
			f := sim.Fault{At: at(float64(rapid.IntRange(0, 1000).Draw(t, "at"))), Node: sched.NodeID(rapid.IntRange(0, 5).Draw(t, "node"))}
			c.Faults = append(c.Faults, f, sim.Fault{At: f.At + at(50), Node: f.Node, Up: true})
		}
		res := poolChecked(t, c)
		if res.Unfinished > 0 {
			t.Fatalf("%d tasks were left waiting", res.Unfinished)
		}
		if most := float64(len(c.Nodes)) * (res.Last - res.First).Seconds() / 3600; res.NodeHours > most*(1+1e-9) {
			t.Fatalf("%v node-hours of at most %v", res.NodeHours, most)
		}
	})
}

// TestAFixedClusterCostsAllItsNodes also shows that nothing else is different without the model.
func TestAFixedClusterCostsAllItsNodes(t *testing.T) {
	w := workload(t, cpus(0, 100*s, 1), cpus(10, 100*s, 1))
	res := run(t, sim.Config{Workload: w, Nodes: nodes(3, 1, 0), Policy: &policies.List{}})
	wantSeconds(t, "node seconds", res.NodeHours*3600, 3*110)
}

// TestReplicasAreWhatAPolicySaysUntilTheRuleDecides: a policy orders four replicas at its first decision, and all tasks start at once.
func TestReplicasAreWhatAPolicySaysUntilTheRuleDecides(t *testing.T) {
	var rows []traces.Row
	for range 4 {
		rows = append(rows, cpus(0, 10*s, 1))
	}
	c := sim.Config{Workload: workload(t, rows...), Nodes: nodes(5, 1, 0), Policy: &scaler{}, Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Min: 1}}}}
	res := poolChecked(t, c)
	for i := range rows {
		if o := res.Outcome(sched.TaskID(i)); o.Start != 0 {
			t.Errorf("task %d starts at %v s, want 0", i, o.Start.Seconds())
		}
	}
}

type scaler struct {
	policies.List
	done bool
}

func (p *scaler) Decide(r *sched.Round) {
	p.List.Decide(r)
	if !p.done {
		p.done = true
		r.Scale(0, 4)
	}
}

func TestWhatAnElasticClusterCannotBeIsRefused(t *testing.T) {
	w := workload(t, with(cpus(0, 1*s, 1), func(r *traces.Row) { r.Queue = "q" }))
	mixed := nodes(3, 1, 0)
	mixed[2].CPU = 5000
	for what, c := range map[string]sim.Config{
		"a pool is of equal nodes": {Nodes: mixed, Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{}}}},
		`nothing is said of queue "q", and nothing of all others, which a part without queue= does; no task is of queue "other"; there are "q"`: {Nodes: nodes(3, 1, 0), Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Name: "other"}}}},
		"no tier":                          {Nodes: nodes(3, 1, 0), Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Tier: "urgent"}}}},
		"minima add up to 9 replicas, and": {Nodes: nodes(3, 1, 0), Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Min: 9}}}},
	} {
		c.Workload, c.Policy = w, &policies.List{}
		if _, err := runErr(c); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want an error with %q", err, what)
		}
	}
}

// What the other queues have at least is not there for a task either, which would wait for ever.
func TestATaskLargerThanWhatOtherQueuesLeaveOfThePoolIsRefused(t *testing.T) {
	queue := func(name string) func(*traces.Row) { return func(r *traces.Row) { r.Queue = name } }
	gang := with(cpus(0, 1*s, 1), queue("a"))
	gang.Gang = 3
	c := sim.Config{
		Workload: workload(t, gang, with(cpus(0, 1*s, 1), queue("b"))), Policy: &policies.List{}, Nodes: nodes(3, 1, 0),
		Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Min: 1}}},
	}
	want := `takes 3 nodes, and queue "a" scales to 2: the pool has 3, less the minima of the other queues`
	if _, err := runErr(c); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want an error with %q", err, want)
	}
	c.Nodes = nodes(4, 1, 0)
	if _, err := runErr(c); err != nil {
		t.Errorf("with a node more: %v", err)
	}
}

// Of four nodes each queue has one at least, and a gang of three waits in both: the second gets its nodes when the first needs them no more.
func TestGangsOfTwoQueuesDoNotKeepEachOtherWaitingForEver(t *testing.T) {
	gang := func(queue string) traces.Row {
		return with(cpus(0, 10*s, 1), func(r *traces.Row) { r.Queue, r.Gang = queue, 3 })
	}
	res := run(t, sim.Config{
		Workload: workload(t, gang("a"), gang("b")), Policy: &policies.List{}, Nodes: nodes(4, 1, 0),
		Elastic: &sim.Elastic{Queues: []sim.ElasticQueue{{Min: 1}}},
	})
	if a, b := res.Outcome(0), res.Outcome(1); a.Start != at(15) || b.Start < a.End {
		t.Errorf("they start at %v and %v s, want 15, the first decision, and when the first has ended", a.Start.Seconds(), b.Start.Seconds())
	}
}

// A task runs and two wait; a node is on, and one is switched on at 15 s and has come up at 45 s. It is broken until 60 s: it takes nothing before, whether
// that begins while it is off or while it comes up. Of nodes that are off it is the last to be switched on.
func TestANodeThatIsBrokenTakesNothingWhenItIsSwitchedOn(t *testing.T) {
	for _, c := range []struct {
		nodes int
		from  float64
		want  float64
	}{{2, 5, 60}, {2, 20, 60}, {3, 5, 45}} {
		res := run(t, sim.Config{
			Workload: workload(t, cpus(0, 100*s, 1), cpus(0, 10*s, 1), cpus(0, 10*s, 1)), Policy: &policies.List{}, Nodes: nodes(c.nodes, 1, 0),
			Elastic: &sim.Elastic{Provisioning: 30 * s, Queues: []sim.ElasticQueue{{Min: 1, Backlog: 1, Tier: "high"}}},
			Faults:  []sim.Fault{{At: at(c.from), Node: 1}, {At: at(60), Node: 1, Up: true}},
		})
		if got := res.Outcome(1).Start; got != at(c.want) {
			t.Errorf("of %d nodes one is broken from %v s on: the second task starts at %v s, want %v", c.nodes, c.from, got.Seconds(), c.want)
		}
	}
}

func TestProvisioningIsSaidOnceWhereverItStands(t *testing.T) {
	for text, want := range map[string]string{
		"provisioning=60s":                        "provisioning=1m",
		"provisioning=60s,min=1,max=4,backlog=5":  "provisioning=1m;min=1,max=4,backlog=5",
		"min=1,provisioning=60s":                  "provisioning=1m;min=1",
		"queue=a,min=1;provisioning=60s;min=3":    "provisioning=1m;queue=a,min=1;min=3",
		"default":                                 "default",
		"provisioning=60s;min=1;provisioning=60s": "twice",
		"provisioning=-1s":                        "provisioning must not be negative",
		"provisioning=1":                          "provisioning=1 is not a duration",
		"min=1,min=2":                             "min is said twice",
		"min=1;max=4":                             "two parts name no queue",
		"queue=a;queue=b;queue=a,min=1":           "queue \"a\" has two parts",
		"queue=a,mni=1":                           "there is no \"mni\"",
	} {
		switch e, err := sim.ParseElastic(text); {
		case err != nil:
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
		case e.String() != want:
			t.Errorf("%s is %s, want %s", text, e, want)
		}
	}
}
