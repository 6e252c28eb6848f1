package sim_test

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// want is what a hand-computed run must give. Every task here asks for 2 GPUs and, on nodes without cores, nothing else.
type want struct {
	phase                 sched.Phase
	end, gpu, lost        float64 // seconds
	preemptions, restarts int64
}

func (x want) check(t *testing.T, res *sim.Result) {
	t.Helper()
	o := res.Outcome(0)
	if o.Phase != x.phase {
		t.Errorf("task 0 is %v, wanted %v", o.Phase, x.phase)
	}
	wantSeconds(t, "end", o.End.Seconds(), x.end)
	wantSeconds(t, "GPU-seconds", res.GPUSeconds, x.gpu)
	wantSeconds(t, "lost GPU-seconds", res.LostGPUSeconds, x.lost)
	if res.Preemptions != x.preemptions || res.Restarts != x.restarts {
		t.Errorf("%d preemptions and %d restarts, wanted %d and %d", res.Preemptions, res.Restarts, x.preemptions, x.restarts)
	}
}

func estimated(r traces.Row, est time.Duration) traces.Row {
	r.Estimate = est
	return r
}

func TestSecondsOfAPreemptedTask(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  sim.Config
		want want
	}{
		{"resumes by default", sim.Config{Policy: evictAt(3)}, want{sched.Done, 10, 20, 0, 1, 0}},
		{"starts over with Restart", sim.Config{Policy: evictAt(3), Restart: true}, want{sched.Done, 13, 26, 6, 1, 0}},
		{"pays the overhead once a preemption", sim.Config{Policy: evictAt(3, 6), Overhead: s}, want{sched.Done, 12, 24, 4, 2, 0}},
		{"pays the overhead with Restart too", sim.Config{Policy: evictAt(3), Overhead: s, Restart: true}, want{sched.Done, 14, 28, 8, 1, 0}},
		// Stopped half a second into the overhead: that half is lost, and the next start pays it whole.
		{"pays only what it held of the overhead", sim.Config{Policy: evictAt(3, 3.5), Overhead: s}, want{sched.Done, 11.5, 23, 3, 2, 0}},
		{"pays no overhead at its first start", sim.Config{Policy: evictAt(), Overhead: s}, want{sched.Done, 10, 20, 0, 0, 0}},
		// The horizon cuts inside the overhead.
		{"has paid by the horizon what it held", sim.Config{Policy: evictAt(3), Overhead: 4 * s, Horizon: at(5)}, want{sched.Running, sched.Never.Seconds(), 10, 4, 1, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Workload, c.cfg.Nodes = workload(t, gpus(0, 10*s, 2)), nodes(1, 0, 2)
			c.want.check(t, run(t, c.cfg))
		})
	}
}

func TestARunIsCutAtItsEstimateOnlyWhereAsked(t *testing.T) {
	for _, c := range []struct {
		name string
		est  time.Duration
		cfg  sim.Config
		want want
	}{
		{"not asked", 4 * s, sim.Config{Policy: evictAt()}, want{sched.Done, 10, 20, 0, 0, 0}},
		{"too short", 4 * s, sim.Config{Policy: evictAt(), KillAtEstimate: true}, want{sched.Failed, 4, 8, 8, 0, 0}},
		{"just enough", 10 * s, sim.Config{Policy: evictAt(), KillAtEstimate: true}, want{sched.Done, 10, 20, 0, 0, 0}},
		{"long enough", 11 * s, sim.Config{Policy: evictAt(), KillAtEstimate: true}, want{sched.Done, 10, 20, 0, 0, 0}},
		// Its work of both attempts counts against the estimate, and all of it is lost with the kill.
		{"preempted", 4 * s, sim.Config{Policy: evictAt(3), KillAtEstimate: true}, want{sched.Failed, 4, 8, 8, 1, 0}},
		{"preempted, overhead is not work", 4 * s, sim.Config{Policy: evictAt(3), KillAtEstimate: true, Overhead: s}, want{sched.Failed, 5, 10, 10, 1, 0}},
		{"restarted", 4 * s, sim.Config{Policy: evictAt(3), KillAtEstimate: true, Restart: true}, want{sched.Failed, 7, 14, 14, 1, 0}},
		{"preempted, long enough", 10 * s, sim.Config{Policy: evictAt(3, 5), KillAtEstimate: true, Overhead: s}, want{sched.Done, 12, 24, 4, 2, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Workload, c.cfg.Nodes = workload(t, estimated(gpus(0, 10*s, 2), c.est)), nodes(1, 0, 2)
			c.want.check(t, run(t, c.cfg))
		})
	}
}

