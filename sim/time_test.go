package sim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

func TestOneInstantIsEndsThenFaultsThenArrivalsThenOneDecision(t *testing.T) {
	var x script
	// Task 1 starts first and both end at 10, when task 2, which takes no time, arrives and node 1 is lost.
	w := workload(t, cpus(0, 10*s, 2), cpus(5, 5*s, 1), cpus(10, 0, 1))
	run(t, sim.Config{Workload: w, Nodes: nodes(2, 4, 0), Policy: named(t, "fifo"), Faults: []sim.Fault{{At: at(10), Node: 1}}, Tap: x.tap})
	x.wants(
		t,
		"0: arrived 0 -> start 0#1",
		"5: arrived 1 -> start 1#1",
		"10: finished 0, finished 1, node-down n1, arrived 2 -> start 2#1",
		"10: finished 2 ->", // no length: the next batch of the same instant
	)
}

func TestEndsOfOneInstantComeByTaskWhateverStartedFirst(t *testing.T) {
	var x script
	w := workload(t, cpus(0, 10*s, 1), cpus(0, 4*s, 1), cpus(0, 6*s, 1)) // one core: 0 until 10, 1 until 14, 2 until 20
	w2 := workload(t, cpus(0, 9*s, 1), cpus(1, 8*s, 1), cpus(2, 7*s, 1))
	run(t, sim.Config{Workload: w2, Nodes: nodes(1, 3, 0), Policy: &policies.List{Key: func(_ *sched.State, t sched.TaskID) int64 { return -int64(t) }}, Tap: x.tap})
	x.wants(t, "0: arrived 0 -> start 0#1", "1: arrived 1 -> start 1#1", "2: arrived 2 -> start 2#1", "9: finished 0, finished 1, finished 2 ->")
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: named(t, "fifo")})
	wantSeconds(t, "last end", res.Last.Seconds(), 20)
}

func TestStopsAreTheNextBatchOfTheSameInstant(t *testing.T) {
	var x script
	// At 2 task 1 overtakes task 0 on the only core, and task 2 starts on the GPU for no time at all.
	w := workload(t, cpus(0, 10*s, 1), cpus(2, 3*s, 1), gpus(2, 0, 1))
	run(t, sim.Config{Workload: w, Nodes: nodes(1, 1, 1), Policy: named(t, "srtf"), Tap: x.tap})
	x.wants(
		t,
		"0: arrived 0 -> start 0#1",
		"2: arrived 1, arrived 2 -> start 2#1, stop 0#1",
		"2: stopped 0, finished 2 -> start 1#1",
		"5: finished 1 -> start 0#2",
		"13: finished 0 ->",
	)
}

func TestReportsOfOneInstantComeByTaskWhateverTheirKind(t *testing.T) {
	var x script
	// At 2 the GPU comes free for task 1, which takes no time, and task 3 overtakes task 2.
	w := workload(t, gpus(0, 2*s, 1), gpus(0, 0, 1), cpus(0, 10*s, 1), cpus(2, 3*s, 1))
	key := func(_ *sched.State, t sched.TaskID) int64 { return map[sched.TaskID]int64{0: 0, 1: 1, 2: 9, 3: 2}[t] }
	p := &policies.List{Skip: true, Key: key, Evict: func(s *sched.State, v, t sched.TaskID) (int64, bool) { return key(s, v), key(s, v) > key(s, t) }}
	run(t, sim.Config{Workload: w, Nodes: nodes(1, 1, 1), Policy: p, Tap: x.tap})
	x.wants(
		t,
		"0: arrived 0, arrived 1, arrived 2 -> start 0#1, start 2#1",
		"2: finished 0, arrived 3 -> start 1#1, stop 2#1",
		"2: finished 1, stopped 2 -> start 3#1",
		"5: finished 3 -> start 2#2",
		"13: finished 2 ->",
	)
}

func TestTheEndOfAStoppedAttemptIsNotTold(t *testing.T) {
	var x script
	// Task 1 starts over at 3; at 10, when its first attempt would have ended, task 0 ends.
	w := workload(t, cpus(0, 10*s, 1), cpus(0, 10*s, 1))
	run(t, sim.Config{Workload: w, Nodes: nodes(1, 2, 0), Policy: &evicter{evict: []eviction{{at(3), 1}}}, Restart: true, Tap: x.tap})
	x.wants(
		t,
		"0: arrived 0, arrived 1 -> start 0#1, start 1#1",
		"3:  -> stop 1#1",
		"3: stopped 1 -> start 1#2",
		"10: finished 0 ->",
		"13: finished 1 ->",
	)
}

