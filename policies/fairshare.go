package policies

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// FairShare is weighted fair share with decay, as the fair-share factors of Maui (Jackson, Snell & Clement, JSSPP 2001, section 3.3) and of
// Slurm's priority/multifactor plugin: whenever there is room, the tenant may start its next task that has used least for its weight. Use is
// held GPUs x time as a share of the cluster's GPUs, or cores likewise if that is more, and counts half as much after each HalfLife. Slurm's
// factor 2^(-use/weight) puts tenants in the same order.
//
// Where we differ: there are no other terms (age, size) and no tree of accounts. Slurm charges running tasks as time passes; here a task is
// charged its estimate when it starts, as if used at that moment, so that a tenant cannot start many at once, and when it ends what it has
// held instead, decayed as it was used (all attempts as if in one piece from its first start).
//
// As all uses decay alike, the order of two tenants changes by charges alone: instead of letting old uses shrink, a charge at time t grows by
// 2^(t/HalfLife). It is kept as a whole number of milliseconds x 1/1000 GPU by the half-life in which it fell, so that sums do not depend
// on their order; what is older than 64 half-lives counts nothing.
//
// Make one with NewFairShare.
type FairShare struct {
	tenants
	weights  weights
	halfLife time.Duration // 0: nothing is forgotten

	epoch   int64 // half-life in which the last fact fell: from since to before until
	since   sched.Time
	until   sched.Time
	oldest  int64    // no use is older
	began   bool     // epoch is set
	used    []ledger // by TenantID
	charges []charge // by TaskID
	caps    bundle

	at sched.Time // grown was last asked for this instant,
	by float64    // and said so; 0: it was not
}

// epochs is the number of half-lives after which use is forgotten, a power of two.
const epochs = 64

// ledger is what a tenant has used, in ms x 1/1000 grown to the beginning of the half-life, by half-life modulo epochs.
type ledger struct{ gpu, cpu [epochs]int64 }

// charge is what is charged for a running attempt.
type charge struct {
	start sched.Time
	grown float64 // by how much a charge at its start grows, from 1 to 2; 0 = nothing is charged
	ms    int64   // its estimate, grown
}

// NewFairShare returns the policy. place may be nil: first fit. skip says whether what does not fit is passed over; tenants that are not in w weigh 1.
func NewFairShare(place Place, skip bool, w []TenantWeight, halfLife time.Duration) *FairShare {
	p := &FairShare{tenants: newTenants(place, skip), weights: w, halfLife: halfLife}
	p.started = p.take
	return p
}

// IgnoresArrivals says that it need not be told of arrivals.
func (p *FairShare) IgnoresArrivals(q sched.Policy) bool { return q == sched.Policy(p) }

// Observe keeps the lines and what the tenants have used.
func (p *FairShare) Observe(s *sched.State, e sched.Event) {
	p.passTime(s)
	switch e.Kind {
	case sched.JobArrived: // of a task that is new nothing has been used
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			if o := s.Outcome(t); o.Held > 0 {
				p.settle(s, t, o.Start, p.grown(o.Start), o.Held, 1)
				p.rank(s, s.Class(t).Tenant)
			}
		}
	case sched.Started:
		p.take(s, e.Task)
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		p.give(s, e.Task)
	case sched.Updated:
		if int(e.Task) < len(p.charges) && p.charges[e.Task].grown > 0 {
			p.book(s, e.Task, p.halfLifeOf(p.charges[e.Task].start), -p.charges[e.Task].ms)
			p.charges[e.Task].grown = 0
			p.take(s, e.Task)
		}
	case sched.NodeUp:
		p.resize(s)
	}
	p.observe(s, &e)
}

// Decide serves the tenant that has used least as long as there is room.
func (p *FairShare) Decide(r *sched.Round) {
	p.passTime(r.State)
	p.decide(r)
}

// halfLifeOf returns the number of the half-life in which an instant falls.
func (p *FairShare) halfLifeOf(t sched.Time) int64 {
	if p.halfLife == 0 {
		return 0
	}
	if p.since <= t && t < p.until {
		return p.epoch
	}
	n := int64(t) / int64(p.halfLife)
	if int64(t) < n*int64(p.halfLife) {
		n--
	}
	return n
}

// grown returns by how much a charge at an instant grows, from the beginning of its half-life on: 1 to 2.
func (p *FairShare) grown(t sched.Time) float64 {
	if p.halfLife == 0 {
		return 1
	}
	if t != p.at || p.by == 0 { // where a task ends another one starts
		into := int64(t) - p.halfLifeOf(t)*int64(p.halfLife)
		p.at, p.by = t, math.Exp2(float64(into)/float64(p.halfLife))
	}
	return p.by
}

// passTime begins a new half-life.
func (p *FairShare) passTime(s *sched.State) {
	now := p.halfLifeOf(s.Now())
	if now == p.epoch && p.began {
		return
	}
	p.since, p.until = 0, 0
	if p.halfLife > 0 {
		p.since = sched.Time(now * int64(p.halfLife))
		p.until = p.since.Add(p.halfLife)
	}
	if !p.began {
		p.began, p.epoch, p.oldest, p.caps = true, now, now, capacity(s.Room())
		return
	}
	for e := max(p.epoch+1, now-epochs+1); e <= now; e++ {
		for i := range p.used {
			u := &p.used[i]
			u.gpu[e&(epochs-1)], u.cpu[e&(epochs-1)] = 0, 0
		}
	}
	p.epoch = now
	p.rankAll(s)
}

func (p *FairShare) ledger(tenant sched.TenantID) *ledger {
	p.grow(tenant)
	for len(p.used) < len(p.ranks) {
		p.used = append(p.used, ledger{})
	}
	return &p.used[tenant]
}

