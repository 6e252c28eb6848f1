package sim_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
)

// meddler orders checkpoints and rejects waiting tasks now and then.
type meddler struct {
	sched.Policy
	saves, rejects int // one in so many decisions; 0: never
	n              int
}

func (p *meddler) Decide(r *sched.Round) {
	p.Policy.Decide(r)
	p.n++
	for t := range sched.TaskID(r.Known()) {
		switch {
		case r.Phase(t) == sched.Running && p.saves > 0 && p.n%p.saves == 0:
			r.Checkpoint(t)
			return
		case r.Phase(t) == sched.Ready && p.rejects > 0 && p.n%p.rejects == 0 && r.Attempt(t) > 0:
			r.Reject(t, sched.Order)
			return
		}
	}
}

func TestAPreemptionWithoutModelsIsBookedAsWithThem(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := policytest.Cases(policytest.Gen{NoRestart: true, NoOverhead: true}).Draw(rt, "case")
		c.KillAtEstimate, c.Faults, c.RunOn, c.Table.EstimateOn, c.Table.EdgeBytes, c.Table.Data = false, nil, nil, nil, nil, nil
		for i := range c.Nodes {
			c.Nodes[i].SpeedMilli = 0
		}
		for i := range c.Table.Classes {
			c.Table.Classes[i].Speeds = 0
		}
		name := rapid.SampledFrom([]string{"rr{quantum=2s}", "srtf", "las{quantum=1s}"}).Draw(rt, "policy")
		saves, rejects := rapid.SampledFrom([]int{0, 0, 3, 10}).Draw(rt, "saves"), rapid.SampledFrom([]int{0, 0, 5}).Draw(rt, "rejects")
		var res [2]*sim.Result
		for i := range res {
			cfg := caseConfig(c, &meddler{Policy: named(rt, name), saves: saves, rejects: rejects})
			if i == 1 {
				cfg.Faults = []sim.Fault{{At: sched.Never - 2, Up: true}} // it never comes, but it might
			}
			var err error
			if res[i], err = runErr(cfg); err != nil {
				rt.Fatal(err)
			}
		}
		a, b := res[0], res[1]
		for id := range sched.TaskID(len(c.Run)) {
			if x, y := a.Outcome(id), b.Outcome(id); x != y {
				rt.Errorf("task %d: %+v, booked with models %+v", id, x, y)
			}
		}
		if a.LostGPUSeconds != b.LostGPUSeconds || a.LostCPUSeconds != b.LostCPUSeconds || a.Batches != b.Batches || a.Preemptions != b.Preemptions || a.GPUSeconds != b.GPUSeconds {
			rt.Errorf("%+v, booked with models %+v", a, b)
		}
	})
}
