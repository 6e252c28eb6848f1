package policies

import (
	"math"

	"github.com/schedlab/schedlab/policies/sched"
)

// DRF is Dominant Resource Fairness (Ghodsi et al., NSDI 2011, Algorithm 1): whenever there is room, the tenant with the least dominant share
// may start its next task. A tenant's dominant share is the largest of its shares of CPU, memory and GPUs (of all types together) that its
// running tasks hold of the whole cluster, divided by its weight (section 4.3 with one weight for all resources).
//
// Where we differ: the paper has one pool of resources and stops when the next task does not fit. So does skip=false; by default tasks
// that do not fit on any node now are passed over. Nodes that are down count as capacity, and a resource that the cluster does not state
// as none. Equal shares, of which the paper says nothing, are decided for whose first task has waited longest.
//
// Make one with NewDRF.
type DRF struct {
	tenants
	weights weights
	use     []bundle // by TenantID
	holds   []bool   // by TaskID: its demand is in use
	caps    bundle
}

// bundle is an amount of the resources that are shared fairly.
type bundle struct{ cpu, mem, gpu int64 }

func (h *bundle) add(d *sched.Demand, sign int64) {
	g := sign * int64(d.Gang)
	h.cpu += g * d.Need.CPU
	h.mem += g * d.Need.Mem
	h.gpu += sign * d.GPUTotal()
}

// capacity returns what the cluster has.
func capacity(room *sched.Room) bundle {
	var h bundle
	h.cpu, _ = room.CPU()
	h.mem, _ = room.Mem()
	for i := range room.GPUTypes() {
		c, _ := room.GPUs(i)
		h.gpu += c
	}
	return h
}

// dominant returns the largest share that h is of the capacity. What has none does not count.
func (h bundle) dominant(of bundle) float64 {
	return max(0, ratio(h.cpu, of.cpu), ratio(h.mem, of.mem), ratio(h.gpu, of.gpu))
}

func ratio(held, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(held) / float64(of)
}

// NewDRF returns the policy. place may be nil: first fit. skip says whether what does not fit is passed over; tenants that are not in w weigh 1.
func NewDRF(place Place, skip bool, w []TenantWeight) *DRF {
	p := &DRF{tenants: newTenants(place, skip), weights: w}
	p.started = p.take
	return p
}

// IgnoresArrivals says that it need not be told of arrivals.
func (p *DRF) IgnoresArrivals(q sched.Policy) bool { return q == sched.Policy(p) }

// Observe keeps the lines and what the tenants hold.
func (p *DRF) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.Started:
		p.take(s, e.Task)
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		p.give(s, e.Task)
	case sched.NodeUp:
		p.resize(s)
	}
	p.observe(s, &e)
}

// Decide serves the tenant with the least dominant share as long as there is room.
func (p *DRF) Decide(r *sched.Round) { p.decide(r) }

// take takes in that a task holds room.
func (p *DRF) take(s *sched.State, t sched.TaskID) {
	p.holds = byTask(s, p.holds, false)
	if !p.holds[t] {
		p.holds[t] = true
		p.change(s, t, 1)
	}
}

func (p *DRF) give(s *sched.State, t sched.TaskID) {
	if int(t) < len(p.holds) && p.holds[t] {
		p.holds[t] = false
		p.change(s, t, -1)
	}
}

func (p *DRF) change(s *sched.State, t sched.TaskID, sign int64) {
	if p.caps == (bundle{}) {
		p.caps = capacity(s.Room())
	}
	tenant := s.Class(t).Tenant
	p.grow(tenant)
	for len(p.use) < len(p.tenants.ranks) {
		p.use = append(p.use, bundle{})
	}
	p.use[tenant].add(s.Demand(t), sign)
	p.rank(s, tenant)
}

// rank keeps the order: shares are compared to 2^-40 of the cluster.
func (p *DRF) rank(s *sched.State, tenant sched.TenantID) {
	share := p.use[tenant].dominant(p.caps) / p.weights.of(s, tenant)
	p.setRank(tenant, int64(math.Round(min(share, 1<<20)*(1<<40))))
}

// resize takes in that the cluster has grown.
func (p *DRF) resize(s *sched.State) {
	if now := capacity(s.Room()); now != p.caps {
		p.caps = now
		for tenant := range p.use {
			p.rank(s, sched.TenantID(tenant))
		}
	}
}

var drfEntry = Entry{
	Name: "drf", Summary: "Dominant resource fairness: the tenant with the least dominant share next.", Placed: true, Starves: true,
	About: "A tenant's dominant share is the largest of its shares of the cluster's CPU, memory and GPUs, by its weight; whoever has the least may start its next task, " +
		"first come, first served within the tenant; tasks run to their end. A large task may starve behind a stream of small ones; with skip=false, where whoever is next " +
		"holds up all others, none does.",
	Source: "Ghodsi, Zaharia, Hindman, Konwinski, Shenker & Stoica, NSDI 2011, Algorithm 1.",
	Params: []Param{weightsParam, skipParam},
	New: func(a Args) (sched.Policy, error) {
		w, err := parseWeights(a.Text(weightsParam.Name))
		return NewDRF(a.Place, a.Bool("skip"), w), err
	},
}
