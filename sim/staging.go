package sim

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Staging says more of how a task's own input comes to its node before it works there; nil: as sched.Fetch says, every fetch with all of the
// bandwidth of its node's storage, from the start of the attempt on.
//
// The input of B bytes leaves the storage at the later of the start and, with Contention, the end of the fetches that the node's link has begun
// before (a link carries one at a time, in the order of their starts, as a copy engine does; n at once are all done when n that share it would be).
// It is there after latency + B/bandwidth of the storage, of which the link is busy for B/bandwidth. With Tiers it is then copied to the GPU in
// Tier.Latency + B/Tier.GBps. The work begins when it is on all nodes of the attempt.
//
// With Overlap a fetch goes beside the work of the predecessor, as on two streams: when a task starts whose successor waits for nothing but tasks
// that run or are done, the successor's input is fetched to its (first) node behind its own. If the successor starts there, it waits for what is
// missing; elsewhere it fetches anew. What has come to a node stays in its memory until the node is lost: a task that is stopped and starts
// there again only has it copied. So a chain of two on one node takes s1 + r1 + s2 + r2 without overlap, and s1 + max(r1, s2) + r2 with it.
type Staging struct {
	Contention bool   `yaml:"contention,omitempty"`
	Overlap    bool   `yaml:"overlap,omitempty"`
	Tiers      *Tiers `yaml:"tiers,omitempty"`
}

// Tiers are the ways from a node's memory to its GPU (S12): a block below PooledBelow goes through buffers that are kept, a larger one directly
// from pageable memory, and one that is hot (tasks of its kind have been staged on the node before) from page-locked memory. Defaults are those of
// PCIe 3.0 x16: page-locked copies reach 12 GB/s and pageable ones about half (M. Harris, "How to optimize data transfers in CUDA C/C++", NVIDIA
// 2012, has 5.3 against 2.2 GB/s on PCIe 2.0); they are measured live, not here. Tasks without GPUs copy nothing.
type Tiers struct {
	PooledBelow int64 `yaml:"pooled_below_bytes,omitempty"` // 0: 1 MB
	Pooled      Tier  `yaml:"pooled,omitempty"`             // zero: 10 us, 6 GB/s
	Direct      Tier  `yaml:"direct,omitempty"`             // zero: 100 us, 6 GB/s
	Pinned      Tier  `yaml:"pinned,omitempty"`             // zero: 10 us, 12 GB/s
}

// Tier is one way: the time that a copy takes to begin, and its speed in 10^9 bytes/s.
type Tier struct {
	Latency time.Duration `yaml:"latency,omitempty"`
	GBps    float64       `yaml:"gbps,omitempty"`
}

// takes returns how long a copy of so many bytes takes.
func (t Tier) takes(bytes int64) time.Duration {
	return t.Latency + time.Duration(math.Round(float64(bytes)/t.GBps))
}

func (t Tier) or(def Tier) Tier {
	if t == (Tier{}) {
		return def
	}
	return t
}

// Check reports what cannot be.
func (s *Staging) Check() error {
	if s == nil || s.Tiers == nil {
		return nil
	}
	if s.Tiers.PooledBelow < 0 {
		return errors.New("staging: pooled_below_bytes must not be negative")
	}
	for name, t := range map[string]Tier{"pooled": s.Tiers.Pooled, "direct": s.Tiers.Direct, "pinned": s.Tiers.Pinned} {
		if t != (Tier{}) && (!(t.GBps > 0) || t.Latency < 0) {
			return fmt.Errorf("staging: the tier %s needs gbps above 0, and a latency that is not negative", name)
		}
		if err := checkDelays(delay{"staging: the latency of the tier " + name, t.Latency}); err != nil {
			return err
		}
	}
	return nil
}

// Copy returns how long it takes to bring so many bytes from a node's memory to its GPU.
func (t *Tiers) Copy(bytes int64, hot bool) time.Duration {
	below := t.PooledBelow
	if below == 0 {
		below = 1e6
	}
	switch {
	case bytes <= 0:
		return 0
	case bytes < below:
		return t.Pooled.or(Tier{10 * time.Microsecond, 6}).takes(bytes)
	case hot:
		return t.Pinned.or(Tier{10 * time.Microsecond, 12}).takes(bytes)
	}
	return t.Direct.or(Tier{100 * time.Microsecond, 6}).takes(bytes)
}

// stager carries Staging out.
type stager struct {
	r     *run
	free  []sched.Time          // by node: when its link has brought what it has begun
	wait  []time.Duration       // by task: of the present attempt
	here  map[taskOn]fetched    // what has come to a node, or is on its way there
	ahead map[sched.TaskID]bool // fetched beside a predecessor's work
	hot   map[kindOn]bool       // kinds that were staged on a node
}

type taskOn struct {
	task sched.TaskID
	node sched.NodeID
}

