package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// plainAttained looks at every running task for its rank of this moment, and wakes at the next step of any.
func plainAttained(level Level, strict, queues bool) *plainList {
	l := &plainList{Skip: true, Key: func(s *sched.State, t sched.TaskID) int64 {
		had := s.Attained(t)
		rank, from, _ := level(s, t, had)
		if !queues {
			return rank
		}
		const section = int64(1e15)
		place := func(at sched.Time) int64 { return int64(at)/1e6 + 1e12 }
		rank *= 3 * section
		if !holds(s.Phase(t)) {
			if had > from {
				return rank + 2*section - place(s.ReadySince(t))
			}
			return rank + 2*section + place(s.ReadySince(t))
		}
		switch begun := s.Now().Sub(s.StartedAt(t)); {
		case had == from && from > 0 && begun > 0:
			return rank + 2*section + place(s.Now())
		case begun > had-from:
			return rank + place(s.Now().Add(from-had))
		}
		return rank + place(s.StartedAt(t))
	}}
	if l.Evict = passes(l.Key); strict {
		l.Evict = overtakes(l.Key)
	}
	l.Wake = func(r *sched.Round, _ sched.TaskID) {
		for t := range r.RunningTasks() {
			had := r.Attained(t)
			if _, _, until := level(r.State, t, had); until < 1<<60 {
				r.WakeAt(r.Now().Add(until - had))
			}
		}
	}
	return l
}

// leastAttained ranks by whole quanta of attained time.
func leastAttained(quantum time.Duration) Level {
	return func(_ *sched.State, _ sched.TaskID, attained time.Duration) (int64, time.Duration, time.Duration) {
		n := attained / quantum
		return int64(n), n * quantum, (n + 1) * quantum
	}
}

// mostAttained lets those be stopped whose key is larger than that of a waiting task, those first that have attained most.
func mostAttained(key Key) Evictable {
	return func(s *sched.State, running, t sched.TaskID) (int64, bool) {
		return int64(s.Attained(running)), key(s, running) > key(s, t)
	}
}

// acted drops the batches without orders: who looks at more may be woken more often.
func acted(all []string) []string {
	return slices.DeleteFunc(all, func(b string) bool { return !strings.Contains(b, " ") })
}

func TestAttainedOrdersAreThoseOfThePlainList(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{NoRestart: true, NoOverhead: true})
	rush := rapid.Custom(stampede)
	rapid.Check(t, func(rt *rapid.T) {
		var c policytest.Case
		var place, again Place
		if rapid.Bool().Draw(rt, "stampede") {
			c = rush.Draw(rt, "case")
		} else {
			c = cases.Draw(rt, "case")
			place, again = drawPlace(rt)
		}
		strict := rapid.Bool().Draw(rt, "strict")
		level := func() Level { return leastAttained(4 * time.Second) }
		queues := false
		var steps sched.Policy // to which the steps of running tasks cost nothing
		switch rapid.SampledFrom([]string{"las", "2d", "2d", "up and down"}).Draw(rt, "level") {
		case "2d":
			queues = !strict && rapid.Bool().Draw(rt, "queues")
			level = func() Level { return byQueue(&serviceSteps{limits: []time.Duration{2e9, 9e9, 40e9}}) }
		case "up and down":
			level = func() Level {
				q := &serviceSteps{limits: []time.Duration{2e9, 5e9, 9e9, 20e9}}
				return func(s *sched.State, t sched.TaskID, had time.Duration) (int64, time.Duration, time.Duration) {
					n, from, until := q.of(s, t, had)
					return []int64{3, 1, 4, 1, 5}[n], from, until
				}
			}
			p := NewGittins([]int64{1}, 1)
			p.steps, p.ranks = serviceSteps{limits: []time.Duration{2e9, 5e9, 9e9, 20e9}}, []int64{3, 1, 4, 1, 5}
			p.ranked()
			p.Place = place
			steps = &p.Attained
		default:
			steps = NewLAS(4*time.Second, place)
		}
		plain := plainAttained(level(), strict, queues)
		plain.Place = again
		var fast sched.Policy = &Attained{Level: level(), Strict: strict, Queues: queues, Place: place}
		if steps != nil && !strict && rapid.IntRange(0, 3).Draw(rt, "by steps") > 0 {
			if _, las := steps.(*LAS); las {
				plain.Evict = mostAttained(plain.Key)
			}
			fast = steps
		}
		tb := policytest.TB(t, rt)
		a, b := acted(batches(tb, c, fast)), acted(batches(tb, c, plain))
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				rt.Fatalf("batch %d: %q, the plain list %q", i, a[i], b[i])
			}
		}
		if len(a) != len(b) {
			rt.Fatal(fmt.Sprintf("%d batches with orders, the plain list %d", len(a), len(b)))
		}
	})
}

