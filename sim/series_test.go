package sim_test

import (
	"math"
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
	"github.com/schedlab/schedlab/traces/metrics"
)

// overlap returns the seconds that [a, b) and [from, to) share.
func overlap(a, b, from, to sched.Time) float64 {
	return max(min(b, to)-max(a, from), 0).Seconds()
}

// variants are policies whose runs differ much.
func variants() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"fifo", "fjf", "srtf", "easy", "critical-path", "edf", "rr{quantum=2s}"})
}

func TestTheSeriesIsThePlainRecomputationOfTheAttempts(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{SmallOverhead: true, NoRestart: true})
	doubled, cut := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		c := cases.Draw(rt, "case")
		cfg := caseConfig(c, named(t, variants().Draw(rt, "policy")))
		if len(c.Table.Tasks) > 0 && rapid.IntRange(0, 3).Draw(rt, "horizon") == 3 {
			cfg.Horizon = c.Table.Tasks[0].Submit + at(rapid.Float64Range(0.001, 60).Draw(rt, "after"))
		}
		var rec policytest.Recorder
		last := sched.Time(math.MinInt64)
		cfg.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
			rec.Tap(now, in, out)
			last = now
			return nil
		}
		res := run(t, cfg)
		end := last
		if cfg.Horizon != 0 {
			end = max(cfg.Horizon, last)
			cut++
		}
		x := res.Series
		if len(x.GPUs) > 1024 || len(x.CPUs) != len(x.GPUs) || len(x.Queued) != len(x.GPUs) || len(x.Running) != len(x.GPUs) {
			rt.Fatalf("buckets: %d %d %d %d", len(x.GPUs), len(x.CPUs), len(x.Queued), len(x.Running))
		}
		if x.Width > time.Minute/512 {
			doubled++
		}
		gpuSum, cpuSum, allCPU := 0.0, 0.0, 0.0
		var gpu, cpu, running []float64
		for i := range x.GPUs {
			from := x.From.Add(time.Duration(i) * x.Width)
			to := min(from.Add(x.Width), end)
			var g, k, n float64
			for _, s := range rec.Spans() {
				d := c.Table.DemandOf(s.Task)
				held := overlap(s.Start, min(s.End, end), from, to)
				g += held * float64(d.GPUTotal()) / 1000
				n += held
				for j, p := range s.On {
					if c.Nodes[p.Node].CPU < sched.Unlimited {
						k += overlap(s.Start, min(s.Until(j), end), from, to) * float64(p.Replicas) * float64(d.Need.CPU) / 1000
					}
				}
			}
			w := to.Sub(from).Seconds()
			gpu, cpu, running = append(gpu, g/w), append(cpu, k/w), append(running, n/w)
			gpuSum += x.GPUs[i] * w
			cpuSum += x.CPUs[i] * w
		}
		for _, s := range rec.Spans() {
			allCPU += overlap(s.Start, min(s.End, end), s.Start, end) * float64(c.Table.DemandOf(s.Task).CPUTotal()) / 1000
		}
		for i := range gpu {
			if !near(gpu[i], x.GPUs[i]) || !near(cpu[i], x.CPUs[i]) || !near(running[i], x.Running[i]) {
				rt.Fatalf("bucket %d: GPUs %g, CPUs %g, running %g; recomputed %g, %g, %g", i, x.GPUs[i], x.CPUs[i], x.Running[i], gpu[i], cpu[i], running[i])
			}
		}
		if !near(gpuSum, res.GPUSeconds) {
			rt.Fatalf("integral of GPUs %g, GPU-seconds %g", gpuSum, res.GPUSeconds)
		}
		if !near(allCPU, res.CPUSeconds) {
			rt.Fatalf("CPU-seconds %g, recomputed %g", res.CPUSeconds, allCPU)
		}
		if !slices.ContainsFunc(c.Nodes, func(n sched.NodeSpec) bool { return n.CPU >= sched.Unlimited }) && !near(cpuSum, res.CPUSeconds) {
			rt.Fatalf("integral of CPUs %g, CPU-seconds %g", cpuSum, res.CPUSeconds)
		}
		if res.LostGPUSeconds < 0 || res.LostGPUSeconds > res.GPUSeconds*(1+1e-9)+1e-9 || res.LostCPUSeconds > res.CPUSeconds*(1+1e-9)+1e-9 {
			rt.Fatalf("lost %g of %g GPU-seconds, %g of %g CPU-seconds", res.LostGPUSeconds, res.GPUSeconds, res.LostCPUSeconds, res.CPUSeconds)
		}
	})
	if doubled == 0 || cut == 0 {
		t.Errorf("no case has doubled its buckets (%d) or was cut by a horizon (%d)", doubled, cut)
	}
}

