package policies_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// The worked example of section 4.1: three jobs on one V100 and one K80 with throughputs 40/10, 12/4 and 100/50.
func TestGavelsSharesAreThoseOfThePapersExample(t *testing.T) {
	b := traces.NewBuilder("example", "test")
	thr := [][2]float64{{40, 10}, {12, 4}, {100, 50}}
	for _, x := range thr {
		r := devices(0, 1000, 1)
		r.SpeedOn = []sched.SpeedOn{{GPUType: "V100", Nano: 1e9}, {GPUType: "K80", Nano: int64(x[1] / x[0] * 1e9)}}
		if err := b.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	nodes := []sched.NodeSpec{{Name: "v", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 1, GPUType: "V100"}, {Name: "k", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 1, GPUType: "K80"}}
	p := build(t, "gavel")().(*policies.Gavel)
	k, err := sched.New(sched.Config{Table: w.Table, Nodes: nodes, Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	var in []sched.Event
	for i := range thr {
		in = append(in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1, Node: sched.NoNode})
	}
	k.Step(0, in)
	least := math.Inf(1)
	for i, want := range [][2]float64{{0.4545, 0}, {0.4545, 0.0909}, {0.0909, 0.9091}} {
		v, k := p.Share(sched.TaskID(i), "V100"), p.Share(sched.TaskID(i), "K80")
		if math.Abs(v-want[0]) > 1e-4 || math.Abs(k-want[1]) > 1e-4 {
			t.Errorf("job %d has %.4f of the V100 and %.4f of the K80, want %v", i, v, k, want)
		}
		least = min(least, (v*thr[i][0]+k*thr[i][1])/((thr[i][0]+thr[i][1])/3))
	}
	if math.Abs(least-1.0909) > 1e-4 {
		t.Errorf("the least normalised throughput is %.4f, not 1.0909", least)
	}
}

// A job alone that may run anywhere, under a policy that knows no speeds, has a third of its time on each of three types: its run time is the harmonic
// mean of those on the types.
func TestGavelWithoutSpeedsDividesTimeEquallyAmongTypes(t *testing.T) {
	b := traces.NewBuilder("alone", "test")
	const run = 100 * time.Hour
	for range 3 {
		r := devices(0, run.Seconds(), 1)
		r.SpeedOn = []sched.SpeedOn{{GPUType: "V100", Nano: 1e9}, {GPUType: "P100", Nano: 8e8}, {GPUType: "K80", Nano: 2e8}}
		if err := b.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := cluster.Parse("pool:4xV100+pool:4xP100+pool:4xK80")
	if err != nil {
		t.Fatal(err)
	}
	res, err := sim.Run(t.Context(), sim.Config{Workload: w, Nodes: nodes, Policy: build(t, "gavel{aware=false}")()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range w.Tasks {
		want, got := 3*run.Hours()/(1+0.8+0.2), res.Outcome(sched.TaskID(i)).End.Seconds()/3600
		if math.Abs(got-want) > 0.01*want {
			t.Errorf("job %d ends after %.2f h, not %.2f", i, got, want)
		}
	}
}

func TestARestoredGavelOrdersByTheRatesOfThePresent(t *testing.T) {
	// The only GPU is lost within a round and comes back. Who is next is decided by the rates of that moment, which differ in the sixth digit, not by
	// those at which the order of the round was last looked at: a restored kernel looks first while the GPU is away.
	nodes := machines(1, 8, 1)
	nodes[0].GPUType, nodes[0].SpeedMilli = "A100", 1500
	w := workload(t, devices(0, 1, 1), devices(0, 7.5, 1), devices(0, 0.333, 1))
	newPolicy := build(t, "gavel")
	c := sched.Config{Table: w.Table, Nodes: nodes, Policy: newPolicy()}
	k, err := sched.New(c)
	if err != nil {
		t.Fatal(err)
	}
	var in []sched.Event
	for i := range 3 {
		in = append(in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1, Node: sched.NoNode})
	}
	k.Step(0, in)
	c.Policy = newPolicy()
	again := restore(t, k, c)
	for _, b := range []struct {
		at   float64
		kind sched.EventKind
	}{{3, sched.NodeDown}, {4, sched.NodeUp}} {
		e := sched.Event{Kind: b.kind, Node: 0, Task: sched.Nobody}
		first, second := k.Step(second(b.at), []sched.Event{e}), again.Step(second(b.at), []sched.Event{e})
		if !slices.EqualFunc(first, second, sameOrder) {
			t.Errorf("at %g s: %v, the restored kernel %v", b.at, first, second)
		}
	}
}
