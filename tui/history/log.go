package history

import (
	"math/bits"
	"sort"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// entry is one step in the life of a task, or something that happened to a node or to all. It can be applied and taken back.
type entry struct {
	at       sched.Time
	task     sched.TaskID // Nobody: a node's, or a word
	prev     int32        // the task's entry before; -1 if none
	arg      int32        // attempt; part: place; node: node; word: index; edge: the predecessor
	kind     entryKind
	from, to uint8 // phases; of a node, its states
	flags    uint8
}

type entryKind uint8

const (
	entSubmit entryKind = iota
	entReady
	entBlocked
	entStart
	entFinish
	entFail
	entKill
	entStop
	entStopped
	entLost
	entPart
	entHold
	entRelease
	entCancel
	entDrop
	entReject
	entBackoffOver
	entEdge
	entCheckpoint
	entUpdated
	entNode
	entWord
)

var entryNames = [...]string{
	"submitted", "ready", "blocked", "started", "finished", "failed", "killed", "stopping", "preempted", "node lost", "node lost", "held",
	"released", "cancelled", "dropped", "rejected", "backoff over", "dependency", "checkpoint", "estimate", "node", "",
}

// Flags of entries.
const (
	entJobOver = 1 << iota // with it all tasks of its job are done
	entEvicted             // stopped by the policy
)

// ended reports whether the entry is the end of attempt arg.
func (e *entry) ended() bool {
	switch e.kind {
	case entFinish, entFail, entKill, entStopped, entLost:
		return true
	}
	return false
}

// markEvery is how many entries lie between two tallies that are kept.
const markEvery = 256

func (r *Record) write(e entry) {
	if r.log.n > 0 && r.log.n%markEvery == 0 {
		r.marks = append(r.marks, r.tally)
	}
	r.log.add(e)
	r.tally.until(e.at)
	r.tally.apply(r, &e)
}

func (r *Record) step(now sched.Time, t sched.TaskID, what entryKind, to sched.Phase, arg int32) {
	r.stepJob(now, t, what, to, arg, false)
}

func (r *Record) stepJob(now sched.Time, t sched.TaskID, what entryKind, to sched.Phase, arg int32, jobOver bool) {
	k := &r.tasks[t]
	e := entry{at: now, task: t, prev: k.last, arg: arg, kind: what, from: uint8(k.phase), to: uint8(to)}
	if jobOver {
		e.flags |= entJobOver
	}
	if what == entStopped && k.flags&flagCancel == 0 {
		e.flags |= entEvicted
	}
	r.write(e)
	k.last = int32(r.log.n - 1)
	k.phase = to
}

// note writes what does not change the phase.
func (r *Record) note(now sched.Time, t sched.TaskID, what entryKind, arg int32) {
	r.step(now, t, what, r.tasks[t].phase, arg)
}

// held returns how long the task has held room by now, all attempts.
func (r *Record) held(k *task, now sched.Time) time.Duration {
	d := time.Duration(0)
	for i := k.att; i >= 0; {
		a := r.atts.at(i)
		if a.start < now {
			d += min(a.end, now).Sub(a.start)
		}
		i = a.prev
	}
	return d
}

// tally is what can be summed up over the entries: counts at an instant, and integrals over time up to it.
type tally struct {
	at                       sched.Time
	counts                   Counts
	use                      Use
	gone                     Use     // parts of gangs whose node is lost: in the tables they are held until the gang has stopped
	queued, running, blocked float64 // integrals, tasks x ns
	gpu, cpu                 float64 // integrals of what is held, 1/1000 x ns
	done, jobs               int64
	wait, jct, jobWait       float64 // sums, ns; wait over tasks that are done
	late, deadlines          int64
	preempted, restarts      int64
	first, lastEnd           sched.Time // first submit and last end, if some is submitted and something is over
	some, over               bool
}

func (y *tally) until(t sched.Time) {
	if t <= y.at {
		return
	}
	d := float64(t - y.at)
	y.queued += float64(y.counts.Queued()) * d
	y.running += float64(y.counts.Running()) * d
	y.blocked += float64(y.counts[sched.Blocked]) * d
	y.gpu += float64(y.use.GPU+y.gone.GPU) * d
	y.cpu += float64(y.use.CPU+y.gone.CPU) * d
	y.at = t
}

func (y *tally) apply(r *Record, e *entry) {
	if e.task == sched.Nobody {
		if e.kind == entNode {
			y.use.setNode(&r.nodes[e.arg].spec, NodeState(e.from), NodeState(e.to))
		}
		return
	}
	y.counts[e.from]--
	y.counts[e.to]++
	switch e.kind {
	case entSubmit:
		y.counts[e.from]++ // nobody counts those that are not submitted
		// A window may take in later what was submitted before.
		if at := min(e.at, r.tb.Tasks[e.task].Submit); !y.some || at < y.first {
			y.first, y.some = at, true
		}
	case entStart:
		r.useOf(&y.use, e.arg, 1)
	case entPart:
		r.usePlace(&y.use, e.arg, -1)
		r.usePlace(&y.gone, e.arg, 1)
	}
	if e.ended() {
		r.giveBack(y, e)
		switch {
		case e.flags&entEvicted != 0:
			y.preempted++
		case e.kind != entFinish && !sched.Phase(e.to).Over():
			y.restarts++
		}
	}
	if !sched.Phase(e.to).Over() {
		return
	}
	y.ended(e.at)
	if e.kind == entFinish {
		y.done++
		y.wait += float64(r.tasks[e.task].wait)
	}
	if d := r.tb.DeadlineOf(e.task); d != sched.Never {
		y.deadlines++
		if e.kind != entFinish || e.at > d {
			y.late++
		}
	}
	y.jobOver(r, e)
}

func (y *tally) ended(at sched.Time) {
	if !y.over || at > y.lastEnd {
		y.lastEnd, y.over = at, true
	}
}

func (y *tally) jobOver(r *Record, e *entry) {
	if e.flags&entJobOver == 0 {
		return
	}
	if j := &r.jobs[r.tb.Tasks[e.task].Job]; j.start != sched.Never {
		y.jobs++
		y.jct += float64(e.at - j.submit)
		y.jobWait += float64(j.start - j.submit)
	}
}

// setNode adds or takes away what a node offers. One that drains still counts.
func (u *Use) setNode(n *sched.NodeSpec, from, to NodeState) {
	s := int64(0)
	switch {
	case from == Down && to != Down:
		s = 1
	case from != Down && to == Down:
		s = -1
	default:
		return
	}
	u.Up += int32(s)
	if n.CPU < sched.Unlimited {
		u.CPUs += s * n.CPU
	}
	if n.Mem < sched.Unlimited {
		u.Mems += s * n.Mem
	}
	u.GPUs += s * int64(n.GPUs) * sched.Whole
	if n.VRAM < sched.Unlimited {
		u.VRAMs += s * int64(n.GPUs) * n.VRAM
	}
}

// useOf adds (or takes away) what all places of an attempt hold.
func (r *Record) useOf(u *Use, att int32, sign int64) {
	a := r.atts.at(att)
	for p := a.place; p < a.place+a.places; p++ {
		r.usePlace(u, p, sign)
	}
}

// giveBack takes away what the attempt held when it ended, and the places that were lost before.
func (r *Record) giveBack(y *tally, e *entry) {
	a := r.atts.at(e.arg)
	for p := a.place; p < a.place+a.places; p++ {
		if r.stoodUntil(p, e) {
			r.usePlace(&y.use, p, -1)
		} else {
			r.usePlace(&y.gone, p, -1)
		}
	}
}

// stoodUntil reports whether a place stood until the entry, the end of its attempt. A place that was lost before it has an entry of its own. Only a
// gang has several.
func (r *Record) stoodUntil(p int32, e *entry) bool {
	if r.atts.at(e.arg).places == 1 {
		return true
	}
	for i := e.prev; i >= 0; {
		q := r.log.at(i)
		if q.kind == entStart {
			break
		}
		if q.kind == entPart && q.arg == p {
			return false
		}
		i = q.prev
	}
	return true
}

func (r *Record) usePlace(u *Use, p int32, sign int64) {
	pl := r.places.at(p)
	need := &r.tb.DemandOf(r.atts.at(pl.att).task).Need
	n := &r.nodes[pl.node].spec
	s := sign * int64(pl.replicas)
	if n.CPU < sched.Unlimited {
		u.CPU += s * need.CPU
	}
	if n.Mem < sched.Unlimited {
		u.Mem += s * need.Mem
	}
	u.GPU += s * int64(need.GPUs) * int64(need.GPUMilli)
	if n.VRAM < sched.Unlimited {
		u.VRAM += s * int64(need.GPUs) * need.VRAM
	}
}

// position returns how many entries have happened by t.
func (r *Record) position(t sched.Time) int32 {
	return int32(sort.Search(r.log.n, func(i int) bool { return r.log.at(int32(i)).at > t }))
}

// tallyAt returns the tally of an instant: of all that has happened by then.
func (r *Record) tallyAt(t sched.Time) tally {
	if len(r.marks) == 0 || t < r.from {
		if len(r.marks) > 0 {
			y := r.marks[0]
			y.at = t
			return y
		}
		return r.tally
	}
	// The last mark before which all entries are at t or earlier.
	i := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].at > t })
	i = max(i-1, 0)
	y := r.marks[i]
	for p := i * markEvery; p < r.log.n; p++ {
		e := r.log.at(int32(p))
		if e.at > t {
			break
		}
		y.until(e.at)
		y.apply(r, e)
	}
	y.until(min(t, r.end))
	return y
}

func trailing(x uint64) int  { return bits.TrailingZeros64(x) }
func onesCount(x uint64) int { return bits.OnesCount64(x) }