func TestTheQueueOfTheSeriesIsTheWaitingOfTheTasks(t *testing.T) {
	// Without failures a task that is ready and does not run is in the queue: the integral is the sum of the waits.
	cases := policytest.Cases(policytest.Gen{SmallOverhead: true, NoRestart: true, NoNodeFaults: true, NoTaskFaults: true})
	rapid.Check(t, func(rt *rapid.T) {
		c := cases.Draw(rt, "case")
		cfg := caseConfig(c, named(t, variants().Draw(rt, "policy")))
		last := sched.Time(0)
		cfg.Tap = func(now sched.Time, _ []sched.Event, _ []sched.Command) error {
			last = now
			return nil
		}
		res := run(t, cfg)
		queued, waits := 0.0, 0.0
		for i, v := range res.Series.Queued {
			queued += v * bucket(res.Series, i, last).Seconds()
		}
		for i := range c.Table.Tasks {
			if o := res.Outcome(sched.TaskID(i)); o.Ready != sched.Never {
				waits += o.Wait().Seconds()
			}
		}
		if !near(queued, waits) {
			rt.Fatalf("integral of the queue %g, sum of the waits %g", queued, waits)
		}
	})
}

func TestTheCausesAddUpToSubmitToEndLessHolding(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{SmallOverhead: true, NoRestart: true})
	var seen [sched.NumCauses]bool
	rapid.Check(t, func(rt *rapid.T) {
		c := cases.Draw(rt, "case")
		cfg := caseConfig(c, named(t, variants().Draw(rt, "policy")))
		cfg.Waits = true
		res := run(t, cfg)
		if res.Unfinished > 0 {
			rt.Skip("a run that did not finish")
		}
		sum, rows := 0.0, 0.0
		var byCause [sched.NumCauses]float64
		for i, x := range res.CauseSeconds {
			sum += x
			seen[i] = seen[i] || x > 0
		}
		for _, r := range res.Waits {
			rows += r.Wait / 1e9
			byCause[r.Cause] += r.Wait / 1e9
		}
		want := 0.0
		for i := range c.Table.Tasks {
			o := res.Outcome(sched.TaskID(i))
			want += (o.End.Sub(c.Table.Tasks[i].Submit) - o.Held).Seconds()
		}
		if !near(sum, want) {
			rt.Fatalf("causes %v add up to %g, submit to end less holding to %g", res.CauseSeconds, sum, want)
		}
		for i := range byCause {
			if !near(byCause[i], res.CauseSeconds[i]) {
				rt.Fatalf("%v: %g by cause, %g in the profile", sched.Cause(i), res.CauseSeconds[i], byCause[i])
			}
		}
	})
	for _, c := range []sched.Cause{sched.Dependency, sched.NoRoom, sched.Order, sched.Preempted, sched.FailureDelay} {
		if !seen[c] {
			t.Errorf("no case had %v", c)
		}
	}
}

