package policies

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

func orderStream(t testing.TB, c policytest.Case, p sched.Policy) []string {
	var out []string
	cfg := sim.Config{
		Workload: &traces.Workload{Table: c.Table, Run: c.Run, RunOn: c.RunOn}, Nodes: c.Nodes, Policy: p, Restart: c.Restart,
		KillAtEstimate: c.KillAtEstimate, Overhead: c.Overhead,
		Tap: func(now sched.Time, _ []sched.Event, cmds []sched.Command) error {
			for _, cmd := range cmds {
				out = append(out, fmt.Sprint(now, cmd.Kind, cmd.Task, cmd.On))
			}
			return nil
		},
	}
	for _, f := range c.Faults {
		cfg.Faults = append(cfg.Faults, sim.Fault{At: f.At, Node: f.Node, Up: f.Up, Task: f.Task, Attempt: f.Attempt, After: f.After})
	}
	if _, err := sim.Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	return out
}

// The index of expected ends, the lines that find the next task by its estimate, and the lazy reservation give what trying every task
// against a copy of the room gives.
func TestEasyIsTheSameWithItsIndexesAndWithout(t *testing.T) {
	gen := policytest.Cases(policytest.Gen{})
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		tb := policytest.TB(t, rt)
		fast, plain := orderStream(tb, c, &Easy{}), orderStream(tb, c, &Easy{plain: true})
		if !slices.Equal(fast, plain) {
			rt.Fatalf("orders differ:\nfast  %q\nplain %q", fast, plain)
		}
	})
}

// busyCase is a workload that keeps a few nodes of one speed full: what EASY keeps over decisions it keeps here. Times are whole or half seconds.
func busyCase(rt *rapid.T) (w *traces.Workload, nodes []sched.NodeSpec, faults []sim.Fault) {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)) // the cases are too large to be drawn value by value
	kind := rapid.SampledFrom([]string{"pool", "gpu", "cpu", "mixed", "gangs"}).Draw(rt, "kind")
	soft := rapid.Bool().Draw(rt, "soft")
	half := time.Second / 2
	count := 1 + rng.IntN(7)
	if kind == "pool" {
		count = 1
	}
	for i := range count {
		n := sched.NodeSpec{Name: fmt.Sprint(i), CPU: 8000, Mem: 16 << 30, VRAM: sched.Unlimited, GPUs: 8, GPUType: "A"}
		switch {
		case kind == "pool":
			n.CPU, n.Mem, n.GPUs = int64(4+rng.IntN(60))*1000, sched.Unlimited, 0
		case rng.IntN(4) == 0:
			n.GPUs, n.GPUType = 4, "B"
		}
		if soft && i%3 == 0 {
			n.Taints = []sched.Taint{{Key: "hot", Effect: "PreferNoSchedule"}}
		}
		nodes = append(nodes, n)
	}
	b := traces.NewBuilder("busy", "test")
	load, at := 0.3+rng.Float64(), time.Duration(0)
	short, exact := rng.IntN(4) == 0, rng.IntN(4) == 0
	retries := rng.IntN(3) == 0
	tasks := 20 + rng.IntN(180)
	for range tasks {
		row := traces.Row{Submit: sched.Time(at), Run: time.Duration(rng.IntN(40)) * half}
		at += time.Duration(float64(rng.IntN(12))/load/float64(count)) * half
		row.Estimate = row.Run
		if !exact {
			row.Estimate += time.Duration(rng.IntN(30)) * half
		}
		if short && rng.IntN(3) == 0 {
			row.Estimate = row.Run / 2
		}
		switch {
		case kind == "pool":
			row.Need.CPU = int64(1+rng.IntN(int(nodes[0].CPU/1000))) * 1000
			if rng.IntN(2) == 0 {
				row.Gang, row.Need.CPU = int32(row.Need.CPU/1000), 1000
			}
		case kind == "cpu":
			row.Need.CPU = 1000 << rng.IntN(4)
		case kind == "mixed":
			row.Need.CPU, row.Need.Mem = int64(rng.IntN(8))*1000, int64(rng.IntN(9))<<30
			if row.Need.GPUs = int32(rng.IntN(5)); row.Need.GPUs > 0 && rng.IntN(3) == 0 {
				row.GPUTypes = []string{nodes[0].GPUType}
			}
		default:
			row.Need.GPUs = 1 << rng.IntN(4)
			if kind == "gangs" && rng.IntN(3) == 0 {
				row.Need.GPUs, row.Gang = 2, int32(1+rng.IntN(2*count))
			}
		}
		if row.Need.GPUs > 0 {
			row.Need.GPUMilli = sched.Whole
		}
		if retries {
			row.Retries, row.Backoff = 2, time.Duration(rng.IntN(4))*half
		}
		if err := b.Add(&row); err != nil {
			rt.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		rt.Fatal(err)
	}
	for d := range w.Demands { // what no node holds asks for less
		for dem := &w.Demands[d]; !sched.CouldEverFit(nodes, dem); {
			if dem.Gang > 1 {
				dem.Gang /= 2
			} else {
				dem.Need.GPUs, dem.GPUTypes = dem.Need.GPUs/2, nil
			}
			if dem.Need.GPUs == 0 {
				dem.Need.GPUMilli = 0
			}
		}
	}
	if retries {
		for range rng.IntN(20) {
			faults = append(faults, sim.Fault{Task: sched.TaskID(rng.IntN(tasks)), Attempt: 1 + int32(rng.IntN(2)), After: time.Duration(rng.IntN(10)) * half})
		}
		for range rng.IntN(3) {
			n, down := sched.NodeID(rng.IntN(count)), sched.Time(rng.IntN(int(at/half)+1))*sched.Time(half)
			faults = append(faults, sim.Fault{At: down, Node: n}, sim.Fault{At: down.Add(time.Duration(1+rng.IntN(40)) * half), Node: n, Up: true})
		}
	}
	return w, nodes, faults
}

