//go:build !invariants && !race

package policies_test

import (
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// belt is a driver for a steady state: every step one job arrives, and what should have ended has. Its memory is given out beforehand.
type belt struct {
	k     *sched.Kernel
	tb    *sched.Table
	now   sched.Time
	next  int
	in    []sched.Event
	ends  [64][]sched.Event // by step of the end, modulo
	steps int
	over  int
	stops int
}

// newBelt makes single tasks of four demands that together ask for a little more than the cluster has, now and then, and run 1 to 40 steps.
func newBelt(tb testing.TB, p sched.Policy, tasks int) *belt {
	table := &sched.Table{
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(tasks),
		Demands: []sched.Demand{
			{Gang: 1, Need: sched.Need{CPU: 1000, Mem: 1 << 30}},
			{Gang: 1, Need: sched.Need{CPU: 2000, GPUs: 1, GPUMilli: sched.Whole}},
			{Gang: 1, Need: sched.Need{CPU: 500, GPUs: 1, GPUMilli: 250}},
			{Gang: 3, Need: sched.Need{CPU: 1000, GPUs: 2, GPUMilli: sched.Whole}},
		},
	}
	for d := range table.Demands {
		table.Classes = append(table.Classes, sched.Class{Demand: sched.DemandID(d)})
	}
	for i := range tasks {
		table.Tasks = append(table.Tasks, sched.Task{Submit: sched.Time(i) * 1e9, Job: sched.JobID(i), Class: sched.ClassID((i * 7 / 3) % 4)})
		table.Estimates = append(table.Estimates, time.Duration(1+i*i%41)*time.Second)
	}
	var nodes []sched.NodeSpec
	for range 7 {
		nodes = append(nodes, sched.NodeSpec{Name: "n", CPU: 16000, Mem: 64 << 30, VRAM: sched.Unlimited, GPUs: 8, GPUType: "A"})
	}
	k, err := sched.New(sched.Config{Table: table, Nodes: nodes, Policy: p})
	if err != nil {
		tb.Fatal(err)
	}
	b := &belt{k: k, tb: table, in: make([]sched.Event, 0, 256)}
	for i := range b.ends {
		b.ends[i] = make([]sched.Event, 0, 256)
	}
	return b
}

func (b *belt) step() {
	b.now += 1e9
	b.steps++
	slot := b.steps % len(b.ends)
	b.in = append(b.in[:0], b.ends[slot]...)
	b.ends[slot] = b.ends[slot][:0]
	b.over += len(b.in)
	b.in = append(b.in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(b.next), N: 1})
	b.next++
	for _, o := range b.k.Step(b.now, b.in) {
		switch o.Kind {
		case sched.Stop:
			b.stops++
			at := (b.steps + 1) % len(b.ends)
			done := b.tb.Estimates[o.Task] - b.k.Remaining(o.Task)
			b.ends[at] = append(b.ends[at], sched.Event{Kind: sched.Stopped, Task: o.Task, Attempt: o.Attempt, Done: done})
		case sched.Start:
			at := (b.steps + int(b.k.Remaining(o.Task)/time.Second)) % len(b.ends)
			b.ends[at] = append(b.ends[at], sched.Event{Kind: sched.Finished, Task: o.Task, Attempt: o.Attempt})
		}
	}
}

// TestSteadyStateAllocatesNothing steps kernels on which tasks come, wait and go, long after all slices have their size.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, name := range append(slices.Clone(expressions),
		"fifo", "fjf", "sjf", "sjf{skip=false}", "easy", "easy{scan=sjbf}", "critical-path", "critical-path{patience=20s}", "critical-path{score=0}",
		"blevel", "fjf+best-fit", "fjf+fgd", "fjf+gpu-packing", "fjf+gpu-clustering", "fjf+pack-by-tenant", "fjf+random", "fjf+load-weighted",
		"fjf+two-choices", "fjf+load-weighted{load=all}", "fjf+seed{score=2}") {
		t.Run(name, func(t *testing.T) {
			const warm, measured, runs = 4000, 2000, 3 // several: on a busy machine the runtime itself allocates now and then
			b := newBelt(t, build(t, name)(), warm+(runs+1)*measured)
			waited := 0
			for range warm {
				b.step()
				waited += b.k.Queued()
			}
			if waited == 0 || b.k.Running() < 10 || b.over < warm/2 {
				t.Fatalf("%d waited, %d run, %d are over: this is no steady state", waited, b.k.Running(), b.over)
			}
			many := func() {
				for range measured {
					b.step()
				}
			}
			if n := testing.AllocsPerRun(runs, many); n != 0 {
				t.Errorf("%g allocations in %d steps", n, measured)
			}
		})
	}
}

// TestPreemptionAllocatesNothing does the same where tasks are stopped all the time.
func TestPreemptionAllocatesNothing(t *testing.T) {
	for _, name := range []string{
		"rr{quantum=5s}", "srtf", "srtf{skip=false}", "edf", "edf{admission=none,skip=false}", "llf{quantum=2s}", "llf{quantum=2s,skip=false}",
		"rr{quantum=5s}+best-fit", "srtf+best-fit", "srtf+fgd", "srtf+random",
	} {
		t.Run(name, func(t *testing.T) {
			const warm, measured, runs = 8000, 500, 10
			b := newBelt(t, build(t, name)(), warm+(runs+1)*measured)
			for i := range b.tb.Tasks {
				b.tb.SetDeadline(sched.TaskID(i), b.tb.Tasks[i].Submit+sched.Time(i*i%97)*1e9)
			}
			for i := range b.tb.Demands { // whole GPUs only, so that whom to stop is found by node
				if d := &b.tb.Demands[i]; d.Need.GPUs > 0 {
					d.Need.GPUMilli = sched.Whole
				}
			}
			for range warm {
				b.step()
			}
			stops := b.stops
			many := func() {
				for range measured {
					b.step()
				}
			}
			// The mean is rounded down: scratch that only rare gangs need may reach its size late.
			if n := testing.AllocsPerRun(runs, many); n != 0 {
				t.Errorf("%g allocations in %d steps", n, measured)
			}
			if b.stops-stops < runs*measured/100 || b.over < warm/2 {
				t.Errorf("%d stops, %d ends: the case says little", b.stops-stops, b.over)
			}
		})
	}
}