func TestTheHorizonCutsAfterItsOwnInstant(t *testing.T) {
	w := workload(t, gpus(0, 10*s, 1), gpus(0, 10*s, 1), gpus(30, 10*s, 1))
	cfg := sim.Config{Workload: w, Nodes: nodes(1, 0, 1), Policy: named(t, "fifo")}
	for _, c := range []struct {
		horizon          float64
		done, unfinished int
		gpuSeconds       float64
	}{
		{7, 0, 3, 7},
		{10, 1, 2, 10}, // what happens at the horizon still happens
		{13, 1, 2, 13}, // the running one counts up to the horizon, not to the last event
		{20, 2, 1, 20},
		{25, 2, 1, 20},
		{1000, 3, 0, 30},
	} {
		cfg.Horizon = at(c.horizon)
		cfg.Policy = named(t, "fifo")
		res := run(t, cfg)
		done := 0
		for i := range 3 {
			if res.Outcome(sched.TaskID(i)).Phase == sched.Done {
				done++
			}
		}
		if done != c.done || res.Unfinished != c.unfinished {
			t.Errorf("horizon %g: %d done, %d unfinished; wanted %d and %d", c.horizon, done, res.Unfinished, c.done, c.unfinished)
		}
		wantSeconds(t, fmt.Sprintf("horizon %g: GPU-seconds", c.horizon), res.GPUSeconds, c.gpuSeconds)
		integral := 0.0
		for i, v := range res.Series.GPUs {
			integral += v * bucket(res.Series, i, at(c.horizon)).Seconds()
		}
		wantSeconds(t, fmt.Sprintf("horizon %g: integral of the series", c.horizon), integral, c.gpuSeconds)
	}
	cfg.Horizon = at(-5) // before the first submit
	cfg.Policy = named(t, "fifo")
	if res := run(t, cfg); res.Unfinished != 3 || res.GPUSeconds != 0 {
		t.Errorf("a horizon before the first submit: %d unfinished, %g GPU-seconds", res.Unfinished, res.GPUSeconds)
	}
}

// bucket returns the length of bucket i of a series that ends at end.
func bucket(x sim.Series, i int, end sched.Time) time.Duration {
	from := x.From.Add(time.Duration(i) * x.Width)
	return min(x.Width, end.Sub(from))
}

func TestTimesBeforeZeroAreTimesLikeOthers(t *testing.T) {
	// Philly's first row is 0 and others are earlier.
	w := workload(t, gpus(0, 10*s, 1), gpus(-100, 50*s, 1), gpus(-90, 20*s, 1))
	var x script
	res := run(t, sim.Config{
		Workload: w, Nodes: nodes(1, 0, 1), Policy: named(t, "fifo"), Faults: []sim.Fault{{At: at(-500), Node: 0}, {At: at(-95), Node: 0, Up: true}}, Tap: x.tap,
	})
	if want := "-100: node-down n0, arrived 0 ->"; x.lines[0] != want { // time begins with the first submit
		t.Errorf("first batch %q, wanted %q", x.lines[0], want)
	}
	if res.First != at(-100) || res.Last != at(10) {
		t.Errorf("from %v to %v, wanted -100 to 10", res.First.Seconds(), res.Last.Seconds())
	}
	for i, want := range [][2]float64{{-95, -45}, {-45, -25}, {0, 10}} {
		if o := res.Outcome(sched.TaskID(i)); o.Start != at(want[0]) || o.End != at(want[1]) {
			t.Errorf("task %d: %v..%v, wanted %v", i, o.Start.Seconds(), o.End.Seconds(), want)
		}
	}
	if res.Series.From != at(-100) {
		t.Errorf("the series begins at %v", res.Series.From.Seconds())
	}
	if res.GPUSeconds != 80 {
		t.Errorf("%g GPU-seconds, wanted 80", res.GPUSeconds)
	}
}

// circler evicts whatever it has started.
type circler struct{ policies.List }

func (c *circler) Decide(r *sched.Round) {
	c.List.Decide(r)
	for t := range r.RunningTasks() {
		r.Evict(t)
	}
}

func TestOrdersInACircleAreAnErrorAndNotAHang(t *testing.T) {
	w := workload(t, cpus(3, 10*s, 1), cpus(3, 10*s, 1))
	_, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes(1, 2, 0), Policy: &circler{}})
	if err == nil || !strings.Contains(err.Error(), "without end at 3 s") {
		t.Errorf("error %v, wanted one that names the instant", err)
	}
}