func TestCausesByHand(t *testing.T) {
	id := func(r traces.Row, id string, after ...string) traces.Row {
		r.ID, r.Job, r.After = id, "j", after
		return r
	}
	// Two GPUs. a holds both until 10; b needs one and waits for room; c needs two, stands behind b and is held back by order; d depends on b.
	w := workload(t, id(gpus(0, 10*s, 2), "a"), id(gpus(1, 20*s, 1), "b"), id(gpus(2, 5*s, 2), "c"), id(gpus(3, s, 1), "d", "b"))
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 2), Policy: named(t, "fifo")})
	// b: no room 1..10, runs 10..30. c: order 2..10, no room 10..30, runs 30..35. d: dependency 3..30, order 30..30, then no room 30..35.
	want := [sched.NumCauses]float64{sched.Dependency: 27, sched.NoRoom: 9 + 20 + 5, sched.Order: 8}
	if res.CauseSeconds != want {
		t.Errorf("causes %v, wanted %v", res.CauseSeconds, want)
	}
	// The same task preempted at 3 by hand and its node lost for 4 s.
	one := workload(t, gpus(0, 10*s, 2))
	res = run(t, sim.Config{Workload: one, Nodes: nodes(1, 0, 2), Policy: evictAt(), Faults: []sim.Fault{{At: at(3)}, {At: at(7), Up: true}}})
	if got := res.CauseSeconds; got[sched.FailureDelay]+got[sched.NoRoom] != 4 || got[sched.Preempted] != 0 {
		t.Errorf("causes after the loss of a node: %v", got)
	}
}

func TestFragmentationIsTheBruteForce(t *testing.T) {
	two := nodes(2, 4, 2)
	two[0].GPUType, two[1].GPUType = "A", "B"
	share := with(gpus(2, 9*s, 1), func(r *traces.Row) { r.Need.GPUMilli = 400 })
	rows := []traces.Row{
		gpus(0, 10*s, 1), share, with(gpus(3, 4*s, 1), func(r *traces.Row) { r.GPUTypes = []string{"B"}; r.Need.CPU = 3000 }),
		gpus(5, 7*s, 2), cpus(6, 8*s, 2),
	}
	w := workload(t, rows...)
	mix := metrics.NewFragMix(w.Table)
	kinds := mix.Kinds()
	if len(kinds) != 5 {
		t.Fatalf("%d kinds, wanted all five", len(kinds))
	}
	var rec policytest.Recorder
	var times []sched.Time
	res := run(t, sim.Config{Workload: w, Nodes: two, Policy: named(t, "fjf"), FragMix: mix, Tap: func(now sched.Time, in []sched.Event, out []sched.Command) error {
		rec.Tap(now, in, out)
		times = append(times, now)
		return nil
	}})
	integral := 0.0
	for sec := times[0]; sec < times[len(times)-1]; sec += 1e9 {
		for n := range two {
			free, cores := []int{1000, 1000}, 4000
			for _, sp := range rec.Spans() {
				if sp.Start > sec || sp.End <= sec || int(sp.On[0].Node) != n {
					continue
				}
				d := w.DemandOf(sp.Task)
				cores -= int(d.Need.CPU)
				for i := range free {
					if sp.On[0].GPUs>>i&1 != 0 {
						free[i] -= int(d.Need.GPUMilli)
					}
				}
			}
			for _, k := range kinds {
				fits, lost := 0, 0
				for _, f := range free {
					if f >= int(k.GPUMilli) {
						fits++
					} else {
						lost += f
					}
				}
				canRun := k.GPUs > 0 && fits >= int(k.GPUs) && cores >= int(k.CPU) && (len(k.Types) == 0 || slices.Contains(k.Types, two[n].GPUType))
				if !canRun {
					lost = free[0] + free[1]
				}
				integral += k.Share * float64(lost) / 1000
			}
		}
	}
	want := integral / times[len(times)-1].Sub(times[0]).Seconds()
	wantSeconds(t, "fragmentation", res.FragmentationGPUs, want)
	if want <= 0 || want >= 4 {
		t.Errorf("the case says nothing: %g", want)
	}
	if res := run(t, sim.Config{Workload: w, Nodes: two, Policy: named(t, "fjf")}); !math.IsNaN(res.FragmentationGPUs) {
		t.Errorf("not measured, and yet %g", res.FragmentationGPUs)
	}
}

