// Package check tells whether a schedule keeps its promises, from the case and from what was seen from outside alone: the facts and
// orders that passed between a kernel and its driver (Check), or a trace and the tasks CSV of a run (CheckCSV). It shares no code with
// the kernel or the simulator, reads nothing of their books but the outcomes that it holds against what it saw, and is written
// to be obvious and not fast: in development both drivers agreed on a wrong schedule, because they share the kernel, and
// only a checker that adds up service time noticed.
package check

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Case is one workload on one cluster with a script of what goes wrong, and the truth that policies do not see.
type Case struct {
	Table          *sched.Table
	Run            []time.Duration                 // true run time per task on a node of reference speed
	RunOn          map[sched.TaskID][]sched.CostOn // true run time by node name or else GPU type
	Nodes          []sched.NodeSpec                // by NodeID
	Faults         []Fault                         // in any order
	Restart        bool                            // an evicted task loses its work; otherwise it resumes
	KillAtEstimate bool                            // a run longer than its estimate is cut there
	Overhead       time.Duration                   // held and wasted at each start after a preemption
	Late           time.Duration                   // ends may be told, and room given back, up to so much later (a decision window)
	Horizon        time.Duration                   // the run was stopped so long after the first submit (only CheckCSV knows it); 0: it ran to its end
	Links          *Links                          // how input comes to nodes; nil: all fetches have all of the bandwidth, from their start on
	Saving         *Saving                         // how running tasks save their work; nil: they do not

	waits map[spanStart]time.Duration // by Links
}

// Fault is one thing that goes wrong: with Attempt 0 the loss (or, Up, the return) of a node at an instant; otherwise that attempt
// of the task fails once it has held its resources for After, if it has not ended by then. A failed attempt's work is lost.
type Fault struct {
	At   sched.Time
	Node sched.NodeID
	Up   bool

	Task    sched.TaskID
	Attempt int32
	After   time.Duration
}

// How an attempt ended.
type How uint8

// The ends of attempts.
const (
	Unsaid   How = iota // not known (from a CSV)
	Open                // it has not ended
	Complete            // Finished
	Broken              // FailedAttempt
	Cut                 // Killed
	Halted              // Stopped
	Lost                // a node of it was lost
)

var howNames = [...]string{"ended", "running", "finished", "failed", "killed", "stopped", "lost with its node"}

func (h How) String() string { return howNames[h] }

// Span is one attempt of a task: from the order to start to its end.
type Span struct {
	Task    sched.TaskID
	Attempt int32
	Start   sched.Time
	End     sched.Time // Never while How is Open
	On      []sched.Placement
	Gone    []sched.Time // when the node of On[i] was lost, Never if it was not; nil if none was
	How     How

	asked      sched.Time // when it was last ordered to stop
	batch      int        // in which it was started, by the recorder's count
	begin, end int64      // the recorder's order of facts and orders, 0 if unknown
	gone       []int64    // likewise
}

// Until returns when placement i was given back: at the loss of its node, or at the end of the attempt.
func (s *Span) Until(i int) sched.Time {
	if s.Gone != nil && s.Gone[i] < s.End {
		return s.Gone[i]
	}
	return s.End
}

func (s *Span) doneOrder(i int) int64 {
	if s.gone != nil && s.gone[i] != 0 {
		return s.gone[i]
	}
	return s.end
}

// plus and times saturate far above Unlimited, so that absurd demands cannot wrap around into legal ones.
func plus(a, b int64) int64 {
	s := a + b
	switch {
	case a > 0 && b > 0 && s < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && s >= 0:
		return math.MinInt64
	}
	return s
}

func times(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	if p := a * b; p/b == a && p >= 0 == (a > 0 == (b > 0)) {
		return p
	}
	return math.MaxInt64 / 2
}

// Fits reports whether task t could start if the cluster were empty and whole, by putting one replica after the other on each node
// until the next one overfills it. Replicas are alike and nodes independent, so that this is exact.
func Fits(c Case, t sched.TaskID) bool { return FitsDemand(c.Nodes, c.Table.DemandOf(t)) }

