package sim_test

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

const gb = int64(1) << 30

// uses is a row of one GPU that asks for GB of RAM and VRAM and really uses others.
func uses(mem, vram, usedMem, usedVRAM int64) traces.Row {
	return with(gpus(0, 100*s, 1), func(r *traces.Row) {
		r.Need.Mem, r.Need.VRAM, r.UsedMem, r.UsedVRAM = mem*gb, vram*gb, usedMem*gb, usedVRAM*gb
	})
}

func bigNode(gpus int32) []sched.NodeSpec {
	return []sched.NodeSpec{{Name: "n", CPU: sched.Unlimited, Mem: 512 * gb, VRAM: 80 * gb, GPUs: gpus}}
}

// TestMemoryAndVRAMAreGrantedTogetherOrNotAtAll: of a node with 512 GB and GPUs of 80 GB, a task that finds RAM and no VRAM takes neither, one that finds VRAM and no RAM
// likewise, and shares of one GPU go together as long as both their shares and their VRAM do.
func TestMemoryAndVRAMAreGrantedTogetherOrNotAtAll(t *testing.T) {
	share := func(milli int32, mem, vram int64) traces.Row {
		return with(uses(mem, vram, 0, 0), func(r *traces.Row) { r.Need.GPUMilli = milli })
	}
	for _, c := range []struct {
		name string
		rows []traces.Row
		wait []float64 // starts
	}{
		{"two halves in VRAM that holds both", []traces.Row{share(500, 10, 40), share(500, 10, 40)}, []float64{0, 0}},
		{"two halves in VRAM that holds one", []traces.Row{share(500, 10, 41), share(500, 10, 40)}, []float64{0, 100}},
		{"three thirds", []traces.Row{share(333, 10, 20), share(333, 10, 20), share(333, 10, 20)}, []float64{0, 0, 0}},
		{"shares above one", []traces.Row{share(600, 10, 10), share(500, 10, 10)}, []float64{0, 100}},
		{"RAM for one", []traces.Row{share(100, 300, 10), share(100, 300, 10)}, []float64{0, 100}},
		// What is refused for want of VRAM leaves its RAM to the next: 400 + 100 of 512.
		{"RAM is not kept without VRAM", []traces.Row{share(500, 400, 60), share(400, 100, 30), share(100, 100, 20)}, []float64{0, 100, 0}},
	} {
		w := workload(t, c.rows...)
		res := run(t, sim.Config{Workload: w, Nodes: bigNode(1), Policy: &policies.List{Skip: true}})
		for i, want := range c.wait {
			if got := res.Outcome(sched.TaskID(i)).Start.Seconds(); got != want {
				t.Errorf("%s: task %d starts at %v s, want %v", c.name, i, got, want)
			}
		}
	}
}

// TestUseAboveTheRequestFailsTheAttempt: the peak comes after half of 100 s. Two retries make three attempts of 50 s; all is lost. On a node of half the speed the half
// takes 100 s.
func TestUseAboveTheRequestFailsTheAttempt(t *testing.T) {
	for _, c := range []struct {
		row      traces.Row
		end      float64
		attempts int32
		phase    sched.Phase
	}{
		{uses(16, 40, 16, 40), 100, 1, sched.Done},
		{uses(16, 40, 0, 0), 100, 1, sched.Done}, // what is not known is as asked for
		{uses(16, 40, 17, 0), 150, 3, sched.Failed},
		{uses(16, 40, 0, 41), 150, 3, sched.Failed},
		{uses(0, 0, 100, 79), 100, 1, sched.Done}, // no request, no limit
	} {
		c.row.Retries = 2
		res := run(t, sim.Config{Workload: workload(t, c.row), Nodes: bigNode(1), Policy: &policies.List{}, Memory: &sim.Memory{}})
		o := res.Outcome(0)
		if o.Phase != c.phase || o.End != at(c.end) || o.Attempts != c.attempts {
			t.Errorf("%+v: %v at %v s after %d attempts, want %v at %v s after %d", c.row.Need, o.Phase, o.End.Seconds(), o.Attempts, c.phase, c.end, c.attempts)
		}
		if c.phase == sched.Failed {
			wantSeconds(t, "lost GPU seconds", res.LostGPUSeconds, 150)
			if res.OutOfMemory != 3 {
				t.Errorf("%d attempts out of memory, want 3", res.OutOfMemory)
			}
		}
	}
	slow := bigNode(1)
	slow[0].SpeedMilli = 500
	res := run(t, sim.Config{Workload: workload(t, uses(16, 40, 0, 41)), Nodes: slow, Policy: &policies.List{}, Memory: &sim.Memory{Peak: 0.25}})
	if o := res.Outcome(0); o.End != at(50) {
		t.Errorf("a quarter of 200 s ends at %v s, want 50", o.End.Seconds())
	}
	// Preempted at 30 s, it goes on and meets its peak after 50 s of work.
	res = run(t, sim.Config{Workload: workload(t, uses(16, 40, 0, 41)), Nodes: bigNode(1), Policy: evictAt(30), Memory: &sim.Memory{}})
	if o := res.Outcome(0); o.End != at(50) || o.Phase != sched.Failed {
		t.Errorf("preempted and resumed: %v at %v s, want failed at 50", o.Phase, o.End.Seconds())
	}
}

