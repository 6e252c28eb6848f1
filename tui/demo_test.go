package tui

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/gen"
	"github.com/schedlab/schedlab/tui/history"
)

// line is a policy as simple as they come: it starts what fits, by arrival or the shortest first, and now and then stops what has run for long.
type line struct {
	ready    []sched.TaskID
	shortest bool
	evicts   bool
	rounds   int
}

func (l *line) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.TaskReady:
		l.ready = append(l.ready, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		if i := slices.Index(l.ready, e.Task); i >= 0 {
			l.ready = slices.Delete(l.ready, i, i+1)
		}
	}
}

func (l *line) Decide(r *sched.Round) {
	if l.shortest {
		slices.SortFunc(l.ready, func(a, b sched.TaskID) int {
			if d := r.Estimate(a) - r.Estimate(b); d != 0 {
				return int(max(min(d, 1), -1))
			}
			return int(a - b)
		})
	}
	l.rounds++
	if l.evicts && l.rounds%40 == 0 && len(l.ready) > 0 {
		for t := range r.RunningTasks() {
			r.Evict(t)
			break
		}
	}
	tried := 0
	l.ready = slices.DeleteFunc(l.ready, func(t sched.TaskID) bool {
		if tried > 50 {
			return false
		}
		if r.StartFirst(t) {
			return true
		}
		tried++
		return false
	})
}

type ending struct {
	at sched.Time
	e  sched.Event
}

// simulate runs the workload through a kernel as a small driver of its own, and feeds a record. Every 97th attempt fails half-way.
func simulate(tb testing.TB, w *traces.Workload, nodes []sched.NodeSpec, p sched.Policy) *history.Record {
	k, err := sched.New(sched.Config{Table: w.Table, Nodes: nodes, Policy: p})
	if err != nil {
		tb.Fatal(err)
	}
	rec := history.New(w.Table, nodes)
	var ends []ending
	left := map[sched.TaskID]time.Duration{}
	began := map[sched.TaskID]sched.Time{}
	next, started := 0, 0
	push := func(x ending) {
		i, _ := slices.BinarySearchFunc(ends, x, func(a, b ending) int { // latest first
			if a.at != b.at {
				return int(max(min(b.at-a.at, 1), -1))
			}
			return int(b.e.Task - a.e.Task)
		})
		ends = slices.Insert(ends, i, x)
	}
	for next < len(w.Tasks) || len(ends) > 0 {
		now := sched.Never
		if next < len(w.Tasks) {
			now = w.Tasks[next].Submit
		}
		if n := len(ends); n > 0 {
			now = min(now, ends[n-1].at)
		}
		if wake, ok := k.NextWake(); ok {
			now = min(now, wake)
		}
		var in []sched.Event
		for n := len(ends); n > 0 && ends[n-1].at <= now; n-- {
			e := ends[n-1].e
			ends = ends[:n-1]
			if k.Phase(e.Task) == sched.Running && k.Attempt(e.Task) == e.Attempt || e.Kind == sched.Stopped {
				in = append(in, e)
			}
		}
		for next < len(w.Tasks) && w.Tasks[next].Submit <= now {
			first := next
			for next < len(w.Tasks) && w.Tasks[next].Job == w.Tasks[first].Job && w.Tasks[next].Submit == w.Tasks[first].Submit {
				next++
			}
			in = append(in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(first), N: int32(next - first), Node: sched.NoNode})
		}
		sched.SortBatch(in)
		out := k.Step(now, in)
		rec.Batch(now, in, out)
		for _, c := range out {
			switch c.Kind {
			case sched.Start:
				run, ok := left[c.Task]
				if !ok {
					run = w.Run[c.Task]
				}
				left[c.Task], began[c.Task] = run, now
				e := sched.Event{Kind: sched.Finished, Task: c.Task, Attempt: c.Attempt, Node: sched.NoNode}
				if started++; started%97 == 0 {
					e.Kind, run = sched.FailedAttempt, run/2
				}
				push(ending{now.Add(max(run, 1)), e})
			case sched.Stop:
				did := now.Sub(began[c.Task])
				left[c.Task] = max(left[c.Task]-did, 1)
				push(ending{now + 1, sched.Event{Kind: sched.Stopped, Task: c.Task, Attempt: c.Attempt, Done: did, Node: sched.NoNode}})
			}
		}
	}
	rec.Close(nil)
	return rec
}

// generated is a workload of so many jobs.
func generated(tb testing.TB, spec string, seed uint64, nodes []sched.NodeSpec) *traces.Workload {
	w, err := gen.MustParse(spec).Generate(seed, nodes)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// example is the built-in one, under two policies.
func example(tb testing.TB) []Source {
	w, nodes := gen.Example(1)
	var out []Source
	for i, name := range []string{"fifo", "sjf"} {
		p := &line{shortest: i == 1, evicts: i == 1}
		out = append(out, Recording{simulate(tb, w, nodes, p), Info{Mode: Sim, Title: "gen:example", Policy: name, LowerBound: 3000e9}})
	}
	return out
}

// manyNodes are so many nodes of 8 GPUs.
func manyNodes(n int) []sched.NodeSpec {
	nodes := make([]sched.NodeSpec, n)
	for i := range nodes {
		nodes[i] = sched.NodeSpec{Name: fmt.Sprintf("node-%04d", i+1), GPUs: 8, GPUType: "A100", CPU: 96_000, Mem: 768 << 30, VRAM: 80 << 30}
	}
	return nodes
}
