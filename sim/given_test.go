package sim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

func TestWhatAProgramGivesThatCannotBeIsRefused(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*sim.Config)
		want   string
	}{
		"no workload":            {func(c *sim.Config) { c.Workload = nil }, "no workload"},
		"an empty workload":      {func(c *sim.Config) { c.Workload = &traces.Workload{} }, "no workload"},
		"no policy":              {func(c *sim.Config) { c.Policy = nil }, "no policy"},
		"no run times":           {func(c *sim.Config) { c.Workload.Run = nil }, "0 run times for 2 tasks"},
		"a negative run time":    {func(c *sim.Config) { c.Workload.Run[1] = -5 * s }, "task 2 has a negative run time, -5s"},
		"the same, in a window":  {func(c *sim.Config) { c.Workload.Run[1], c.Window = -5*s, &sim.Window{Min: s, Max: s} }, "task 2 has a negative run time, -5s"},
		"too few estimates":      {func(c *sim.Config) { c.Estimates = make([]time.Duration, 1) }, "1 estimates for 2 tasks"},
		"a negative estimate":    {func(c *sim.Config) { c.Estimates = []time.Duration{s, -1} }, "task 2 has a negative estimate, -1ns"},
		"a negative overhead":    {func(c *sim.Config) { c.Overhead = -1 }, "overhead"},
		"a node too many fails":  {func(c *sim.Config) { c.Faults = []sim.Fault{{At: at(1), Node: 1}} }, "node 1 is to fail, and there are 1"},
		"no node fails":          {func(c *sim.Config) { c.Faults = []sim.Fault{{At: at(1), Node: sched.NoNode}} }, "node -1 is to fail"},
		"a task too many fails":  {func(c *sim.Config) { c.Faults = []sim.Fault{{Task: 2, Attempt: 1, After: s}} }, "task 2 is to fail, and there are 2"},
		"no task fails":          {func(c *sim.Config) { c.Faults = []sim.Fault{{Task: sched.Nobody, Attempt: 1, After: s}} }, "task -1 is to fail"},
		"no attempt fails":       {func(c *sim.Config) { c.Faults = []sim.Fault{{Task: 1, Attempt: -1, After: s}} }, "task 2 is to fail in attempt -1"},
		"a failure before start": {func(c *sim.Config) { c.Faults = []sim.Fault{{Task: 1, Attempt: 1, After: -s}} }, "after -1s"},
	} {
		c := sim.Config{Workload: workload(t, cpus(0, s, 1), cpus(0, s, 1)), Nodes: nodes(1, 1, 0), Policy: named(t, "fifo")}
		x.change(&c)
		if _, err := runErr(c); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, x.want)
		}
	}
}

// restless is a policy that starts what there is room for and asks to be woken again so long after each decision.
type restless struct {
	again time.Duration
	idle  bool // it starts nothing
}

func (p *restless) Observe(*sched.State, sched.Event) {}

func (p *restless) Decide(r *sched.Round) {
	for t := range sched.TaskID(r.Known()) {
		if !p.idle {
			r.StartFirst(t)
		}
	}
	r.WakeAt(r.Now().Add(p.again))
}

// circle is a policy that stops a task as soon as it runs.
type circle struct{}

func (circle) Observe(*sched.State, sched.Event) {}

func (circle) Decide(r *sched.Round) {
	if r.StartFirst(1) {
		r.Evict(1)
	}
}

func TestAPolicyThatComesToNoEndIsToldWhatItDoes(t *testing.T) {
	for name, x := range map[string]struct {
		policy sched.Policy
		long   bool // a million decisions
		want   []string
	}{
		"woken at once":        {&restless{}, false, []string{"asks to be woken", "at 0 s"}},
		"woken in the past":    {&restless{again: -5 * s}, false, []string{"asks to be woken", "at 0 s"}},
		"stops what it starts": {circle{}, false, []string{"orders without end at 0 s", "task 2"}},
		"starts nothing":       {&restless{again: s, idle: true}, true, []string{"asks to be woken", "2 tasks wait", "none runs"}},
		"woken too often":      {&restless{again: 1}, true, []string{"asks to be woken", "too short"}},
	} {
		if x.long && testing.Short() {
			continue
		}
		_, err := runErr(sim.Config{Workload: workload(t, cpus(0, s, 1), cpus(0, s, 1)), Nodes: nodes(1, 2, 0), Policy: x.policy})
		for _, want := range x.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want one that says %q", name, err, want)
			}
		}
	}
}