// fetched is when an input is in the memory of a node; or, fetched ahead, on its GPU.
type fetched struct {
	at      sched.Time
	ahead   bool
	attempt int32      // the last that started there; 0: none
	used    sched.Time // when it works on it
}

type kindOn struct {
	kind sched.KindID
	node sched.NodeID
}

func newStager(r *run) *stager {
	return &stager{r: r, free: make([]sched.Time, len(r.Nodes)), wait: make([]time.Duration, len(r.tb.Tasks)), here: map[taskOn]fetched{}, ahead: map[sched.TaskID]bool{}, hot: map[kindOn]bool{}}
}

// fetch returns when the input of t is on node n, if it is asked for at a time.
func (s *stager) fetch(t sched.TaskID, n sched.NodeID, at sched.Time) sched.Time {
	data, ok := s.r.tb.Data[t]
	if !ok || data.Input <= 0 {
		return at
	}
	spec := s.r.k.Room().Spec(n)
	for len(s.free) <= int(n) {
		s.free = append(s.free, 0)
	}
	if takes := sched.Fetch(&data, spec); takes > 0 {
		begins := at
		if s.r.Staging.Contention {
			begins = max(at, s.free[n])
		}
		at = begins.Add(takes)
		s.free[n] = at.Add(-spec.StorageLatency)
	}
	return at
}

// copied returns when an input that is in a node's memory at a time is on its GPU.
func (s *stager) copied(t sched.TaskID, n sched.NodeID, at sched.Time) sched.Time {
	data := s.r.tb.Data[t]
	if tiers := s.r.Staging.Tiers; tiers != nil && data.Input > 0 && s.r.tb.DemandOf(t).Need.GPUs > 0 {
		key := kindOn{s.r.tb.ClassOf(t).Kind, n}
		at = at.Add(tiers.Copy(data.Input, s.hot[key]))
		s.hot[key] = true
	}
	return at
}

// arrives returns when the input of t is where an attempt that starts now on node n works on it. A gang on shares of GPUs names a node several times: its
// input comes there once.
func (s *stager) arrives(t sched.TaskID, attempt int32, n sched.NodeID, now sched.Time) sched.Time {
	key := taskOn{t, n}
	x, ok := s.here[key]
	if ok && x.attempt == attempt {
		return x.used
	}
	if !ok {
		x.at = s.fetch(t, n, now)
	}
	used := x.at
	if !x.ahead {
		used = s.copied(t, n, max(x.at, now))
	}
	s.here[key] = fetched{at: x.at, attempt: attempt, used: used}
	return used
}

// lost takes in that a node has lost what had come to it.
func (s *stager) lost(n sched.NodeID) {
	for key := range s.here {
		if key.node == n {
			delete(s.here, key)
		}
	}
}

// begin works out how long an attempt waits for its data, and fetches what its successors will want.
func (s *stager) begin(now sched.Time, c *sched.Command) {
	t, ready := c.Task, now
	for _, p := range c.On {
		ready = max(ready, s.arrives(t, c.Attempt, p.Node, now))
		if s.r.tb.EdgeBytes != nil {
			ready = max(ready, s.r.k.Sent(t, p.Node))
		}
	}
	s.wait[t] = ready.Sub(now)
	if !s.r.Staging.Overlap {
		return
	}
	behind := ready
	for u := range s.r.k.Succs(t) {
		if s.ahead[u] || !s.next(u) {
			continue
		}
		n := c.On[0].Node
		behind = s.copied(u, n, s.fetch(u, n, behind))
		s.here[taskOn{u, n}], s.ahead[u] = fetched{at: behind, ahead: true}, true
	}
}

// next reports whether u waits for nothing but tasks that run or are done.
func (s *stager) next(u sched.TaskID) bool {
	for p := range s.r.k.Preds(u) {
		if ph := s.r.k.Phase(p); ph != sched.Running && ph != sched.Stopping && ph != sched.Done {
			return false
		}
	}
	return true
}

// ParseStaging reads contention, overlap and tiers, separated by commas.
func ParseStaging(text string) (*Staging, error) {
	s := &Staging{}
	for _, word := range strings.Split(text, ",") {
		switch strings.TrimSpace(word) {
		case "contention":
			s.Contention = true
		case "overlap":
			s.Overlap = true
		case "tiers":
			s.Tiers = &Tiers{}
		default:
			return nil, fmt.Errorf("staging takes contention, overlap and tiers, separated by commas, not %q", word)
		}
	}
	return s, nil
}

// String is how ParseStaging reads it; tiers of other speeds are not told apart.
func (s *Staging) String() string {
	var words []string
	for _, w := range []struct {
		name string
		on   bool
	}{{"contention", s.Contention}, {"overlap", s.Overlap}, {"tiers", s.Tiers != nil}} {
		if w.on {
			words = append(words, w.name)
		}
	}
	if len(words) == 0 {
		return "plain"
	}
	return strings.Join(words, ",")
}
