package history

import (
	"fmt"
	"math"
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

// Quantiles of waits are order statistics, by nearest rank; where they are rough they say so and are within 3 %.
func TestQuantilesAreExactOrSaidToBeRough(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, n := range []int{0, 1, 2, 3, 99, 100, 101, 5000, exactWaits, exactWaits + 1} {
		for name, draw := range map[string]func() time.Duration{
			"nothing": func() time.Duration { return 0 },
			"50 s":    func() time.Duration { return 50 * time.Second },
			"short":   func() time.Duration { return time.Duration(rng.IntN(3_000_000)) },
			"any":     func() time.Duration { return time.Duration(rng.ExpFloat64() * 1e12) },
			"edges":   func() time.Duration { return time.Duration(upper(rng.IntN(200))*1e9) + time.Duration(rng.IntN(3)-1) },
			"vast":    func() time.Duration { return 1<<62 + time.Duration(rng.IntN(1000)) },
		} {
			r := Record{tasks: make([]task, 2*n)}
			r.cur.phase = make([]uint8, 2*n)
			var done []time.Duration
			for i := range r.tasks {
				r.tasks[i].wait = draw()
				r.cur.phase[i] = uint8(sched.Running)
				if i%2 == 0 {
					r.cur.phase[i] = uint8(sched.Done)
					r.cur.waits[bin(r.tasks[i].wait)]++
					r.cur.done++
					done = append(done, r.tasks[i].wait)
				}
			}
			slices.Sort(done)
			rank := func(percent int) float64 {
				if n == 0 {
					return math.NaN()
				}
				return done[max((percent*n+99)/100, 1)-1].Seconds()
			}
			same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
			for _, exact := range []bool{false, true} {
				p50, p99, rough := r.quantiles(exact)
				if rough != (!exact && n > exactWaits) {
					t.Errorf("%d waits, %s: rough is %v", n, name, rough)
				}
				if !rough && (!same(p50, rank(50)) || !same(p99, rank(99))) {
					t.Errorf("%d waits, %s: %v and %v, want %v and %v", n, name, p50, p99, rank(50), rank(99))
				}
				if rough && name != "vast" && (math.Abs(p50-rank(50)) > 0.03*rank(50)+0.001 || math.Abs(p99-rank(99)) > 0.03*rank(99)+0.001) {
					t.Errorf("%d waits, %s: roughly %v and %v, exactly %v and %v", n, name, p50, p99, rank(50), rank(99))
				}
			}
		}
	}
}