// The estimate of the workload is what a user has asked for; what a policy believes is its own affair, or rows of a compare would be of other work.
func TestARunIsCutAtTheWorkloadsEstimateWhateverThePolicySees(t *testing.T) {
	for _, c := range []struct {
		name      string
		est, seen time.Duration
		policy    sched.Policy
		want      want
	}{
		{"the policy knows the run time", 4 * s, 10 * s, evictAt(), want{sched.Failed, 4, 8, 8, 0, 0}},
		{"the policy believes half", 10 * s, 5 * s, evictAt(), want{sched.Done, 10, 20, 0, 0, 0}},
		{"preempted", 4 * s, 20 * s, evictAt(3), want{sched.Failed, 4, 8, 8, 1, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := workload(t, estimated(gpus(0, 10*s, 2), c.est))
			c.want.check(t, run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 2), Policy: c.policy, Estimates: []time.Duration{c.seen}, KillAtEstimate: true}))
		})
	}
}

func TestAKilledTaskIsNotTriedAgain(t *testing.T) {
	w := workload(t, with(estimated(gpus(0, 10*s, 2), 4*s), func(r *traces.Row) { r.Retries = 3 }))
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 2), Policy: evictAt(), KillAtEstimate: true})
	want{sched.Failed, 4, 8, 8, 0, 0}.check(t, res)
}

func TestSecondsOfAFailingTask(t *testing.T) {
	fails := func(attempt int32, after time.Duration) sim.Fault {
		return sim.Fault{Task: 0, Attempt: attempt, After: after}
	}
	retries := func(n int32, backoff time.Duration) traces.Row {
		return with(gpus(0, 10*s, 2), func(r *traces.Row) { r.Retries, r.Backoff = n, backoff })
	}
	for _, c := range []struct {
		name string
		row  traces.Row
		cfg  sim.Config
		want want
	}{
		{"tried again", retries(1, 0), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(1, 4*s)}}, want{sched.Done, 14, 28, 8, 0, 1}},
		{"after the backoff", retries(1, 5*s), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(1, 4*s)}}, want{sched.Done, 19, 28, 8, 0, 1}},
		{"the backoff doubles", retries(2, 5*s), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(1, 4*s), fails(2, s)}}, want{sched.Done, 4 + 5 + 1 + 10 + 10, 30, 10, 0, 2}},
		{"for good", retries(1, 0), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(1, 4*s), fails(2, 3*s)}}, want{sched.Failed, 7, 14, 14, 0, 1}},
		{"no retries", retries(0, 0), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(1, 4*s)}}, want{sched.Failed, 4, 8, 8, 0, 0}},
		{"only that attempt", retries(1, 0), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(2, 4*s)}}, want{sched.Done, 10, 20, 0, 0, 0}},
		{"it has ended by then", retries(0, 0), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(1, 10*s)}}, want{sched.Done, 10, 20, 0, 0, 0}},
		{"it was cut by then", estimated(retries(1, 0), 4*s), sim.Config{Policy: evictAt(), KillAtEstimate: true, Faults: []sim.Fault{fails(1, 4*s)}}, want{sched.Failed, 4, 8, 8, 0, 0}},
		{"at once", retries(1, 0), sim.Config{Policy: evictAt(), Faults: []sim.Fault{fails(1, 0)}}, want{sched.Done, 10, 20, 0, 0, 1}},
		// What it did before its preemption is kept over the failure: 3 s kept, 4 s lost, 7 s to go.
		{"keeps what it did before a preemption", retries(1, 0), sim.Config{Policy: evictAt(3), Faults: []sim.Fault{fails(2, 4*s)}}, want{sched.Done, 14, 28, 8, 1, 1}},
		{"for good after a preemption loses all", retries(0, 0), sim.Config{Policy: evictAt(3), Faults: []sim.Fault{fails(2, 4*s)}}, want{sched.Failed, 7, 14, 14, 1, 0}},
		// No overhead after a failure, but the one after the preemption is paid and lost.
		{"pays for preemptions only", retries(1, 0), sim.Config{Policy: evictAt(3), Overhead: s, Faults: []sim.Fault{fails(2, 4*s)}}, want{sched.Done, 14, 28, 8, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Workload, c.cfg.Nodes = workload(t, c.row), nodes(1, 0, 2)
			c.want.check(t, run(t, c.cfg))
		})
	}
}

