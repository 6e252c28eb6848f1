package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/live"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// everyPolicy lists what the conformance suite and the two-driver test run: the catalogue, and variants whose code differs.
func everyPolicy() []string {
	return append(policies.Names(),
		"rr{quantum=1s}", "rms{preempt=false}", "sjf{skip=false}", "srtf{preempt=false}", "blevel{skip=false}", "easy{scan=sjbf}", "easy{scan=reverse}",
		"critical-path{patience=2s}", "critical-path{place=first,heat=0}", "critical-path{score=0}", "fjf+best-fit", "fifo+worst-fit", "sjf+seed",
		"drf{skip=false}", "qssf{skip=false,samples=3}", "themis{skip=false}", "hrrn+worst-fit", "fair-share+seed", "themis{lease=1s}", "hrrn{skip=false}",
		"fair-share{half-life=5s,weights=red:3}", "expr: max(wait, 10)/estimate + 2*critical", "expr{skip=false}: upward_rank - wait*free_gpus",
		"rms{mode=partitioned}", "edf{admission=demand}", "llf{quantum=1s}", "fifo{unplaced=reject}+random", "sjf+fgd", "fjf+best-fit{by=sum}",
		"fjf+dot-product", "fifo+gpu-packing", "fjf+gpu-clustering", "edf+gpu-clustering", "fjf+pack-by-tenant", "fjf+consolidate", "srtf+consolidate",
		"fjf+random{seed=3}", "easy+random", "srtf+random", "easy+fgd", "fjf+load-weighted", "fjf+load-weighted{load=all}", "blevel+two-choices", "rr{quantum=1s}+two-choices",
		"easy{scan=lookahead}", "conservative+best-fit", "easy+best-fit", "gavel{round=2s}", "gavel{round=1s,aware=false}",
		"gavel{objective=ftf,round=1s}", "gavel{objective=makespan,round=2s}", "gavel{objective=throughput,round=2s}", "gavel{objective=fifo,round=1s}",
		"gavel{objective=fifo,round=2s,aware=false}", "gittins{distribution=h2:5/4,cells=4}", "gittins{cells=5}", "las{quantum=1s}", "2d-las{queues=5/20}",
		"2d-las{queues=5/20,promote=1}", "2d-las{queues=5/20,fifo=submit}", "2d-las{queues=5/20,round=10s}", "srtf{repack=true}", "srsf{repack=true}", "srtf{victims=lost}", "srtf{victims=saved,skip=false}", "srsf{victims=saved}",
		"lookahead{depth=all}")
}

func build(tb testing.TB, name string) func() sched.Policy {
	spec, err := policies.Parse(name)
	if err != nil {
		tb.Fatal(err)
	}
	return func() sched.Policy {
		p, err := policies.Build(spec, policies.Hints{MeanEstimate: 20 * time.Second})
		if err != nil {
			tb.Fatal(err)
		}
		return p
	}
}

func simConfig(c policytest.Case, p sched.Policy) sim.Config {
	cfg := sim.Config{
		Workload: &traces.Workload{Table: c.Table, Run: c.Run, RunOn: c.RunOn, Source: "case"},
		Nodes:    c.Nodes, Policy: p, Restart: c.Restart, KillAtEstimate: c.KillAtEstimate, Overhead: c.Overhead,
	}
	for _, f := range c.Faults {
		cfg.Faults = append(cfg.Faults, sim.Fault{At: f.At, Node: f.Node, Up: f.Up, Task: f.Task, Attempt: f.Attempt, After: f.After})
	}
	return cfg
}

func simDriver(tb testing.TB, c policytest.Case, p sched.Policy, tap func(sched.Time, []sched.Event, []sched.Command)) func(sched.TaskID) sched.Outcome {
	cfg := simConfig(c, p)
	cfg.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
		tap(now, in, out)
		return nil
	}
	if sim.Placeable(cfg.Workload, cfg.Nodes) != nil {
		return nil
	}
	res, err := sim.Run(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return res.Outcome
}

func TestEveryPolicyKeepsTheContract(t *testing.T) {
	for _, name := range everyPolicy() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := []policytest.Option{policytest.Without(func(g *policytest.Gen) { g.Sends = true })}
			// These stop tasks for others again and again.
			spec, _ := policies.Parse(name)
			if slices.Contains([]string{"rr", "themis", "gavel", "las"}, spec.Name) || strings.Contains(name, "promote") {
				opts = append(opts, policytest.Slices)
				if len(spec.Set) > 0 { // a slice that is no longer than the overhead gets nothing done
					opts = append(opts, policytest.Without(func(g *policytest.Gen) { g.NoOverhead = true }))
				}
			}
			policytest.Conform(t, name, build(t, name), simDriver, opts...)
		})
	}
}

func TestEveryPlacementIsPutToTheContract(t *testing.T) {
	placed := map[string]bool{"first-fit": true} // what a policy does that names none
	for _, name := range everyPolicy() {
		spec, err := policies.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		placed[spec.Placement] = true
	}
	for _, name := range policies.PlacementNames() {
		if !placed[name] {
			t.Errorf("no policy is run with %s", name)
		}
	}
}

