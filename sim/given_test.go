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
