package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// The terms of the priority of CriticalPath.

// asks is what follows from a demand and the capacities of the cluster.
type asks struct {
	known         bool
	scarce        resource // of which it asks the largest share
	share         float64  // that share of the whole cluster, by dominantShare
	cpu, mem, gpu int64    // of the whole gang
	types         []int32  // indexes of the GPU types that it may use
}

// resource says which heat counts.
type resource uint8

const (
	noResource resource = iota
	theCPU
	theMemory
	theGPUs
)

// wants sums what ready tasks ask for.
type wants struct {
	cpu, mem int64
	gpu      []int64 // by GPU type of the cluster: of the demands that may use it
}

// dominantShare is the largest share of a resource of the whole cluster that the demand asks for (Ghodsi et al. 2011, section 4).
func dominantShare(room *sched.Room, d *sched.Demand) float64 {
	share := 0.0
	if c, _ := room.CPU(); c > 0 {
		share = max(share, float64(d.CPUTotal())/float64(c))
	}
	if c, _ := room.Mem(); c > 0 {
		share = max(share, float64(d.Need.Mem)*float64(d.Gang)/float64(c))
	}
	if d.Need.GPUs > 0 {
		total := int64(0)
		for i := range room.GPUTypes() {
			c, _ := room.GPUs(i)
			total += c
		}
		if total > 0 {
			share = max(share, float64(d.GPUTotal())/float64(total))
		}
	}
	return share
}

// asksOf returns what follows from a demand. A pointer is good until a demand is asked for the first time.
func (p *CriticalPath) asksOf(s *sched.State, d sched.DemandID) *asks {
	if int(d) < len(p.asks) && p.asks[d].known {
		return &p.asks[d]
	}
	for len(p.asks) <= int(d) {
		p.asks = append(p.asks, asks{})
	}
	p.asks[d] = newAsks(s, d)
	return &p.asks[d]
}

func newAsks(s *sched.State, d sched.DemandID) asks {
	room, dem := s.Room(), &s.Table().Demands[d]
	a := asks{known: true, share: dominantShare(room, dem), cpu: dem.CPUTotal(), mem: dem.Need.Mem * int64(dem.Gang)}
	share := -1.0
	consider := func(r resource, asks, capacity int64) {
		if capacity <= 0 || asks <= 0 {
			return
		}
		if sh := float64(asks) / float64(capacity); sh > share {
			share, a.scarce = sh, r
		}
	}
	c, _ := room.CPU()
	consider(theCPU, a.cpu, c)
	c, _ = room.Mem()
	consider(theMemory, a.mem, c)
	if dem.Need.GPUs > 0 {
		a.gpu = dem.GPUTotal()
		capacity := int64(0)
		for i, typ := range room.GPUTypes() {
			if dem.TakesGPU(typ) {
				c, _ := room.GPUs(i)
				a.types, capacity = append(a.types, int32(i)), capacity+c
			}
		}
		consider(theGPUs, a.gpu, capacity)
	}
	return a
}

// key returns the part of the priority that does not depend on the moment, as a key: smallest first.
func (p *CriticalPath) key(s *sched.State, t sched.TaskID) int64 {
	cl := s.Class(t)
	rank := p.rankTerm(s, t)
	latency := cl.Criticality
	if dl := s.Deadline(t); dl != sched.Never {
		left := dl.Sub(s.FirstReady(t))
		if longest := p.rankOf(s, t); int64(left) <= longest {
			latency = 1
		} else {
			latency = max(latency, float64(longest)/float64(left))
		}
	}
	share := 1.0
	if p.meanA > 0 {
		share = 1 / (1 + p.asksOf(s, cl.Demand).share*s.Estimate(t).Seconds()/p.meanA)
	}
	score := p.W.Rank*rank + p.W.Latency*min(latency, 1) + p.W.Share*share
	if s.Linked() && isLast(s, t) {
		score += p.W.Preds
	}
	key := -int64(math.Round(score * unit))
	if p.W.Age > 0 {
		// Everybody ages at the same pace, so the moment of readiness says it all and no key changes with time.
		key += int64(math.Round(p.W.Age * unit * (float64(s.FirstReady(t)) / float64(p.patience()))))
	}
	return key
}

// rankTerm returns the term of the upward rank.
func (p *CriticalPath) rankTerm(s *sched.State, t sched.TaskID) float64 {
	rank := 1.0
	if j := p.path(s, t); j != nil {
		rank = min(float64(p.rankOf(s, t))/float64(max(j.keyed, 1)), 1)
		rank *= rank
		rank *= rank
		rank *= rank
	}
	return rank
}

// isLast reports whether some successor waits for t alone.
func isLast(s *sched.State, t sched.TaskID) bool {
	given, added := s.SuccLists(t)
	waits := func(u sched.TaskID) bool { return s.WaitsFor(u) == 1 }
	return slices.ContainsFunc(given, waits) || slices.ContainsFunc(added, waits)
}

// ask keeps what ready tasks ask for together.
func (p *CriticalPath) ask(s *sched.State, t sched.TaskID, sign int64) {
	a := p.asksOf(s, s.DemandID(t))
	p.backlog += sign * int64(math.Round(min(a.share*s.Estimate(t).Seconds(), 1e6)*1e9))
	p.wants.cpu += sign * a.cpu
	p.wants.mem += sign * a.mem
	if p.match.on {
		p.match.ask(s, t, sign)
	}
	if a.gpu == 0 {
		return
	}
	for len(p.wants.gpu) < len(s.Room().GPUTypes()) {
		p.wants.gpu = append(p.wants.gpu, 0)
	}
	for _, i := range a.types {
		p.wants.gpu[i] += sign * a.gpu
	}
}

// heat returns the heat of the resource that the demand asks most of, 0..1.
func (p *CriticalPath) heat(s *sched.State, d sched.DemandID) float64 {
	room, a := s.Room(), p.asksOf(s, d)
	var want, capacity, used int64
	switch a.scarce {
	case theCPU:
		want = p.wants.cpu
		capacity, used = room.CPU()
	case theMemory:
		want = p.wants.mem
		capacity, used = room.Mem()
	case theGPUs:
		for _, i := range a.types {
			c, u := room.GPUs(int(i))
			want, capacity, used = max(want, p.wants.gpu[i]), capacity+c, used+u
		}
	default:
		return 0
	}
	free := max(capacity-used, 0)
	if want+free == 0 {
		return 0
	}
	return float64(want) / float64(want+free)
}
