package policies_test

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// plainOrder tries all ready tasks in an order that it works out anew before each attempt, and keeps nothing. Policies that are never asked
// twice in vain must give the same orders.
type plainOrder struct {
	skip   bool
	before func(s *sched.State, a, b sched.TaskID) int // ties to the lower TaskID
	begin  func(s *sched.State)                        // called before each attempt
}

func (p *plainOrder) Observe(*sched.State, sched.Event) {}

func (p *plainOrder) Decide(r *sched.Round) {
	shut, refused := map[sched.DemandID]bool{}, map[sched.TaskID]bool{}
	for {
		if p.begin != nil {
			p.begin(r.State)
		}
		best := sched.Nobody
		for t := range sched.TaskID(r.Known()) {
			if r.Phase(t) == sched.Ready && !shut[r.DemandID(t)] && !refused[t] && (best == sched.Nobody || p.before(r.State, t, best) < 0) {
				best = t
			}
		}
		switch {
		case best == sched.Nobody:
			return
		case !r.StartFirst(best):
			r.Skip(best, sched.NoRoom)
			if !p.skip {
				return
			}
			shut[r.DemandID(best)] = true
		case r.Phase(best) == sched.Ready:
			refused[best] = true
		}
	}
}

// agrees runs a policy and a plain one over random cases, with facts of every kind, and demands equal orders.
func agrees(t *testing.T, name string, plain func() sched.Policy) {
	t.Run(name, func(t *testing.T) {
		newPolicy := build(t, name)
		cases := policytest.Cases(policytest.Gen{MaxTasks: 30})
		starts := 0
		rapid.Check(t, func(rt *rapid.T) {
			c := cases.Draw(rt, "case")
			_, n := lockstep(rt, c, sched.Config{}, newPolicy(), plain())
			starts += n
		})
		if starts < 1000 && !testing.Short() { // -short draws a fifth of the cases
			t.Errorf("only %d orders were compared", starts)
		}
	})
}

// plainDRF is Algorithm 1 with all shares worked out anew.
func plainDRF(skip bool, weights map[string]float64) sched.Policy {
	p := &plainOrder{skip: skip}
	share := map[sched.TenantID]int64{}
	p.begin = func(s *sched.State) {
		var all [3]float64
		for n := range s.Room().Len() {
			spec := s.Room().Spec(sched.NodeID(n))
			if spec.CPU < sched.Unlimited {
				all[0] += float64(spec.CPU)
			}
			if spec.Mem < sched.Unlimited {
				all[1] += float64(spec.Mem)
			}
			all[2] += float64(spec.GPUs) * sched.Whole
		}
		held := map[sched.TenantID]*[3]float64{}
		for t := range s.RunningTasks() {
			d, tenant := s.Demand(t), s.Class(t).Tenant
			if held[tenant] == nil {
				held[tenant] = &[3]float64{}
			}
			for i, x := range []float64{float64(d.CPUTotal()), float64(d.Need.Mem) * float64(d.Gang), float64(d.GPUTotal())} {
				held[tenant][i] += x
			}
		}
		clear(share)
		for tenant, h := range held {
			most := 0.0
			for i := range h {
				if all[i] > 0 {
					most = max(most, h[i]/all[i])
				}
			}
			w := weights[s.Table().Tenants[tenant]]
			if w == 0 {
				w = 1
			}
			share[tenant] = int64(math.Round(most / w * (1 << 40)))
		}
	}
	p.before = func(s *sched.State, a, b sched.TaskID) int {
		return cmp.Or(cmp.Compare(share[s.Class(a).Tenant], share[s.Class(b).Tenant]), cmp.Compare(s.FirstReady(a), s.FirstReady(b)))
	}
	return p
}

func TestDRFServesTheLeastDominantShareAsAlgorithm1WorkedOutPlainly(t *testing.T) {
	agrees(t, "drf", func() sched.Policy { return plainDRF(true, nil) })
	agrees(t, "drf{skip=false}", func() sched.Policy { return plainDRF(false, nil) })
	agrees(t, "drf{weights=red:3/blue:0.5}", func() sched.Policy { return plainDRF(true, map[string]float64{"red": 3, "blue": 0.5}) })
}

func TestWeightsSayWhatIsWrongWithThem(t *testing.T) {
	for text, part := range map[string]string{
		"red": "name:weight", "red:": "from 1e-6", "red:0": "from 1e-6", "red:-1": "from 1e-6", "red:NaN": "from 1e-6", "red:1/red:2": "twice", "equal/red:1": "name:weight",
	} {
		if err := parseError(fmt.Sprintf("drf{weights=%s}", text)); err == nil || !contains(err, part) || !contains(err, text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func parseError(text string) error {
	_, err := policies.Parse(text)
	return err
}

func contains(err error, part string) bool { return strings.Contains(err.Error(), part) }