func TestManyTasksWithoutLengthAreNoCircle(t *testing.T) {
	var rows []traces.Row
	for i := range 3000 { // each starts when the one before has ended, all at one instant
		rows = append(rows, with(cpus(0, 0, 1), func(r *traces.Row) {
			r.ID, r.Job = fmt.Sprint(i), "chain"
			if i > 0 {
				r.After = []string{fmt.Sprint(i - 1)}
			}
		}))
	}
	for _, policy := range []string{"fifo", "rr{quantum=1s}", "easy", "critical-path"} {
		if res := run(t, sim.Config{Workload: workload(t, rows...), Nodes: nodes(1, 1, 0), Policy: named(t, policy)}); res.Unfinished != 0 {
			t.Errorf("%s: %d unfinished", policy, res.Unfinished)
		}
	}
}

// waker wakes every second and starts nothing.
type waker struct{}

func (waker) Observe(*sched.State, sched.Event) {}
func (waker) Decide(r *sched.Round)             { r.WakeAt(r.Now() + 1e9) }

func TestTheContextEndsARun(t *testing.T) {
	w := workload(t, cpus(0, s, 1))
	ctx, cancel := context.WithCancelCause(context.Background())
	batches := 0
	_, err := sim.Run(ctx, sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: waker{}, Tap: func(sched.Time, []sched.Event, []sched.Command) error {
		if batches++; batches == 5000 {
			cancel(nil)
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) || batches < 5000 || batches > 10000 {
		t.Errorf("error %v after %d batches", err, batches)
	}
	if _, err := sim.Run(ctx, sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: named(t, "fifo")}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended already: error %v", err)
	}
}

func TestAnErrorOfTapEndsARun(t *testing.T) {
	full := errors.New("disk full")
	_, err := sim.Run(context.Background(), sim.Config{
		Workload: workload(t, cpus(0, s, 1)), Nodes: nodes(1, 1, 0), Policy: named(t, "fifo"),
		Tap: func(sched.Time, []sched.Event, []sched.Command) error { return full },
	})
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

func TestATaskThatFitsNoNodeIsNamed(t *testing.T) {
	w := workload(t, cpus(0, s, 1), with(gpus(1, s, 3), func(r *traces.Row) { r.ID = "big" }), with(gpus(2, s, 3), func(r *traces.Row) { r.ID = "big2" }))
	_, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes(4, 2, 2), Policy: named(t, "fifo")})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"case:", "task big ", "3 GPU", "2 of 3 tasks"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	// A gang of three one-GPU replicas does fit two nodes of two.
	gang := workload(t, with(gpus(0, s, 1), func(r *traces.Row) { r.Gang = 3 }))
	if res := run(t, sim.Config{Workload: gang, Nodes: nodes(2, 0, 2), Policy: named(t, "fifo")}); res.Unfinished != 0 {
		t.Error("a gang over two nodes did not run")
	}
}

func TestEstimatesMustBeOneATask(t *testing.T) {
	w := workload(t, cpus(0, s, 1))
	_, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: named(t, "fifo"), Estimates: make([]time.Duration, 2)})
	if err == nil {
		t.Error("no error")
	}
}

func TestTheReferencePeriodicSetUnderRMSHasItsPublishedResponses(t *testing.T) {
	ms := time.Millisecond
	task := func(id string, period, run time.Duration) traces.Row {
		return traces.Row{ID: id, Run: run, Estimate: run, Period: period, Need: sched.Need{CPU: 1000}}
	}
	// Listed against the order of the priorities, so that the order of the input cannot help.
	w := workload(t, task("T3", 50*ms, 8*ms), task("T2", 25*ms, 5*ms), task("T1", 10*ms, 2*ms))
	w, err := w.Expand(0) // two hyperperiods: 100 ms
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Tasks) != 10+4+2 {
		t.Fatalf("%d releases, wanted 16", len(w.Tasks))
	}
	pool := []sched.NodeSpec{{Name: "pool", CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}
	for _, c := range []struct {
		policy string
		want   map[string]time.Duration // SPEC S6; EDF gives T1 and T2 the same here and T3 as well
	}{
		{"rms", map[string]time.Duration{"T1#1": 2 * ms, "T2#1": 7 * ms, "T3#1": 17 * ms}},
		{"dm", map[string]time.Duration{"T1#1": 2 * ms, "T2#1": 7 * ms, "T3#1": 17 * ms}},
		{"edf", map[string]time.Duration{"T1#1": 2 * ms, "T2#1": 7 * ms, "T3#1": 17 * ms}},
	} {
		res := run(t, sim.Config{Workload: w, Nodes: pool, Policy: named(t, c.policy)})
		seen := 0
		for i := range w.Tasks {
			o, id := res.Outcome(sched.TaskID(i)), w.TaskNames.At(i)
			if o.Phase != sched.Done || o.End > w.DeadlineOf(sched.TaskID(i)) {
				t.Errorf("%s: release %s: %v at %v, deadline %v", c.policy, id, o.Phase, o.End.Seconds(), w.DeadlineOf(sched.TaskID(i)).Seconds())
			}
			if want, ok := c.want[id]; ok {
				seen++
				if got := o.End.Sub(w.Tasks[i].Submit); got != want {
					t.Errorf("%s: first response of %s is %v, wanted %v", c.policy, id, got, want)
				}
			}
		}
		if seen != len(c.want) {
			t.Errorf("%s: %d of %d releases seen", c.policy, seen, len(c.want))
		}
	}
	// Without preemption T3 cannot be stopped once it runs, so that a release of T1 waits: the test above sees preemption.
	res := run(t, sim.Config{Workload: workload(t, task("T3", 50*ms, 8*ms), with(task("T1", 10*ms, 2*ms), func(r *traces.Row) { r.Submit = sched.Time(ms) })), Nodes: pool, Policy: named(t, "rms{preempt=false}")})
	if got := res.Outcome(1).End; got != sched.Time(10*ms) {
		t.Errorf("not preemptive: T1 ends at %v", got)
	}
}

