package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// many is the record of tasks that come, run and end, each on one GPU of 40 nodes.
func many(tasks int) *Record {
	tb := &sched.Table{
		Classes: []sched.Class{{}, {Tenant: 1}}, Demands: []sched.Demand{{Need: sched.Need{GPUs: 1, GPUMilli: sched.Whole}, Gang: 1}},
		Tenants: []string{"", "ana"}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(tasks),
	}
	for i := range tasks {
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: sched.Time(i), Job: sched.JobID(i), Class: sched.ClassID(i % 2)})
		tb.Estimates = append(tb.Estimates, time.Second)
	}
	nodes := make([]sched.NodeSpec, 40)
	for i := range nodes {
		nodes[i] = sched.NodeSpec{Name: fmt.Sprint("n", i), GPUs: 8, CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited}
	}
	r := New(tb, nodes)
	const running = 300
	for i := range tasks + running {
		var in []sched.Event
		var out []sched.Command
		if i >= running {
			in = append(in, sched.Event{Kind: sched.Finished, Task: sched.TaskID(i - running), Attempt: 1, Node: sched.NoNode})
		}
		if i < tasks {
			in = append(in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1, Node: sched.NoNode})
			place := i % 320
			out = append(out, sched.Command{
				Kind: sched.Start, Task: sched.TaskID(i), Attempt: 1,
				On: []sched.Placement{{Node: sched.NodeID(place / 8), Replicas: 1, GPUs: 1 << (place % 8)}},
			})
		}
		r.Batch(sched.Time(i), in, out)
	}
	r.Close(nil)
	return r
}

// A jump with the help of saved cursors shows what going there entry by entry shows.
func TestAJumpShowsWhatTheWayThereShows(t *testing.T) {
	r := many(250_000)
	if len(r.saved.list) < maxSaved/4 {
		t.Fatalf("only %d cursors are saved", len(r.saved.list))
	}
	for i, c := range r.saved.list {
		if i > 0 && c.pos <= r.saved.list[i-1].pos || len(r.saved.list) > maxSaved {
			t.Fatalf("%d cursors are saved, number %d at %d", len(r.saved.list), i, c.pos)
		}
	}
	var plain cursor
	plain.init(r)
	rng := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		at := sched.Time(rng.IntN(250_300))
		r.cur.moveTo(r, at)
		kept := r.saved.list
		r.saved.list = nil
		plain.moveTo(r, at)
		r.saved.list = kept
		a, b := &r.cur, &plain
		if a.pos != b.pos || a.done != b.done || a.waits != b.waits || !slices.Equal(a.phase, b.phase) || !slices.Equal(a.last, b.last) || !slices.Equal(a.group, b.group) {
			t.Fatalf("at %d the state differs", at)
		}
		for n := range a.nodes {
			slices.Sort(a.nodes[n].holding)
			slices.Sort(b.nodes[n].holding)
			if a.nodes[n].state != b.nodes[n].state || a.nodes[n].use != b.nodes[n].use || !slices.Equal(a.nodes[n].holding, b.nodes[n].holding) {
				t.Fatalf("at %d node %d is %+v, entry by entry %+v", at, n, a.nodes[n], b.nodes[n])
			}
		}
	}
}