// FitsDemand is Fits for a demand.
func FitsDemand(nodes []sched.NodeSpec, d *sched.Demand) bool {
	var room int64
	for n := range nodes {
		room += replicasOn(d, &nodes[n])
		if room >= int64(d.Gang) {
			return true
		}
	}
	return false
}

// replicasOn counts how many replicas an empty node takes, up to the gang.
func replicasOn(d *sched.Demand, node *sched.NodeSpec) int64 {
	if forbidden(d, node) != "" {
		return 0
	}
	use := usage{milli: make([]int64, 64), vram: make([]int64, 64)}
	var count int64
	for count < int64(d.Gang) {
		p := sched.Placement{Replicas: 1}
		if d.Need.GPUs > 0 && node.GPUs <= sched.MaxDevices {
			left := d.Need.GPUs
			for i := 0; i < int(node.GPUs) && left > 0; i++ {
				roomy := node.VRAM >= sched.Unlimited || plus(use.vram[i], d.Need.VRAM) <= node.VRAM
				if use.milli[i]+int64(d.Need.GPUMilli) <= sched.Whole && roomy {
					p.GPUs |= 1 << i
					left--
				}
			}
		}
		if deviceFault(d, node, p) != "" {
			return count
		}
		use.add(d, node, p, +1)
		if use.over(node) != "" {
			return count
		}
		count++
	}
	return count
}

// GoString prints the case for people, so that a failing property shows what it failed on.
func (c Case) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "restart=%v kill=%v overhead=%s\n", c.Restart, c.KillAtEstimate, c.Overhead)
	for i, n := range c.Nodes {
		fmt.Fprintf(&b, "  node %d %s: cpu=%s mem=%s gpus=%dx%q vram=%s speed=%d", i, n.Name, amount(n.CPU), amount(n.Mem), n.GPUs, n.GPUType, amount(n.VRAM), n.SpeedMilli)
		if len(n.Labels)+len(n.Taints) > 0 {
			fmt.Fprintf(&b, " labels=%v taints=%v", n.Labels, n.Taints)
		}
		b.WriteByte('\n')
	}
	for t := range c.Table.Tasks {
		id := sched.TaskID(t)
		task, cl, d := c.Table.Tasks[t], c.Table.ClassOf(id), c.Table.DemandOf(id)
		fmt.Fprintf(&b, "  task %d job %d submit=%s run=%s est=%s need=%+v gang=%d prio=%d", t, task.Job, stamp(task.Submit), c.Run[t], c.Table.Estimates[t], d.Need, d.Gang, cl.Priority)
		if len(d.GPUTypes)+len(d.Labels)+len(d.NotLabels)+len(d.Tolerations) > 0 {
			fmt.Fprintf(&b, " types=%v labels=%v %v tolerates=%v", d.GPUTypes, d.Labels, d.NotLabels, d.Tolerations)
		}
		if due := c.Table.DeadlineOf(id); due != sched.Never {
			fmt.Fprintf(&b, " deadline=%s", stamp(due))
		}
		if cl.Period > 0 || cl.Retries > 0 || cl.Backoff > 0 {
			fmt.Fprintf(&b, " period=%s retries=%d backoff=%s", cl.Period, cl.Retries, cl.Backoff)
		}
		if on := c.RunOn[id]; on != nil {
			fmt.Fprintf(&b, " runOn=%v estOn=%v", on, c.Table.EstimateOn[id])
		}
		if p := c.Table.Preds(id); len(p) > 0 {
			fmt.Fprintf(&b, " after=%v", p)
		}
		b.WriteByte('\n')
	}
	for _, f := range c.Faults {
		switch {
		case f.Attempt != 0:
			fmt.Fprintf(&b, "  fault: task %d attempt %d after %s\n", f.Task, f.Attempt, f.After)
		default:
			fmt.Fprintf(&b, "  fault: node %d up=%v at %s\n", f.Node, f.Up, stamp(f.At))
		}
	}
	return b.String()
}

// String is GoString.
func (c Case) String() string { return c.GoString() }

func amount(v int64) string {
	if v >= sched.Unlimited {
		return "unlimited"
	}
	return fmt.Sprint(v)
}
