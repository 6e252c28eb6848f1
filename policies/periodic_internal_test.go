package policies

import (
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// listening keeps the templates and starts nothing.
type listening struct{ known templates }

func (p *listening) Observe(s *sched.State, e sched.Event) { p.known.observe(s, &e) }

func (p *listening) Decide(*sched.Round) {}

// TestTemplatesStandInTheOrderOfTheirNumbersWhateverTheOrderOfArrival: tasks 0, 2 and 4 are periodic, 1 and 3 are not.
func TestTemplatesStandInTheOrderOfTheirNumbersWhateverTheOrderOfArrival(t *testing.T) {
	tb := &sched.Table{
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 5,
		Demands: []sched.Demand{{Need: sched.Need{CPU: 1000}, Gang: 1}},
		Classes: []sched.Class{{Period: time.Minute}, {}},
	}
	for i := range sched.JobID(5) {
		tb.Tasks = append(tb.Tasks, sched.Task{Job: i, Class: sched.ClassID(i % 2)})
		tb.Estimates = append(tb.Estimates, time.Duration(i+1)*time.Second)
	}
	for _, order := range [][]sched.TaskID{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {3, 0, 4, 1, 2}, {1, 2, 0, 3, 4}} {
		p := new(listening)
		k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}, Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		for i, task := range order {
			k.Step(sched.Time(i), []sched.Event{{Kind: sched.JobArrived, Task: task, N: 1, Node: sched.NoNode}})
		}
		if want := []sched.TaskID{0, 2, 4}; !slices.Equal(p.known.one, want) {
			t.Errorf("after %v the templates are of tasks %v, wanted %v", order, p.known.one, want)
		}
		for task := range sched.TaskID(5) {
			want := int32(-1)
			if task%2 == 0 {
				want = int32(task / 2)
			}
			if got := p.known.template(task); got != want {
				t.Errorf("after %v task %d is of template %d, wanted %d", order, task, got, want)
			}
			if want >= 0 && p.known.set[want].C != tb.Estimates[task] {
				t.Errorf("after %v template %d takes %v, wanted %v", order, want, p.known.set[want].C, tb.Estimates[task])
			}
		}
	}
}
