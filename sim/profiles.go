package sim

import (
	"errors"
	"math"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Profiles are samplers of the nodes, as the live mode has them: they look at every node at each multiple of Every after the first submission, and what they
// saw is known Delay later. What they see of the GPUs (the fact NodeProfile) is the share that is booked, as if all that is booked were used, with an error
// that is normal with the standard deviation Noise, within 0 to 1; the number of replicas that run stands for the active connections. A policy that scores nodes
// by their load (critical-path, +load-weighted, +two-choices, +seed) takes the higher of what is booked now and a fresh sample, so that with a
// delay it avoids nodes that were busy. nil: there are none.
//
// Nothing changes between two batches, so samples are worked out in the batches, and told in the first one in which they are known.
type Profiles struct {
	Every time.Duration `yaml:"every,omitempty"` // 0 is 1 s
	Delay time.Duration `yaml:"delay,omitempty"`
	Noise float64       `yaml:"noise,omitempty"` // standard deviation of the GPU load, 0..1
}

// maxOnTheWay bounds the samples on their way: Delay / Every.
const maxOnTheWay = 10_000

// Check reports what cannot be.
func (p *Profiles) Check() error {
	if p == nil {
		return nil
	}
	if err := checkDelays(delay{"profiles: every", p.Every}, delay{"profiles: delay", p.Delay}); err != nil {
		return err
	}
	switch {
	case !(p.Noise >= 0 && p.Noise <= 1):
		return errors.New("profiles: noise must be from 0 to 1")
	case p.Delay/p.every() > maxOnTheWay:
		return errors.New("profiles: the delay is more than 10000 samples long")
	}
	return nil
}

func (p *Profiles) every() time.Duration {
	if p.Every > 0 {
		return p.Every
	}
	return time.Second
}

// profiler works out what samplers saw.
type profiler struct {
	every, delay time.Duration
	noise        float64
	seed         uint64
	first        sched.Time
	seen         int64    // the last multiple of every that was sampled
	told         int64    // the last one that was told
	line         []sample // on their way, the oldest first
	spare        []sample
	last         []sched.Profile // by node: what was told
}

// sample is what there was at the multiples of every up to the last of them.
type sample struct {
	last  int64
	nodes []nodeSample
}

type nodeSample struct {
	load  float64
	tasks int32
	up    bool
}

func newProfiler(p *Profiles, seed uint64, first sched.Time) *profiler {
	return &profiler{every: p.every(), delay: p.Delay, noise: p.Noise, seed: seed, first: first, seen: -1, told: -1}
}

// tell adds the samples that are known by now and have not been told. The state must be that of before the batch.
func (p *profiler) tell(now sched.Time, s *sched.State, in []sched.Event) []sched.Event {
	if tick := int64(now.Sub(p.first) / p.every); tick > p.seen && now >= p.first {
		p.seen = tick
		p.look(tick, s)
	}
	known := int64(now.Sub(p.first)-p.delay) / int64(p.every)
	if now.Sub(p.first) < p.delay || known <= p.told || len(p.line) == 0 {
		return in
	}
	for len(p.line) > 1 && p.line[0].last < known {
		p.spare = append(p.spare, p.line[0])
		p.line = append(p.line[:0], p.line[1:]...)
	}
	p.told = known
	x := &p.line[0]
	for len(p.last) < len(x.nodes) {
		p.last = append(p.last, sched.Profile{GPULoad: -1})
	}
	at := p.first.Add(time.Duration(known) * p.every)
	var details []sched.Detail
	var profiles []sched.Profile // of their own: a fact must not change
	for n := range x.nodes {
		y := &x.nodes[n]
		if !y.up {
			continue
		}
		load := y.load
		if p.noise > 0 {
			load = min(max(load+p.noise*p.normal(uint64(n), uint64(known)), 0), 1)
		}
		load = math.Round(load*1000) / 1000
		was := &p.last[n]
		if load == 0 && was.GPULoad == 0 && was.Connections == y.tasks {
			continue // there is nothing new, and no load that could be too old to count
		}
		if details == nil {
			details, profiles = make([]sched.Detail, 0, len(x.nodes)), make([]sched.Profile, 0, len(x.nodes))
		}
		*was = sched.Profile{SampledAt: at, GPULoad: load, Latency: s.Room().Spec(sched.NodeID(n)).NetworkLatency, Connections: y.tasks}
		profiles = append(profiles, *was)
		details = append(details, sched.Detail{Profile: &profiles[len(profiles)-1]})
		in = append(in, sched.Event{Kind: sched.NodeProfile, Node: sched.NodeID(n), Task: sched.Nobody, More: &details[len(details)-1]})
	}
	return in
}

// look samples the nodes: nothing has changed since the batch before.
func (p *profiler) look(tick int64, s *sched.State) {
	var x sample
	if n := len(p.spare); n > 0 {
		x, p.spare = p.spare[n-1], p.spare[:n-1]
	}
	x.last, x.nodes = tick, x.nodes[:0]
	room := s.Room()
	for n := range sched.NodeID(room.Len()) {
		y := nodeSample{up: room.Up(n)}
		if g := room.Spec(n).GPUs; g > 0 {
			y.load = 1 - float64(max(room.FreeGPUMilli(n), 0))/float64(int64(g)*sched.Whole)
		}
		for _, h := range s.Holders(n) {
			if s.Phase(h.Task) != sched.Claiming {
				y.tasks += h.Replicas
			}
		}
		x.nodes = append(x.nodes, y)
	}
	p.line = append(p.line, x)
}

// normal draws from the standard normal distribution (Box & Muller 1958).
func (p *profiler) normal(node, tick uint64) float64 {
	a, b := uniform(hash(p.seed, noiseStream, node, tick, 0)), uniform(hash(p.seed, noiseStream, node, tick, 1))
	return math.Sqrt(-2*math.Log1p(-a)) * math.Cos(2*math.Pi*b)
}
