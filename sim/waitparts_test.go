package sim_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
)

// The parts of a task's waiting are apart from each other and, with its holding, fill the time from its submission to its end; by cause they
// add up to the books.
func TestWaitPartsFillTheTimeInWhichATaskDoesNotHold(t *testing.T) {
	nodes, err := cluster.Parse(gen.ExampleCluster)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := gen.Example(1)
	for _, name := range []string{"fifo", "rr", "critical-path", "easy"} {
		spec, err := policies.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policies.Build(spec, policies.Hints{MeanEstimate: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		waited := make([]time.Duration, len(w.Tasks))
		last := make([]sched.Time, len(w.Tasks))
		for i := range last {
			last[i] = w.Tasks[i].Submit
		}
		var causes [sched.NumCauses]float64
		res, err := sim.Run(context.Background(), sim.Config{
			Workload: w, Nodes: nodes, Policy: p, Overhead: time.Second,
			WaitParts: func(parts []sched.WaitPart) {
				for _, x := range parts {
					if x.From < last[x.Task] || x.To <= x.From {
						t.Fatalf("%s: task %d waits from %d to %d, and the part before ended at %d", name, x.Task, x.From, x.To, last[x.Task])
					}
					last[x.Task] = x.To
					waited[x.Task] += x.To.Sub(x.From)
					causes[x.Cause] += x.To.Sub(x.From).Seconds()
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range w.Tasks {
			o := res.Outcome(sched.TaskID(i))
			if want := o.End.Sub(w.Tasks[i].Submit) - o.Held; waited[i] != want {
				t.Fatalf("%s: task %d waits for %v in parts, and %v from submission to end less holding", name, i, waited[i], want)
			}
		}
		some := 0
		for c, want := range res.CauseSeconds {
			if math.Abs(causes[c]-want) > 1e-6*(1+want) {
				t.Errorf("%s: %v takes %g s in parts and %g s in the books", name, sched.Cause(c), causes[c], want)
			}
			if want > 0 {
				some++
			}
		}
		if some < 2 {
			t.Errorf("%s: only %d causes occur: the test shows little", name, some)
		}
	}
}
