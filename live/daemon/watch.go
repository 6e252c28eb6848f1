package daemon

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/live/alert"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/live/node"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

// The watch: once a second the machine is sampled, the attempts apart from the rest. What others use becomes a fact, an attempt that holds more
// VRAM than it was granted is warned or stopped, on a GPU that others hold nothing more is placed, and one that is lost closes the node to
// new starts: what else it takes along nobody knows. An operator may undrain it.

// watchEvery is how often the machine is sampled, and watchShare how much of the time the sampling itself may take.
const (
	watchEvery = time.Second
	watchShare = 50
)

// lostTimes is in how many samples on end a GPU must be lost: a driver that is loaded anew says so for a moment.
const lostTimes = 3

// watch is what the sampling keeps. Its fields but seen are its goroutine's.
type watch struct {
	change  node.Change
	holders map[int32]attemptKey // processes of attempts
	lost    []int                // samples on end in which a GPU was lost
	foreign []int32              // processes of others on a GPU, as told last
	held    sched.Devices        // GPUs that others held in the last sample
	stopped map[attemptKey]bool  // by the watch
	cpu     time.Duration        // of all attempts so far
	of      sched.NodeID         // the node that change is about

	mu      sync.Mutex
	seen    *Seen
	overrun map[attemptKey]string // what an attempt holds beyond its grant
	broken  string                // why the node is closed to new starts
}

// Seen is what the last sample saw of the machine.
type Seen struct {
	ID      string          `json:"id"`
	GPUs    string          `json:"gpus"` // how they are driven, in words
	Reading node.Reading    `json:"reading"`
	Profile cluster.Profile `json:"-"`
	Labels  []string        `json:"labels,omitempty"`
	Taints  []string        `json:"taints,omitempty"`
	Drained string          `json:"drained,omitempty"` // why nothing is started there
	Later   []string        `json:"later,omitempty"`   // what it offers otherwise once nothing runs
}

// Seen returns what was seen of the machine last; nil while nothing was.
func (d *Daemon) Seen() *Seen {
	d.watch.mu.Lock()
	seen := d.watch.seen
	d.watch.mu.Unlock()
	if seen == nil {
		return nil
	}
	now := *seen
	d.mu.RLock()
	now.Drained = d.drained() // who has just drained it looks whether it is
	d.mu.RUnlock()
	return &now
}

// watchLoop samples until the context ends.
func (d *Daemon) watchLoop(ctx context.Context) {
	d.watch.holders, d.watch.stopped = map[int32]attemptKey{}, map[attemptKey]bool{}
	wait := time.Duration(0)
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		began := time.Now()
		d.look()
		wait = max(cmp.Or(d.cfg.watchEvery, watchEvery), watchShare*time.Since(began))
	}
}

// look takes one sample and acts on it.
func (d *Daemon) look() {
	w := &d.watch
	clear(w.holders)
	own := node.Own{CPUTime: ownCPU(), PID: func(pid int32) bool { _, ok := w.holders[pid]; return ok }}
	live := map[attemptKey]bool{}
	d.runner.Uses(func(u local.Use) {
		k := attemptKey{u.Task, u.Attempt}
		live[k] = true
		own.CPUTime += u.CPUTime
		own.Mem += u.Mem
		for _, pid := range u.PIDs {
			w.holders[int32(pid)] = k
		}
		if u.Limit > 0 && u.Mem > u.Limit && !d.memLimited() {
			d.stopByWatch(k, local.OutOfMemory(u.Limit), 0)
		}
	})
	for k := range w.stopped {
		if !live[k] {
			delete(w.stopped, k)
		}
	}
	// The time of an attempt that has just ended moves from its group to what this process has waited for, not in one moment.
	own.CPUTime = max(own.CPUTime, w.cpu)
	w.cpu = own.CPUTime
	if d.cfg.Sampler == nil {
		return
	}
	r := d.cfg.Sampler.Sample(own)
	d.watchVRAM(r, live)
	d.watchGPUs(r)
	d.show(r)
	if d.cfg.Declared {
		return
	}
	p := r.Fact(d.loop.Zero())
	// In two samples on end: an attempt that has just ended, or forked, is others' for a moment.
	held := r.Held()
	p.OtherGPUs, w.held = held&w.held, held
	if d.cfg.IgnoreOthers {
		p.OtherCPU, p.OtherMem, p.OtherGPUs = 0, 0, 0
	}
	d.mu.RLock()
	n := d.here()
	spec := d.kernel.Room().Spec(n)
	cpu, mem := spec.CPU, spec.Mem
	d.gone(&p)
	d.mu.RUnlock()
	if n != w.of { // nothing was told of what the machine has become
		w.change, w.of = node.Change{}, n
	}
	if w.change.Tell(p, cpu, mem) {
		d.loop.Report(sched.Event{Kind: sched.NodeProfile, Task: sched.Nobody, Node: n, More: &sched.Detail{Profile: &p}})
	}
}