func TestEasyThatKeepsWhatItKnowsStartsTheSameTasksOnBusyNodes(t *testing.T) {
	backfilled := 0
	rapid.Check(t, func(rt *rapid.T) {
		w, nodes, faults := busyCase(rt)
		for _, scan := range []Scan{ScanArrival, ScanSJBF, ScanReverse} {
			var runs [2][]string
			for i, p := range []*Easy{{Scan: scan}, {Scan: scan, plain: true}} {
				last := sched.TaskID(0)
				_, err := sim.Run(context.Background(), sim.Config{
					Workload: w, Nodes: nodes, Policy: p, Faults: faults,
					Tap: func(now sched.Time, _ []sched.Event, cmds []sched.Command) error {
						for _, cmd := range cmds {
							runs[i] = append(runs[i], fmt.Sprint(now.Seconds(), cmd.Kind, cmd.Task, cmd.On))
							if cmd.Task < last {
								backfilled++
							}
							last = max(last, cmd.Task)
						}
						return nil
					},
				})
				if err != nil {
					rt.Fatal(err)
				}
			}
			if !slices.Equal(runs[0], runs[1]) {
				i := 0
				for i < len(runs[0]) && i < len(runs[1]) && runs[0][i] == runs[1][i] {
					i++
				}
				rt.Fatalf("scan %d: orders differ from the %dth on:\nkept  %q\nplain %q", scan, i, runs[0][i:min(i+3, len(runs[0]))], runs[1][i:min(i+3, len(runs[1]))])
			}
		}
	})
	if backfilled < 2000 {
		t.Errorf("%d tasks overtook others: the cases say little", backfilled)
	}
}

// Two tasks hold memory until 5 s and 10 s; only the second's end makes room for the head. So the shadow time is 10 s, and a task of 8 s may
// start at once.
func TestEasyReservesByMemoryToo(t *testing.T) {
	b := traces.NewBuilder("memory", "test")
	for _, row := range []struct{ run, gib int64 }{{5, 1}, {10, 7}, {10, 6}, {8, 2}} {
		d := time.Duration(row.run) * time.Second
		if err := b.Add(&traces.Row{Run: d, Estimate: d, Need: sched.Need{CPU: 1000, Mem: row.gib << 30}}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	nodes := []sched.NodeSpec{{Name: "n", CPU: 16000, Mem: 10 << 30}}
	for _, p := range []*Easy{{}, {plain: true}} {
		res, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes, Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		if head, filler := res.Outcome(2).Start, res.Outcome(3).Start; head != 10e9 || filler != 0 {
			t.Errorf("plain=%v: the head starts at %v s and the filler at %v s, wanted 10 and 0", p.plain, head.Seconds(), filler.Seconds())
		}
	}
}

func TestPositionIsWhereATaskBelongs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := rapid.Custom(func(t *rapid.T) nodeRun {
			return nodeRun{end: sched.Time(rapid.Int64Range(-3, 3).Draw(t, "end")), task: sched.TaskID(rapid.Int32Range(0, 5).Draw(t, "task"))}
		})
		list := rapid.SliceOfN(run, 0, 20).Draw(t, "list")
		slices.SortFunc(list, func(a, b nodeRun) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.task, b.task)) })
		r := run.Draw(t, "task")
		want := 0
		for want < len(list) && list[want].before(r.end, r.task) {
			want++
		}
		if got := position(list, r.end, r.task); got != want {
			t.Fatalf("%v belongs at %d of %v, not %d", r, want, list, got)
		}
	})
}