// book adds to what the tenant of t has used, in the half-life given.
func (p *FairShare) book(s *sched.State, t sched.TaskID, epoch, ms int64) {
	if epoch <= p.epoch-epochs {
		return
	}
	d := s.Demand(t)
	p.oldest = min(p.oldest, epoch)
	u := p.ledger(s.Class(t).Tenant)
	u.gpu[epoch&(epochs-1)] += ms * d.GPUTotal()
	u.cpu[epoch&(epochs-1)] += ms * d.CPUTotal()
}

// take charges a running task its estimate.
func (p *FairShare) take(s *sched.State, t sched.TaskID) {
	if n := s.Known(); len(p.charges) < n {
		p.charges = slices.Grow(p.charges, max(len(s.Table().Tasks), n)-len(p.charges))[:n] // nothing has been written there yet
	}
	c := &p.charges[t]
	if c.grown > 0 {
		return
	}
	c.start = s.StartedAt(t)
	c.grown = p.grown(c.start)
	c.ms = int64(math.Round(min(float64(s.EstimatedEnd(t).Sub(c.start))/1e6, 1<<40) * c.grown))
	p.book(s, t, p.halfLifeOf(c.start), c.ms)
	p.rank(s, s.Class(t).Tenant)
}

// give charges what a task has held instead.
func (p *FairShare) give(s *sched.State, t sched.TaskID) {
	if int(t) >= len(p.charges) || p.charges[t].grown == 0 {
		return
	}
	c := &p.charges[t]
	p.book(s, t, p.halfLifeOf(c.start), -c.ms)
	from, grown, held := c.start, c.grown, s.Attained(t)
	c.grown = 0
	if s.Attempt(t) > 1 {
		from = s.Outcome(t).Start
		grown = p.grown(from)
		p.settle(s, t, from, grown, held-s.Now().Sub(c.start), -1) // of earlier attempts
	}
	p.settle(s, t, from, grown, held, 1)
	p.rank(s, s.Class(t).Tenant)
}

// settle charges what a task has held, from its first start on, at which a charge grows so much: the integral of 2^(t/HalfLife), as what is left to integrate from both ends.
func (p *FairShare) settle(s *sched.State, t sched.TaskID, from sched.Time, grown float64, held time.Duration, sign int64) {
	if held <= 0 {
		return
	}
	to := from.Add(held)
	if p.halfLife == 0 {
		p.book(s, t, 0, sign*int64(math.Round(float64(held)/1e6)))
		return
	}
	whole := float64(p.halfLife) / 1e6 / math.Ln2
	p.book(s, t, p.halfLifeOf(to), sign*int64(math.Round(whole*p.grown(to))))
	p.book(s, t, p.halfLifeOf(from), -sign*int64(math.Round(whole*grown)))
}

// rank keeps the order: uses are compared to 2^-16 ms of the whole cluster.
func (p *FairShare) rank(s *sched.State, tenant sched.TenantID) {
	u, from := p.ledger(tenant), max(p.oldest, p.epoch-epochs+1)
	gpu, cpu := 0.0, 0.0
	for e := from; e <= p.epoch; e++ {
		gpu = gpu/2 + float64(u.gpu[e&(epochs-1)])
		cpu = cpu/2 + float64(u.cpu[e&(epochs-1)])
	}
	use := 0.0
	if p.caps.gpu > 0 {
		use = max(use, gpu/float64(p.caps.gpu))
	}
	if p.caps.cpu > 0 {
		use = max(use, cpu/float64(p.caps.cpu))
	}
	p.setRank(tenant, int64(math.Round(min(use/p.weights.of(s, tenant)*(1<<16), 1<<62))))
}

func (p *FairShare) rankAll(s *sched.State) {
	for tenant := range p.used {
		p.rank(s, sched.TenantID(tenant))
	}
}

// resize takes in that the cluster has grown.
func (p *FairShare) resize(s *sched.State) {
	if now := capacity(s.Room()); now != p.caps {
		p.caps = now
		p.rankAll(s)
	}
}

// maxHalfLife bounds the numbers in a ledger: those of a whole cluster of a million cores, or as many GPUs, fit.
const maxHalfLife = 10_000 * time.Hour

var halfLifeParam = Param{
	Name: "half-life", Default: "168h", About: "time after which use counts half; 0s: it always counts in full",
	Form: func(v string) error {
		if d, err := time.ParseDuration(v); err != nil || d != 0 && (d < time.Second || d > maxHalfLife) {
			return errors.New("must be a duration from 1s to 10000h such as 168h, or 0s")
		}
		return nil
	}, Example: "24h",
}

var fairShareEntry = Entry{
	Name: "fair-share", Summary: "Weighted fair share with decay: the tenant that has used least for its weight next.", Placed: true, Starves: true,
	About: "Use is held GPUs (or cores, if that is more of the cluster) x time, halved each half-life; a running task counts with its estimate. Whoever has used least for " +
		"its weight may start its next task, first come, first served within the tenant; tasks run to their end. A large task may starve behind a stream of small ones; " +
		"with skip=false, where whoever is next holds up all others, none does.",
	Source: "Jackson, Snell & Clement, JSSPP 2001 (Maui), section 3.3; Slurm's priority/multifactor plugin, classic fair share (half-life of 7 days by default).",
	Params: []Param{halfLifeParam, weightsParam, skipParam},
	New: func(a Args) (sched.Policy, error) {
		w, err := parseWeights(a.Text(weightsParam.Name))
		return NewFairShare(a.Place, a.Bool("skip"), w, a.Duration(halfLifeParam.Name)), err
	},
}
