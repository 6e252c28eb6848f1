package policies

import (
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// plainThemis works out every rho anew in each decision, as a fraction, and whom to stop by plainList.
type plainThemis struct {
	lease time.Duration
	list  plainList
}

func (p *plainThemis) Observe(*sched.State, sched.Event) {}

func (p *plainThemis) rho(s *sched.State, t sched.TaskID) *big.Rat {
	shared := s.Now().Sub(s.FirstReady(t)) + s.Remaining(t)
	if ph := s.Phase(t); ph == sched.Running || ph == sched.Stopping {
		shared = s.EstimatedEnd(t).Sub(s.FirstReady(t))
	}
	return new(big.Rat).SetFrac64(int64(shared), int64(max(s.Estimate(t), 1)))
}

// rounded is rho in units of 2^-20.
func (p *plainThemis) rounded(s *sched.State, t sched.TaskID) int64 {
	x := p.rho(s, t)
	n := new(big.Int).Mul(x.Num(), big.NewInt(1<<20))
	return n.Quo(n, x.Denom()).Int64()
}

func (p *plainThemis) Decide(r *sched.Round) {
	p.list.Evict = func(s *sched.State, v, t sched.TaskID) (int64, bool) {
		mine, its := p.rounded(s, t), p.rounded(s, v)
		return -its, s.Now().Sub(s.StartedAt(v)) >= p.lease && (its < mine || its == mine && v > t)
	}
	shut := map[sched.DemandID]bool{}
	type item struct {
		task sched.TaskID
		rho  *big.Rat
	}
	var ready []item
	for t := range sched.TaskID(r.Known()) {
		if r.Phase(t) == sched.Ready {
			ready = append(ready, item{t, p.rho(r.State, t)})
		}
	}
	slices.SortStableFunc(ready, func(a, b item) int { return b.rho.Cmp(a.rho) })
	for _, it := range ready {
		if !shut[r.DemandID(it.task)] && !p.list.try(r, it.task) {
			if !p.list.Skip {
				break
			}
			shut[r.DemandID(it.task)] = true
		}
	}
	if r.Queued() > 0 && r.Running() > 0 {
		at := sched.Time(0)
		for at > r.Now() {
			at -= sched.Time(p.lease)
		}
		for at <= r.Now() {
			at += sched.Time(p.lease)
		}
		r.WakeAt(at)
	}
}

func themisPair(rt *rapid.T, c policytest.Case, shortest time.Duration) (*Themis, *plainThemis) {
	lease := max(rapid.SampledFrom([]time.Duration{5e9, 1e9, 2500e6, 20e9}).Draw(rt, "lease"), shortest) + c.Overhead
	skip := rapid.IntRange(0, 2).Draw(rt, "skip") > 0
	return NewThemis(nil, skip, lease), &plainThemis{lease: lease, list: plainList{Skip: skip}}
}

func TestThemisGivesTheOrdersOfThePlainOne(t *testing.T) {
	gen := policytest.Cases(policytest.Gen{NoRestart: true, SmallOverhead: true})
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		fast, plain := themisPair(rt, c, 0)
		fast.run.Place, plain.list.Place = drawPlace(rt)
		sameBatches(policytest.TB(t, rt), rt, c, fast, plain)
	})
}

func TestThemisGivesTheOrdersOfThePlainOneInAStampede(t *testing.T) {
	gen := rapid.Custom(stampede)
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		fast, plain := themisPair(rt, c, 5e9)
		sameBatches(policytest.TB(t, rt), rt, c, fast, plain)
	})
}
