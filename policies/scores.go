package policies

import (
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// freshProfile is the age from which on a sampled load no longer counts.
const freshProfile = 10 * time.Second

// NodeScore is the node score of S7, 0..1: 0.5 x free memory ratio + 0.4 x (1 - GPU load) + 0.1 x 1/(1 + storage latency in ms). A
// node that states no memory has all of it free; on a node without GPUs the load is that of its CPU.
func NodeScore(s *sched.State, room *sched.Room, n sched.NodeID) float64 {
	return float64(nodeScore(s, room, n)) / 1e9
}

func nodeScore(s *sched.State, room *sched.Room, n sched.NodeID) int64 {
	c := capacitiesOf(room.Spec(n))
	sampled, _ := sampledLoad(s, n)
	return c.score(room, n, sampled)
}

// sampledLoad returns the GPU load of a node by its last profile and until when that is fresh; 0 and Never where there is none that is.
func sampledLoad(s *sched.State, n sched.NodeID) (load float64, until sched.Time) {
	if p, ok := s.ProfileOf(n); ok && s.ProfileAge(n) < freshProfile {
		return p.GPULoad, p.SampledAt.Add(freshProfile)
	}
	return 0, sched.Never
}

// capacities is what the score of a node takes from its description.
type capacities struct {
	mem     float64 // bytes; 0 = not stated
	gpu     float64 // 1/1000; 0 = none
	cpu     float64 // milli-CPU of a node without GPUs; 0 = not stated
	storage float64 // the term of the storage latency
}

func capacitiesOf(spec *sched.NodeSpec) capacities {
	var c capacities
	if spec.Mem < sched.Unlimited {
		c.mem = float64(spec.Mem)
	}
	switch {
	case spec.GPUs > 0:
		c.gpu = float64(int64(spec.GPUs) * sched.Whole)
	case spec.CPU < sched.Unlimited:
		c.cpu = float64(spec.CPU)
	}
	c.storage = 0.1 / (1 + float64(spec.StorageLatency)/float64(time.Millisecond))
	return c
}

// score returns the node's score in billionths; sampled is what sampledLoad says.
func (c *capacities) score(room *sched.Room, n sched.NodeID, sampled float64) int64 {
	mem, load := 1.0, 0.0
	if c.mem > 0 {
		mem = float64(max(room.FreeMem(n), 0)) / c.mem
	}
	switch {
	case c.gpu > 0:
		load = 1 - float64(room.FreeGPUMilli(n))/c.gpu
	case c.cpu > 0:
		load = 1 - float64(max(room.FreeCPU(n), 0))/c.cpu
	}
	load = max(load, sampled)
	return int64(math.Round((0.5*mem + 0.4*(1-load) + c.storage) * 1e9))
}

// scores keeps every node's score, worked out again when the node has changed. The facts say which have: of a running gang the nodes are
// remembered, and after a fact that says too little all nodes count as changed. The zero value knows no node.
type scores struct {
	nodes    []capacities
	of       []int64 // by node; Unrated where the node has changed
	rate     func(sched.NodeID) int64
	rated    *sched.State
	known    bool       // false: all have changed
	profiled bool       // some node has had a profile
	expires  sched.Time // when the first fresh profile that was taken in is fresh no longer
	gangs    gangs

	tops    bool           // keep top; refresh leaves none Unrated then
	top     []int64        // the largest score of each 64 nodes
	stale   []bool         // by node: in changed
	changed []sched.NodeID // since the last refresh
}

func (c *scores) observe(s *sched.State, e *sched.Event) {
	switch e.Kind {
	case sched.JobArrived, sched.EdgeAdded, sched.TaskReady, sched.TaskDropped, sched.CheckpointDone, sched.Updated, sched.Wake:
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		c.ended(s, e.Task)
	case sched.Started: // its room was booked before; a policy that is told the present hears of it here
		c.started(e.Task, s.Placements(e.Task))
	case sched.NodeProfile:
		c.profiled = true
		c.change(e.Node)
	default:
		c.known = false
	}
}

func (c *scores) change(n sched.NodeID) {
	switch {
	case !c.known || int(n) >= len(c.of):
	case !c.tops:
		c.of[n] = sched.Unrated
	case !c.stale[n]:
		c.stale[n] = true
		c.changed = append(c.changed, n)
	}
}

// started takes in that t holds room on the nodes of its placements.
func (c *scores) started(t sched.TaskID, on []sched.Placement) {
	for _, p := range on {
		c.change(p.Node)
	}
	c.gangs.note(t, on)
}

func (c *scores) ended(s *sched.State, t sched.TaskID) {
	if nodes := c.gangs.take(t); nodes != nil {
		for _, n := range nodes {
			c.change(n)
		}
		return
	}
	if n := s.LastNode(t); n != sched.NoNode {
		c.change(n)
	}
}

// refresh takes in what has changed.
func (c *scores) refresh(s *sched.State) {
	if !c.known || s.Now() >= c.expires || len(c.of) < s.Room().Len() {
		c.all(s)
	}
	for _, n := range c.changed {
		old, now := c.of[n], c.score(s, n)
		c.of[n], c.stale[n] = now, false
		switch w := n >> 6; {
		case now >= c.top[w]:
			c.top[w] = now
		case old == c.top[w]:
			c.findTop(int(w))
		}
	}
	c.changed = c.changed[:0]
}

func (c *scores) all(s *sched.State) {
	n := s.Room().Len()
	for i := range n {
		_, ok := s.ProfileOf(sched.NodeID(i))
		c.profiled = c.profiled || ok
	}
	for len(c.of) < n {
		c.nodes = append(c.nodes, capacitiesOf(s.Room().Spec(sched.NodeID(len(c.nodes)))))
		c.of, c.stale = append(c.of, 0), append(c.stale, false)
	}
	c.changed, c.known, c.expires = c.changed[:0], true, sched.Never
	if !c.tops {
		for i := range c.of {
			c.of[i] = sched.Unrated
		}
		return
	}
	clear(c.stale)
	for i := range c.of {
		c.of[i] = c.score(s, sched.NodeID(i))
	}
	for len(c.top) < (n+63)/64 {
		c.top = append(c.top, 0)
	}
	for w := range c.top {
		c.findTop(w)
	}
}

// value returns the score of a node, after refresh.
func (c *scores) value(s *sched.State, n sched.NodeID) int64 {
	if c.of[n] == sched.Unrated {
		c.of[n] = c.score(s, n)
	}
	return c.of[n]
}

// rater returns what Pick asks for the score of a node that has changed, the same function as long as the state is the same one.
func (c *scores) rater(s *sched.State) func(sched.NodeID) int64 {
	if c.rate == nil || c.rated != s {
		c.rate, c.rated = func(n sched.NodeID) int64 {
			now := c.score(s, n)
			c.of[n] = now
			return now
		}, s
	}
	return c.rate
}

func (c *scores) score(s *sched.State, n sched.NodeID) int64 {
	sampled := 0.0
	if c.profiled {
		var until sched.Time
		sampled, until = sampledLoad(s, n)
		c.expires = min(c.expires, until)
	}
	return c.nodes[n].score(s.Room(), n, sampled)
}

// findTop finds the largest score of 64 nodes.
func (c *scores) findTop(w int) {
	c.top[w] = slices.Max(c.of[w<<6 : min((w+1)<<6, len(c.of))])
}