// TestUnifiedMemorySpillsAtASlowdown: 50 GB in 40 GB of VRAM, so a fifth of the accesses goes over the bus; at a slowdown of 6 the run takes 0.8 + 0.2 x 6 = 2 times as long. The
// 10 GB count against the RAM asked for.
func TestUnifiedMemorySpillsAtASlowdown(t *testing.T) {
	c := sim.Config{Nodes: bigNode(1), Policy: &policies.List{}, Memory: &sim.Memory{Slowdown: 6}}
	for _, x := range []struct {
		row   traces.Row
		end   float64
		phase sched.Phase
	}{
		{uses(16, 40, 6, 50), 200, sched.Done},
		{uses(16, 40, 7, 50), 50, sched.Failed},
		{uses(0, 40, 7, 50), 200, sched.Done}, // no request of RAM, no limit
	} {
		c.Workload = workload(t, x.row)
		if o := run(t, c).Outcome(0); o.Phase != x.phase || o.End != at(x.end) {
			t.Errorf("%+v: %v at %v s, want %v at %v s", x.row.Need, o.Phase, o.End.Seconds(), x.phase, x.end)
		}
	}
}

// TestDrawnPeaksAreLognormal: with the median at what is asked for half of the tasks fail, whatever the shape; with median 0.8 and shape 0.2 those beyond
// ln(1/0.8)/0.2 = 1.116 standard deviations, 13.2 %. Within three standard errors of 20000 tasks.
func TestDrawnPeaksAreLognormal(t *testing.T) {
	row := with(gpus(0, 1*s, 1), func(r *traces.Row) { r.Need.VRAM = 10 * gb })
	var rows []traces.Row
	for range 20000 {
		rows = append(rows, row)
	}
	w := workload(t, rows...)
	for _, c := range []struct {
		memory sim.Memory
		want   float64
	}{{sim.Memory{Sigma: 0.5}, 0.5}, {sim.Memory{Median: 0.8, Sigma: 0.2}, 0.5 * math.Erfc(math.Log(1/0.8)/0.2/math.Sqrt2)}, {sim.Memory{Median: 0.8}, 0}} {
		failed := 0.0
		for i := range rows {
			if oom, _ := c.memory.Fate(w, sched.TaskID(i), 7); oom {
				failed++
			}
		}
		n := float64(len(rows))
		if se := math.Sqrt(c.want * (1 - c.want) / n); math.Abs(failed/n-c.want) > 3*se {
			t.Errorf("%v: %.4f run out of memory, want %.4f +- %.4f", &c.memory, failed/n, c.want, 3*se)
		}
	}
}

func TestRunsWithMemoryKeepTheirPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := traces.NewBuilder("case", "test")
		n := rapid.IntRange(1, 25).Draw(t, "tasks")
		for range n {
			r := with(gpus(float64(rapid.IntRange(0, 60).Draw(t, "submit")), 10*s, 1), func(r *traces.Row) {
				r.Need.GPUMilli = int32(rapid.SampledFrom([]int{250, 500, 1000}).Draw(t, "share"))
				r.Need.Mem, r.Need.VRAM = int64(rapid.IntRange(0, 200).Draw(t, "mem"))*gb, int64(rapid.IntRange(1, 40).Draw(t, "vram"))*gb
				r.UsedMem, r.UsedVRAM = int64(rapid.IntRange(0, 200).Draw(t, "used mem"))*gb, int64(rapid.IntRange(0, 60).Draw(t, "used vram"))*gb
				r.Retries = int32(rapid.IntRange(0, 2).Draw(t, "retries"))
			})
			if err := b.Add(&r); err != nil {
				t.Fatal(err)
			}
		}
		w, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		c := sim.Config{
			Workload: w, Nodes: bigNode(4), Policy: build(t, rapid.SampledFrom([]string{"fifo", "fjf", "easy", "srtf"}).Draw(t, "policy")),
			Memory: &sim.Memory{Sigma: rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "sigma"), Slowdown: rapid.SampledFrom([]float64{0, 4}).Draw(t, "slowdown")},
		}
		rec := check.Recorder{}
		c.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
			rec.Tap(now, in, out)
			return nil
		}
		res, err := runErr(c)
		if err != nil {
			t.Fatal(err)
		}
		if bad := rec.Check(check.Case{Table: w.Table, Run: c.Truth().Run, Nodes: c.Nodes}, res.Outcome); len(bad) > 0 {
			t.Fatalf("%v", bad[0])
		}
		for i := range n {
			id := sched.TaskID(i)
			need, used, o := w.DemandOf(id).Need, c.Memory.Use(w, id, 0), res.Outcome(id)
			spill := max(used.VRAM-need.VRAM, 0)
			over := spill > 0 && c.Memory.Slowdown == 0 || need.Mem > 0 && used.Mem+spill > need.Mem
			if over != (o.Phase == sched.Failed) || over && o.Attempts != 1+w.ClassOf(id).Retries {
				t.Fatalf("task %d asks for %+v and uses %+v: %v after %d attempts", i, need, used, o.Phase, o.Attempts)
			}
		}
	})
}

func TestMemoryThatCannotBeIsRefused(t *testing.T) {
	for text, what := range map[string]string{"median=-1": "median", "sigma=11": "sigma", "peak=2": "peak", "slowdown=0.5": "slowdown", "size=3": `there is no "size"`, "sigma=x": "a number"} {
		if _, err := sim.ParseMemory(text); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v, want an error with %q", text, err, what)
		}
	}
	m, err := sim.ParseMemory("median=0.8,sigma=0.2,slowdown=4")
	if err != nil || m.String() != "median=0.8,sigma=0.2,slowdown=4" {
		t.Errorf("%v, %v", m, err)
	}
}
