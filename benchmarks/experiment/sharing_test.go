package experiment

import (
	"context"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

func TestTheNumberOfWorkersChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawn(t)
		var first string
		for _, o.Workers = range []int{1, 2, 5} {
			res, err := Run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			text := printed(t, res, report.Trace{Tasks: res.Workload.Len()})
			if first == "" {
				first = text
			}
			if text != first {
				t.Fatalf("%d workers:\n%s\none:\n%s", o.Workers, text, first)
			}
		}
	})
}

// TestPoliciesShareTheTrace runs policies that look at their table: all see one and the same, and it is loaded once.
func TestPoliciesShareTheTrace(t *testing.T) {
	w := queue(t, 2000)
	o := options(t, w)
	o.Workers, o.Estimates = 2, Estimates{Kind: "factor", Factor: 2}
	loads := 0
	o.Source.Load = func(int64) (*traces.Workload, error) { loads++; return w, nil }
	var tasks []*sched.Task
	var estimates, runs []any
	wk := &work{load: math.NaN()}
	if wk.prepare(&o); wk.err != nil {
		t.Fatal(wk.err)
	}
	loads = 0
	for _, name := range []string{"fifo", "sjf", "easy"} {
		spec, err := policies.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = append(o.Policies, spec)
		c, err := o.config(wk.w, spec, 1, wk.estimates)
		if err != nil {
			t.Fatal(err)
		}
		c.Policy = watched{c.Policy, func(s *sched.State) {
			tasks = append(tasks, &s.Table().Tasks[0])
			estimates = append(estimates, &s.Table().Estimates[0])
		}}
		runs = append(runs, &c.Workload.Run[0])
		if _, err := sim.Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if len(slices.Compact(tasks)) != 1 || len(slices.Compact(estimates)) != 1 || len(slices.Compact(runs)) != 1 {
		t.Error("a policy has a table, estimates or run times of its own")
	}
	if _, err := Run(t.Context(), o); err != nil || loads != 1 {
		t.Errorf("loaded %d times: %v", loads, err)
	}
}

// watched looks at the state at each decision.
type watched struct {
	sched.Policy
	look func(*sched.State)
}

func (w watched) Decide(r *sched.Round) {
	w.look(r.State)
	w.Policy.Decide(r)
}