func TestSuccessorsOfATaskThatFailsForGoodAreDropped(t *testing.T) {
	id := func(r traces.Row, id string, after ...string) traces.Row {
		r.ID, r.Job, r.After = id, "j", after
		return r
	}
	w := workload(t, id(gpus(0, 10*s, 2), "a"), id(gpus(0, 10*s, 2), "b", "a"), id(gpus(0, 10*s, 2), "c", "b"), id(gpus(0, s, 2), "d"))
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 2), Policy: evictAt(), Faults: []sim.Fault{{Task: 0, Attempt: 1, After: 4 * s}}})
	for i, ph := range []sched.Phase{sched.Failed, sched.Dropped, sched.Dropped, sched.Done} {
		if o := res.Outcome(sched.TaskID(i)); o.Phase != ph {
			t.Errorf("task %d is %v, wanted %v", i, o.Phase, ph)
		}
	}
	if res.Unfinished != 0 {
		t.Errorf("%d unfinished", res.Unfinished)
	}
	if res.Last != at(5) { // a dropped task does not end a run
		t.Errorf("last end %v", res.Last.Seconds())
	}
}

func TestSecondsOfTasksThatLoseTheirNode(t *testing.T) {
	down := func(n sched.NodeID, x float64) sim.Fault { return sim.Fault{Node: n, At: at(x)} }
	up := func(n sched.NodeID, x float64) sim.Fault { return sim.Fault{Node: n, At: at(x), Up: true} }
	one := gpus(0, 10*s, 2)
	gang := with(gpus(0, 10*s, 1), func(r *traces.Row) { r.Gang = 2 }) // on nodes of one GPU: over two
	for _, c := range []struct {
		name  string
		row   traces.Row
		nodes []sched.NodeSpec
		cfg   sim.Config
		want  want
	}{
		{"starts over when it is back", one, nodes(1, 0, 2), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 3), up(0, 8)}}, want{sched.Done, 18, 26, 6, 0, 1}},
		{"or elsewhere at once", one, nodes(2, 0, 2), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 3), up(0, 8)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"down and up at one instant", one, nodes(1, 0, 2), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 3), up(0, 3)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"told twice", one, nodes(1, 0, 2), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 3), down(0, 3), down(0, 4), up(0, 8), up(0, 9)}}, want{sched.Done, 18, 26, 6, 0, 1}},
		{"pays no overhead", one, nodes(1, 0, 2), sim.Config{Policy: evictAt(), Overhead: s, Faults: []sim.Fault{down(0, 3), up(0, 3)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"ends at the very instant: done, and nothing is lost", one, nodes(1, 0, 2), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 10)}}, want{sched.Done, 10, 20, 0, 0, 0}},
		{"fails at the very instant: lost once", with(one, func(r *traces.Row) { r.Retries = 1 }), nodes(1, 0, 2), sim.Config{
			Policy: evictAt(), Faults: []sim.Fault{{Task: 0, Attempt: 1, After: 4 * s}, down(0, 4), up(0, 5)},
		}, want{sched.Done, 15, 28, 8, 0, 1}},
		{"keeps what it did before a preemption", one, nodes(1, 0, 2), sim.Config{Policy: evictAt(3), Faults: []sim.Fault{down(0, 5), up(0, 5)}}, want{sched.Done, 12, 24, 4, 1, 1}},
		{"a gang over two, one lost", gang, nodes(3, 0, 1), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 3)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"a gang over two, both lost at once", gang, nodes(4, 0, 1), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 3), down(1, 3)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"a gang over two, one down and up at one instant", gang, nodes(2, 0, 1), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(1, 3), up(1, 3)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"the same pays no overhead", gang, nodes(2, 0, 1), sim.Config{Policy: evictAt(), Overhead: s, Faults: []sim.Fault{down(1, 3), up(1, 3)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"the same with Restart is lost once", gang, nodes(2, 0, 1), sim.Config{Policy: evictAt(), Restart: true, Faults: []sim.Fault{down(1, 3), up(1, 3)}}, want{sched.Done, 13, 26, 6, 0, 1}},
		{"a gang ends at the very instant", gang, nodes(2, 0, 1), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 10)}}, want{sched.Done, 10, 20, 0, 0, 0}},
		// Evicted, and its node lost, at one instant: the loss is told first, so the work is lost and the eviction finds nothing to stop.
		{"evicted at the very instant", one, nodes(2, 0, 2), sim.Config{Policy: evictAt(3), Faults: []sim.Fault{down(0, 3)}}, want{sched.Done, 13, 26, 6, 1, 1}},
		{"lost for good", one, nodes(1, 0, 2), sim.Config{Policy: evictAt(), Faults: []sim.Fault{down(0, 3)}}, want{sched.Ready, sched.Never.Seconds(), 6, 6, 0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Workload, c.cfg.Nodes = workload(t, c.row), c.nodes
			c.want.check(t, run(t, c.cfg))
		})
	}
}