// ownCPU returns the CPU time of this process and of all that it has waited for: the shims, and through them the attempts that are over.
func ownCPU() time.Duration {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}

// show keeps a copy of the reading for those who ask.
func (d *Daemon) show(r *node.Reading) {
	s := &Seen{ID: d.cfg.Sampler.ID(), GPUs: d.cfg.GPUsSay, Reading: *r, Profile: r.Profile(d.cfg.Sampler.ID(), d.loop.Zero())}
	s.Reading.GPUs = append([]device.Sample(nil), r.GPUs...)
	for i := range s.Reading.GPUs {
		s.Reading.GPUs[i].Processes = append([]device.Process(nil), r.GPUs[i].Processes...)
	}
	s.Reading.Others = append([]node.Occupancy(nil), r.Others...)
	d.mu.RLock()
	spec, unfit := *d.kernel.Room().Spec(d.here()), d.unfit
	d.mu.RUnlock()
	if unfit {
		s.Later = otherwise(&d.cfg.Node, &spec)
		if gpus := gpusText(&spec); gpus != gpusText(&d.cfg.Node) {
			s.GPUs = gpus
		}
	}
	if d.cfg.Declared || unfit { // what is in use is the machine's, what there is was declared, or is not in force yet
		is := cluster.ProfileOf(&spec)
		is.CPUUsage, is.Load, is.SampledAtSeconds = s.Profile.CPUUsage, s.Profile.Load, s.Profile.SampledAtSeconds
		if is.Memory != nil && s.Profile.Memory != nil {
			is.Memory.Used = s.Profile.Memory.Used
		}
		s.Profile = is
	}
	is := cluster.ProfileOf(&spec)
	s.Profile.Labels, s.Profile.Taints = is.Labels, is.Taints
	s.Labels, s.Taints = marksOf(&spec)
	d.watch.mu.Lock()
	d.watch.seen = s
	d.watch.mu.Unlock()
}

// marksOf returns a machine's labels and taints in words.
func marksOf(n *sched.NodeSpec) (labels, taints []string) {
	for _, l := range n.Labels {
		labels = append(labels, l.Key+"="+l.Value)
	}
	for _, t := range n.Taints {
		taints = append(taints, taintText(t))
	}
	return labels, taints
}

// gpusText returns a machine's GPUs in words.
func gpusText(n *sched.NodeSpec) string {
	if n.GPUs == 0 {
		return "no GPUs"
	}
	return strings.TrimSuffix(fmt.Sprintf("%d %s", n.GPUs, n.GPUType), " ")
}

// otherwise says in words what a machine will offer otherwise than it does.
func otherwise(will, is *sched.NodeSpec) []string {
	var out []string
	if will.CPU != is.CPU {
		text := "no bound of cores"
		if will.CPU != sched.Unlimited {
			text = fmt.Sprintf("%g cores", float64(will.CPU)/1000)
		}
		out = append(out, text)
	}
	if will.Mem != is.Mem {
		text := "no bound of memory"
		if will.Mem != sched.Unlimited {
			text = fmt.Sprintf("%.1f GiB of memory", float64(will.Mem)/gib)
		}
		out = append(out, text)
	}
	if gpus := gpusText(will); gpus != gpusText(is) {
		out = append(out, gpus)
	} else if will.VRAM != is.VRAM && will.VRAM != sched.Unlimited {
		out = append(out, fmt.Sprintf("%.3g GiB on each GPU", float64(will.VRAM)/gib))
	}
	marks := func(what string, will, is []string) {
		for _, m := range will {
			if !slices.Contains(is, m) {
				out = append(out, what+" "+m)
			}
		}
		for _, m := range is {
			if !slices.Contains(will, m) {
				out = append(out, "no "+what+" "+m)
			}
		}
	}
	labels, taints := marksOf(will)
	was, tainted := marksOf(is)
	marks("label", labels, was)
	marks("taint", taints, tainted)
	if out == nil {
		out = []string{"something that is not shown"}
	}
	return out
}

// stopByWatch stops an attempt for what it does.
func (d *Daemon) stopByWatch(k attemptKey, why string, grace time.Duration) {
	if d.watch.stopped[k] {
		return
	}
	d.watch.stopped[k] = true
	d.log.Warn("an attempt is stopped", "task", k.task, "attempt", k.n, "why", why)
	d.runner.Stop(k.task, k.n, local.Stop{Reason: why, Grace: grace})
}

// reasonVRAM begins the reason of an attempt that was stopped since it held more VRAM than it was granted.
const reasonVRAM = "gpu memory: "