// fakeRunner runs tasks by sleeping for their true run time.
type fakeRunner struct {
	loop *live.Loop
	c    policytest.Case
	mu   sync.Mutex
	runs map[sched.TaskID]*fakeRun
	kept map[sched.TaskID]time.Duration
}

type fakeRun struct {
	attempt int32
	began   time.Time
	whole   time.Duration
	timer   *time.Timer
}

func (f *fakeRunner) Start(t sched.TaskID, attempt int32, on []sched.Placement) {
	whole := time.Duration(0)
	for _, p := range on {
		spec := &f.c.Nodes[p.Node]
		whole = max(whole, f.c.Table.RunOn(t, f.c.Run[t], f.c.RunOn[t], spec))
	}
	d := whole
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := f.kept[t]; k > 0 {
		d = sched.MulDiv(whole, int64(f.c.Run[t]-k), int64(max(f.c.Run[t], 1)), true)
	}
	staging := f.loop.Kernel.WorkBegins(t).Sub(f.loop.Kernel.StartedAt(t))
	d += staging
	r := &fakeRun{attempt: attempt, began: time.Now().Add(staging), whole: whole}
	r.timer = time.AfterFunc(d, func() {
		f.loop.Report(sched.Event{Kind: sched.Finished, Task: t, Attempt: attempt, Node: sched.NoNode, Done: f.c.Run[t]})
	})
	f.runs[t] = r
}

func (f *fakeRunner) Stop(t sched.TaskID, attempt int32) {
	f.mu.Lock()
	r := f.runs[t]
	r.timer.Stop()
	held := max(time.Since(r.began), 0)
	switch {
	case f.c.Restart:
		f.kept[t] = 0
	case r.whole <= 0:
		f.kept[t] = f.c.Run[t]
	case r.whole == f.c.Run[t]:
		f.kept[t] = min(f.kept[t]+held, f.c.Run[t])
	default:
		f.kept[t] = min(f.kept[t]+sched.MulDiv(held, int64(f.c.Run[t]), int64(r.whole), false), f.c.Run[t])
	}
	done := f.kept[t]
	f.mu.Unlock()
	f.loop.Report(sched.Event{Kind: sched.Stopped, Task: t, Attempt: attempt, Node: sched.NoNode, Done: done})
}

func (f *fakeRunner) Checkpoint(sched.TaskID, int32) {}

// liveOrders runs a case in real time under synctest's clock and returns the timed orders.
func liveOrders(tb testing.TB, c policytest.Case, p sched.Policy) []string {
	var orders []string
	k, err := sched.New(sched.Config{Table: c.Table, Nodes: c.Nodes, Policy: p, Start: first(c)})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := &fakeRunner{c: c, runs: map[sched.TaskID]*fakeRun{}, kept: map[sched.TaskID]time.Duration{}}
	l := &live.Loop{Kernel: k, Runner: f, Epoch: time.Now().Add(-time.Duration(first(c)))}
	f.loop = l
	l.Settle = func(context.Context) { synctest.Wait() }
	l.Tap = func(now sched.Time, _ []sched.Event, out []sched.Command) error {
		orders = append(orders, timed(now, out)...)
		return nil
	}
	go func() {
		for from := 0; from < len(c.Table.Tasks); {
			to := from
			for to < len(c.Table.Tasks) && c.Table.Tasks[to].Job == c.Table.Tasks[from].Job && c.Table.Tasks[to].Submit == c.Table.Tasks[from].Submit {
				to++
			}
			time.Sleep(c.Table.Tasks[from].Submit.Sub(l.Now()))
			l.Report(sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(from), N: int32(to - from), Node: sched.NoNode})
			from = to
		}
	}()
	time.AfterFunc(1000*time.Hour, cancel) // every case is over long before
	_ = l.Run(ctx)
	return orders
}

func first(c policytest.Case) sched.Time {
	if len(c.Table.Tasks) == 0 {
		return 0
	}
	return c.Table.Tasks[0].Submit
}

func timed(now sched.Time, out []sched.Command) []string {
	var s []string
	for _, c := range out {
		s = append(s, fmt.Sprintf("%d %v task %d attempt %d on %v", now, c.Kind, c.Task, c.Attempt, c.On))
	}
	return s
}

func TestLiveAndSimulationGiveTheSameTimedOrders(t *testing.T) {
	gen := policytest.Cases(policytest.Gen{Sends: true, NoNodeFaults: true, NoTaskFaults: true, NoKill: true, NoOverhead: true, NoRestart: true})
	for _, name := range everyPolicy() {
		t.Run(name, func(t *testing.T) {
			newPolicy := build(t, name)
			rapid.Check(t, func(rt *rapid.T) {
				c := gen.Draw(rt, "case")
				tb := policytest.TB(t, rt)
				var inSim []string
				simDriver(tb, c, newPolicy(), func(now sched.Time, _ []sched.Event, out []sched.Command) {
					inSim = append(inSim, timed(now, out)...)
				})
				var inLive []string
				synctest.Test(t, func(*testing.T) { inLive = liveOrders(tb, c, newPolicy()) })
				if !slices.Equal(inSim, inLive) {
					rt.Fatalf("orders differ:\nsim  %q\nlive %q", inSim, inLive)
				}
			})
		})
	}
}