// However short the times between two events are, and that after the last sample.
func TestFragmentationOfASmallRunIsExact(t *testing.T) {
	mix := metrics.MixOf([]metrics.FragKind{{GPUs: 2, GPUMilli: 1000, Share: 1}})
	w := workload(t, gpus(0, 3*s/10, 1), gpus(0, 2*s/10, 2), gpus(0, s/10, 1))
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 4, 2), Policy: named(t, "fifo"), FragMix: mix})
	// One of two GPUs is free for 0.3 s, none for 0.2 s, one for 0.1 s.
	wantSeconds(t, "fragmentation", res.FragmentationGPUs, 4.0/6)
}

// A task holds one of two GPUs up to the horizon, before which nothing else happens: the other is of no use to tasks of two.
func TestFragmentationCountsTheTimeUpToTheHorizon(t *testing.T) {
	mix := metrics.MixOf([]metrics.FragKind{{GPUs: 2, GPUMilli: 1000, Share: 1}})
	w := workload(t, gpus(0, s, 2), gpus(1, 10*s, 1))
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 4, 2), Policy: named(t, "fifo"), FragMix: mix, Horizon: at(4)})
	wantSeconds(t, "fragmentation", res.FragmentationGPUs, 3.0/4)
}

func TestFragmentationOfAPoolCountsItsGPUs(t *testing.T) {
	pool := nodes(1, 1000, 100) // more than are told apart
	mix := metrics.MixOf([]metrics.FragKind{{GPUs: 64, GPUMilli: 1000, Share: 1}})
	w := workload(t, gpus(0, 10*s, 50), gpus(10, 10*s, 1))
	res := run(t, sim.Config{Workload: w, Nodes: pool, Policy: named(t, "fifo"), FragMix: mix})
	// 50 free of which a task of 64 can use none for 10 s; then 99 free that it can use.
	wantSeconds(t, "fragmentation", res.FragmentationGPUs, 25)
}

// What was worked out of a node with so many free GPUs must not be taken for one with other free cores.
func TestFragmentationFollowsTheFreeCoresToo(t *testing.T) {
	mix := metrics.MixOf([]metrics.FragKind{{CPU: 3000, GPUs: 1, GPUMilli: 1000, Share: 1}})
	w := workload(t, cpus(0, 10*s, 2), cpus(10, 10*s, 1))
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 4, 2), Policy: named(t, "fifo"), FragMix: mix})
	// For 10 s two cores are free, and none of the two GPUs can be used; then three, and both can.
	wantSeconds(t, "fragmentation", res.FragmentationGPUs, 1)
}

func TestPreemptionThatLeavesNoTimeForWorkIsAnError(t *testing.T) {
	if testing.Short() {
		t.Skip("a million decisions")
	}
	w := workload(t, cpus(0, 10*s, 1), cpus(0, 10*s, 1))
	_, err := runErr(sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: named(t, "rr{quantum=1s}"), Overhead: 2 * s})
	if err == nil || !strings.Contains(err.Error(), "time slice") {
		t.Errorf("error %v", err)
	}
}

func TestBatchesAndProgressAreCounted(t *testing.T) {
	var rows []traces.Row
	for i := range 2000 {
		rows = append(rows, cpus(float64(i), 500*time.Millisecond, 1))
	}
	batches, calls, done := int64(0), 0, 0
	res := run(t, sim.Config{
		Workload: workload(t, rows...), Nodes: nodes(1, 1, 0), Policy: &policies.List{},
		Tap: func(sched.Time, []sched.Event, []sched.Command) error {
			batches++
			return nil
		},
		Progress: func(d, total int) {
			calls++
			if d < done || d > total || total != 2000 {
				t.Errorf("progress %d of %d after %d", d, total, done)
			}
			done = d
		},
	})
	if res.Batches != batches || batches != 4000 {
		t.Errorf("%d batches, %d seen", res.Batches, batches)
	}
	if calls < 3 || done != 2000 {
		t.Errorf("%d calls of Progress, the last with %d", calls, done)
	}
}
