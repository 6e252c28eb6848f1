package experiment

import (
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
)

// Checker looks at every batch of a run with the independent checkers that its models call for.
type Checker struct {
	check.Recorder
	pool   *check.Pool
	quotas *check.Quotas
}

// NewChecker returns the checker of a run.
func NewChecker(c sim.Config) *Checker {
	k := &Checker{}
	if c.Elastic != nil {
		k.pool = &check.Pool{Table: c.Workload.Table, Nodes: c.Nodes, Delay: c.Elastic.Provisioning}
	}
	if c.Tenants != nil {
		k.quotas = &check.Quotas{Table: c.Workload.Table}
	}
	return k
}

// Tap takes one batch.
func (k *Checker) Tap(now sched.Time, in []sched.Event, out []sched.Command) {
	k.Recorder.Tap(now, in, out)
	if k.pool != nil {
		k.pool.Tap(now, in, out)
	}
	if k.quotas != nil {
		k.quotas.Tap(now, in, out)
	}
}

// models returns what the checkers of the models have found.
func (k *Checker) models(c sim.Config, r *sim.Result) (bad []check.Violation) {
	if k.pool != nil {
		bad = k.pool.Check(r.NodeHours, r.Last, false)
	}
	if k.quotas != nil {
		bad = append(bad, k.quotas.Check()...)
	}
	return bad
}