// watchVRAM compares what each attempt holds of each GPU with its grant.
func (d *Daemon) watchVRAM(r *node.Reading, live map[attemptKey]bool) {
	type at struct {
		k   attemptKey
		gpu int32
	}
	var held map[at]int64
	for i := range r.GPUs {
		for _, p := range r.GPUs[i].Processes {
			if k, ok := d.watch.holders[p.PID]; ok && p.VRAM != device.Unknown {
				if held == nil {
					held = map[at]int64{}
				}
				held[at{k, r.GPUs[i].Index}] += p.VRAM
			}
		}
	}
	over := map[attemptKey]string{}
	for i := range r.GPUs { // GPU by GPU, so that the lowest is told
		for k := range live {
			a := at{k, r.GPUs[i].Index}
			if _, told := over[k]; told || held[a] == 0 {
				continue
			}
			if granted, limited := d.granted(k, a.gpu); limited && held[a] > granted {
				over[k] = fmt.Sprintf("%.3g GiB of GPU %d are held, %.3g were granted", float64(held[a])/gib, a.gpu, float64(granted)/gib)
			}
		}
	}
	d.watch.mu.Lock()
	before := d.watch.overrun
	d.watch.overrun = over
	d.watch.mu.Unlock()
	for k, text := range over {
		if d.cfg.KillVRAM {
			d.stopByWatch(k, reasonVRAM+text, d.grace(k.task))
		} else if _, told := before[k]; !told {
			d.log.Warn("an attempt holds more GPU memory than it was granted", "task", k.task, "attempt", k.n, "what", text)
		}
	}
}

// granted returns the VRAM that an attempt may hold of a GPU: none of one that is not in its placement; limited is false where it asked for
// no amount.
func (d *Daemon) granted(k attemptKey, gpu int32) (bytes int64, limited bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.kernel.Attempt(k.task) != k.n {
		return 0, false
	}
	need := &d.kernel.Demand(k.task).Need
	for _, p := range d.kernel.Placements(k.task) {
		if uint64(p.GPUs)>>gpu&1 == 0 {
			continue
		}
		if need.VRAM == 0 {
			return 0, false
		}
		// Replicas with whole GPUs have each their own; those with shares are all on the one.
		n := int64(1)
		if need.GPUMilli < sched.Whole {
			n = int64(p.Replicas) * int64(need.GPUs) / int64(max(bits.OnesCount64(uint64(p.GPUs)), 1))
		}
		return need.VRAM * max(n, 1), true
	}
	return 0, true
}

// watchGPUs closes the node where a GPU is lost, and tells of GPUs that others hold.
func (d *Daemon) watchGPUs(r *node.Reading) {
	w := &d.watch
	for len(w.lost) < len(r.GPUs) {
		w.lost, w.foreign = append(w.lost, 0), append(w.foreign, 0)
	}
	var lost []string
	fresh := false
	for i := range r.GPUs {
		g := &r.GPUs[i]
		if g.State != device.Lost {
			w.lost[i] = 0
		} else if w.lost[i]++; w.lost[i] >= lostTimes {
			lost = append(lost, fmt.Sprintf("GPU %d is lost: %s", g.Index, g.Why))
			fresh = fresh || w.lost[i] == lostTimes
		}
		if n := r.Others[i].Processes; n != w.foreign[i] {
			if n > w.foreign[i] {
				d.log.Warn("a GPU is used by processes that are none of ours", "gpu", g.Index, "processes", n, "gib", float64(r.Others[i].VRAM)/gib)
			}
			w.foreign[i] = n
		}
	}
	text := strings.Join(lost, "; ")
	w.mu.Lock()
	w.broken = text
	w.mu.Unlock()
	if !fresh {
		return
	}
	d.mu.RLock()
	n := d.here()
	up := d.kernel.Room().Up(n)
	d.mu.RUnlock()
	if up {
		d.log.Error("the machine is drained: what runs runs on, and nothing is started until it is undrained", "why", text)
		d.loop.Report(sched.Event{Kind: sched.NodeDrain, Task: sched.Nobody, Node: n})
		d.alerts.Send(alert.Alert{Event: alert.NodeDown, Message: "the machine is closed to new starts until it is undrained: " + text, Reason: text})
	}
}

// overruns says what an attempt holds beyond its grant; "" if nothing.
func (d *Daemon) overruns(k attemptKey) string {
	d.watch.mu.Lock()
	defer d.watch.mu.Unlock()
	return d.watch.overrun[k]
}

// isBroken says why the watch has drained the node; "" if it has not.
func (d *Daemon) isBroken() string {
	d.watch.mu.Lock()
	defer d.watch.mu.Unlock()
	return d.watch.broken
}