func TestASlowNodeTakesLongerAndLosesItsOwnSeconds(t *testing.T) {
	two := nodes(2, 0, 2)
	two[0].SpeedMilli = 500
	// 3 s on the slow node do 1.5 s of work; the node is lost then, so all 10 s are done on the other.
	res := run(t, sim.Config{Workload: workload(t, gpus(0, 10*s, 2)), Nodes: two, Policy: evictAt(), Faults: []sim.Fault{{At: at(3), Node: 0}}})
	want{sched.Done, 13, 26, 6, 0, 1}.check(t, res)
	// Evicted instead and started again on the slow one: 20 s in all.
	res = run(t, sim.Config{Workload: workload(t, gpus(0, 10*s, 2)), Nodes: two, Policy: evictAt(3)})
	want{sched.Done, 20, 40, 0, 1, 0}.check(t, res)
	// Resumed on the fast one, as the slow is lost in between: 6 s slow are 3 s of work.
	res = run(t, sim.Config{Workload: workload(t, gpus(0, 10*s, 2)), Nodes: two, Policy: &movesAt{evicter: *evictAt(6)}})
	want{sched.Done, 13, 26, 0, 1, 0}.check(t, res)
}

// movesAt starts task 0 on node 0 first and on node 1 afterwards.
type movesAt struct{ evicter }

func (p *movesAt) Decide(r *sched.Round) {
	if r.Phase(0) == sched.Ready {
		n := sched.NodeID(min(r.Attempt(0), 1))
		r.Start(0, sched.Placement{Node: n, Replicas: 1})
	}
	p.evicter.Decide(r)
}

func TestSharesAndCoresCountAsTheirFraction(t *testing.T) {
	row := traces.Row{Run: 10 * s, Estimate: 4 * s, Need: sched.Need{CPU: 1500, GPUs: 1, GPUMilli: 300}, Gang: 3}
	res := run(t, sim.Config{Workload: workload(t, row), Nodes: nodes(2, 4, 1), Policy: named(t, "fifo"), KillAtEstimate: true})
	wantSeconds(t, "GPU-seconds", res.GPUSeconds, 4*0.9)
	wantSeconds(t, "lost GPU-seconds", res.LostGPUSeconds, 4*0.9)
	wantSeconds(t, "CPU-seconds", res.CPUSeconds, 4*4.5)
	wantSeconds(t, "lost CPU-seconds", res.LostCPUSeconds, 4*4.5)
}