// spy notes all that a policy can see.
type spy struct {
	policies.List
	tables, events []string
}

func (p *spy) Observe(s *sched.State, e sched.Event) {
	p.events = append(p.events, fmt.Sprintf("%v %+v", s.Now(), e))
	p.List.Observe(s, e)
}

func (p *spy) Decide(r *sched.Round) {
	p.tables = append(p.tables, fmt.Sprintf("%+v", *r.Table()))
	p.List.Decide(r)
	for t := range r.RunningTasks() {
		p.events = append(p.events, fmt.Sprintf("%v %v %v %v %v", r.Now(), t, r.Remaining(t), r.ExpectedEnd(t), r.Estimate(t)))
	}
}

func TestAPolicySeesEstimatesAndNeverTheTruth(t *testing.T) {
	see := func(runs ...time.Duration) *spy {
		var rows []traces.Row
		for i, r := range runs {
			rows = append(rows, with(cpus(float64(i), r, 1), func(x *traces.Row) { x.Estimate = 60 * s }))
		}
		p := &spy{}
		run(t, sim.Config{Workload: workload(t, rows...), Nodes: nodes(1, 1, 0), Policy: p, Horizon: at(29)})
		return p
	}
	a, b := see(30*s, 31*s, 32*s), see(77*s, 1*s, 500*s)
	if !slices.Equal(a.events, b.events) || len(a.events) < 6 {
		t.Errorf("before the first end, the facts tell true run times apart:\n%q\n%q", a.events, b.events)
	}
	if !slices.Equal(a.tables, b.tables) {
		t.Errorf("the tables tell true run times apart:\n%q\n%q", a.tables, b.tables)
	}
	for _, text := range a.tables {
		if strings.Contains(text, fmt.Sprint(int64(31*s))) || strings.Contains(text, (31*s).String()) {
			t.Errorf("the table holds a true run time: %s", text)
		}
	}
}

func TestConfigEstimatesReplaceTheWorkloads(t *testing.T) {
	// By the trace's estimates task 1 is the shorter, by the given ones task 2.
	w := workload(t, cpus(0, 5*s, 1), with(cpus(0, 5*s, 1), func(r *traces.Row) { r.Estimate = 6 * s }), with(cpus(0, 5*s, 1), func(r *traces.Row) { r.Estimate = 9 * s }))
	before := slices.Clone(w.Estimates)
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: named(t, "sjf"), Estimates: []time.Duration{1 * s, 9 * s, 6 * s}})
	if res.Outcome(2).Start != at(5) || res.Outcome(1).Start != at(10) {
		t.Errorf("starts %v and %v", res.Outcome(1).Start.Seconds(), res.Outcome(2).Start.Seconds())
	}
	if !slices.Equal(before, w.Estimates) {
		t.Error("the workload, which other runs share, has changed")
	}
	if res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: named(t, "sjf")}); res.Outcome(1).Start != at(5) {
		t.Errorf("by the trace's estimates task 1 starts at %v", res.Outcome(1).Start.Seconds())
	}
}

func TestTwoRunsGiveEqualStreams(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{SmallOverhead: true})
	rapid.Check(t, func(rt *rapid.T) {
		c := cases.Draw(rt, "case")
		policy := rapid.SampledFrom([]string{"fifo", "srtf", "easy", "critical-path"}).Draw(rt, "policy")
		var streams [2][]string
		for i := range streams {
			cfg := caseConfig(c, named(t, policy))
			cfg.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
				streams[i] = append(streams[i], fmt.Sprintf("%d %+v %+v", now, in, out))
				return nil
			}
			run(t, cfg)
		}
		if !slices.Equal(streams[0], streams[1]) {
			rt.Fatalf("%s: two runs differ:\n%s\n%s", policy, strings.Join(streams[0], "\n"), strings.Join(streams[1], "\n"))
		}
	})
}