// TestATaskThatIsStoppingIsNotWaitedFor: the first task has held a GPU for 5 quanta when the third claims it; it may have one back when another has held one for 6. The second
// would be the next, at 10 s, but it is cancelled and is stopping: a new estimate of it changes nothing.
func TestATaskThatIsStoppingIsNotWaitedFor(t *testing.T) {
	tb := &sched.Table{
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 3,
		Demands: []sched.Demand{{Gang: 1, Need: sched.Need{GPUs: 1, GPUMilli: sched.Whole}}}, Classes: []sched.Class{{}},
	}
	for i, at := range []sched.Time{0, 4e9, 5e9} {
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: at, Job: sched.JobID(i)})
		tb.Estimates = append(tb.Estimates, 100*time.Second)
	}
	p := NewLAS(time.Second, nil)
	k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", GPUs: 2, GPUType: "A100"}}, Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	fact := func(kind sched.EventKind, task sched.TaskID) sched.Event {
		return sched.Event{Kind: kind, Task: task, Node: sched.NoNode}
	}
	for i := range sched.TaskID(3) {
		e := fact(sched.JobArrived, i)
		e.N = 1
		k.Step(tb.Tasks[i].Submit, []sched.Event{e})
	}
	stopped := fact(sched.Stopped, 0)
	stopped.Attempt, stopped.Done = 1, 5*time.Second
	k.Step(5e9, []sched.Event{stopped})
	if k.Phase(0) != sched.Ready || k.Phase(1) != sched.Running || k.Phase(2) != sched.Running {
		t.Fatalf("%v, %v, %v", k.Phase(0), k.Phase(1), k.Phase(2))
	}
	if next := p.quanta.rises[0]; next.first != 1 || next.next != 10e9 {
		t.Errorf("%d rises next, at %v, the second has held its GPU for 6 quanta at 10 s", next.first, next.next)
	}
	k.Step(7e9, []sched.Event{fact(sched.Cancelled, 1)})
	updated := fact(sched.Updated, 1)
	updated.Value = 50e9
	for _, e := range []sched.Event{fact(sched.Release, 0), updated} {
		k.Step(8e9, []sched.Event{e})
		if next := p.quanta.rises[0]; k.Phase(1) != sched.Stopping || next.first != 2 || next.next != 11e9 {
			t.Errorf("after %v: the second is %v; %d rises next, at %v, the third has held its GPU for 6 quanta at 11 s", e.Kind, k.Phase(1), next.first, next.next)
		}
	}
}

func TestAnAgendaOfStepsTellsWhichTaskIsDueFirst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var a agendaOfSteps
		const tasks = 50
		a.grow(tasks)
		plain := map[sched.TaskID]sched.Time{}
		first := func() (sched.TaskID, sched.Time) {
			best, at := sched.Nobody, sched.Never
			for t := range sched.TaskID(tasks) {
				if x, ok := plain[t]; ok && x < at {
					best, at = t, x
				}
			}
			return best, at
		}
		for now := sched.Time(0); now < 300; now++ {
			task := sched.TaskID(rapid.IntRange(0, tasks-1).Draw(rt, "task"))
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0, 1, 2:
				d := sched.DemandID(rapid.IntRange(0, 20).Draw(rt, "demand"))
				at := now + sched.Time(d)
				if rapid.IntRange(0, 4).Draw(rt, "out of order") == 0 {
					at = now + sched.Time(rapid.IntRange(0, 20).Draw(rt, "in"))
				}
				if delete(plain, task); rapid.IntRange(0, 9).Draw(rt, "never") == 0 {
					at = sched.Never
				} else {
					plain[task] = at
				}
				a.put(task, d, at)
			case 3:
				a.drop(task)
				delete(plain, task)
			case 4:
				_, at := first()
				got, ok := a.due(now)
				if ok != (at <= now) {
					rt.Fatalf("somebody is due at %d: %v, but the first comes at %d", now, ok, at)
				}
				if ok {
					if plain[got] != at {
						rt.Fatalf("task %d is due, at %d, not the one at %d", got, plain[got], at)
					}
					delete(plain, got)
				}
			}
			if _, at := first(); a.next() != at || a.n != len(plain) {
				rt.Fatalf("the first of %d comes at %d, wanted %d of %d", a.n, a.next(), at, len(plain))
			}
		}
	})
}
