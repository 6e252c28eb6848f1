// Package sim is the virtual-time driver of the kernel in policies/sched: it knows the true run times, which no policy sees, carries
// the kernel's orders out in no time at all, and reports ends, failures and arrivals as facts.
//
// Tie rule. All that happens in one instant is told in one batch: first ends (by TaskID), then node faults, then arrivals (by TaskID);
// one decision follows. What the orders of that decision cause in the same instant (a stop, a run of no length) is the next batch of
// the same instant.
package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/metrics"
)

// Config says what to simulate. Workload, Nodes and Policy are required.
type Config struct {
	Workload       *traces.Workload
	Nodes          []sched.NodeSpec
	Policy         sched.Policy
	Estimates      []time.Duration // what policies see, per task; nil: the workload's
	KillAtEstimate bool            // a run longer than its estimate is cut there and counts as killed
	Restart        bool            // an evicted task loses its work; default: it resumes
	Overhead       time.Duration   // paid, while holding, at each start after a preemption
	Horizon        sched.Time      // stop there; 0: run until nothing is left to happen
	Faults         []Fault         // in any order
	Failures       *Failures       // what breaks at random; nil: nothing
	Checkpoint     *Checkpoint     // how running tasks save their work; nil: they do not
	Profiles       *Profiles       // samplers of the nodes; nil: policies see what is booked alone
	Seed           uint64          // of all that is random here
	Window         *Window         // facts are gathered before the kernel is asked; nil: every instant is a decision
	Memory         *Memory         // tasks use another amount of memory than they ask for; nil: what they ask for
	Tenants        *Tenants        // their quotas; nil: none
	Elastic        *Elastic        // queues that scale; nil: all nodes are there all the time
	Staging        *Staging        // how input comes to nodes; nil: as sched.Fetch says
	NodePrice      float64         // of a node-hour: nothing in a run depends on it
	// Tap sees every batch after its decision: the facts and the orders. The slices are valid during the call.
	Tap func(now sched.Time, in []sched.Event, out []sched.Command) error
	// WaitParts sees the stretches of waiting that ended in a batch, before Tap does. The slice is valid during the call.
	WaitParts func(parts []sched.WaitPart)
	Waits     bool                  // keep the wait profile
	FragMix   *metrics.FragMix      // measure fragmentation against this mix; nil: not measured
	Progress  func(done, total int) // called now and then with tasks that are over
}

// Fault is a scripted failure: a node that goes down or comes back at a time, or a task whose attempt fails after holding so long.
type Fault struct {
	At   sched.Time // node faults
	Node sched.NodeID
	Up   bool

	Task    sched.TaskID // task faults: Attempt > 0
	Attempt int32
	After   time.Duration
}

// Result is what came of a run. Seconds of resources are of allocated capacity: GPUs (shares as fractions) and cores.
type Result struct {
	Outcome                        func(sched.TaskID) sched.Outcome
	Outcomes                       func(from sched.TaskID, outcomes []sched.Outcome) // of the tasks from `from` on
	Ran                            func(from sched.TaskID, all []sched.Ran) bool     // the same of tasks that were all done in one attempt; see sched.State
	Series                         Series
	GPUSeconds, CPUSeconds         float64 // all attempts
	LostGPUSeconds, LostCPUSeconds float64 // of it: failures, kills, restarts, checkpoints, preemption overhead
	CheckpointGPUSeconds           float64 // of what is lost: held for checkpoints
	RestoreGPUSeconds              float64 // of what is lost: held for restoring, and overhead where there are checkpoints
	Preemptions, Restarts          int64
	CauseSeconds                   [sched.NumCauses]float64
	FragmentationGPUs              float64 // time mean; NaN where not measured
	Waits                          []sched.WaitRow
	First, Last                    sched.Time // first submit, last end
	Unfinished                     int        // tasks that are not over: cut by the horizon, or nothing could start them
	Batches                        int64
	NodeHours                      float64 // that nodes were on; without Elastic all of them, from First to Last
	Scalings                       int64   // changes of a queue's replicas
	OutOfMemory                    int64   // attempts that were to fail for want of memory
	Wall                           time.Duration
}

type run struct {
	Config
	tb       *sched.Table
	k        *sched.Kernel
	ends     ends
	cut      bool                       // an attempt was stopped or lost its node: there may be ends of attempts that no longer run
	kept     []keptWork                 // of preempted tasks; nil until one is
	paying   map[sched.TaskID]int32     // the attempt that pays the overhead of a preemption
	spent    map[sched.TaskID]allowance // with KillAtEstimate
	fates    map[sched.TaskID]fate      // attempts whose scheduled end is not a finish
	lost     map[sched.TaskID]int32     // the last attempt that lost a node
	faults   []Fault
	taskFail map[taskAttempt]time.Duration
	in       []sched.Event
	stops    []sched.Event  // reports of the last decision's stops
	halts    []sched.TaskID // stops that are to be reported; see light
	now      sched.Time     // of the last batch
	next     int            // first task that has not been told of
	arrival  sched.Time     // when that one is submitted; Never if there is none
	last     sched.Time     // the latest time that a batch may have
	bare     bool           // no model, no scripted fault: what happens is arrivals, ends and the policy's wishes
	lostGPU  float64
	lostCPU  float64
	stager   *stager // nil without Config.Staging
	series   seriesBuilder
	frag     fragMeter
	m        *models        // nil: none
	soon     []sched.TaskID // scratch of foresee
	seen     int64          // what it has seen, which means nothing
	acted    bool           // with models: the last decision has started or stopped something
	hetero   bool           // run times differ by node
	plain    bool           // a first attempt takes the task's run time, whatever happens
	brief    bool           // nobody sees the facts of a batch, and an end is what the run and what was kept make of it
	light    bool           // a preempted task goes on as if nothing had been, so that what it keeps is what the kernel was told
	same     int            // batches of this instant
	batches  int64
	oomed    int64
	ooms     []bool // tasks that run out of memory; nil: none
	elastic  *elastic
	window   *window
}

// keptWork is what a preempted task keeps of its earlier attempts: the true work at reference speed, and the time that it held for it.
type keptWork struct{ work, held time.Duration }

// fate says how an attempt will end: FailedAttempt or Killed.
type fate struct {
	kind    sched.EventKind
	attempt int32
}

type taskAttempt struct {
	task    sched.TaskID
	attempt int32
}

// Run simulates until nothing is left to happen, the horizon, or the context's end. Errors: a task that no node could ever hold, a
// dependency cycle, a policy that keeps giving orders without time moving on, an error of Tap.
func Run(ctx context.Context, c Config) (*Result, error) {
	began := time.Now() // wall time of the simulation itself, not of what is simulated
	w := c.Workload
	if c.Estimates != nil && len(c.Estimates) != len(w.Tasks) {
		return nil, fmt.Errorf("%d estimates for %d tasks", len(c.Estimates), len(w.Tasks))
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	tb := *c.Table()
	if err := Placeable(w, c.Nodes); err != nil {
		return nil, err
	}
	r := &run{Config: c, tb: &tb, taskFail: map[taskAttempt]time.Duration{}, paying: map[sched.TaskID]int32{}, fates: map[sched.TaskID]fate{}, spent: map[sched.TaskID]allowance{}, lost: map[sched.TaskID]int32{}, hetero: len(w.RunOn) > 0 || w.Uneven()}
	for _, n := range c.Nodes {
		r.hetero = r.hetero || n.SpeedMilli != 0 && n.SpeedMilli != sched.Whole
	}
	if c.Horizon == 0 {
		r.Horizon = sched.Never
	}
	for _, f := range c.Faults {
		if f.Attempt > 0 {
			r.taskFail[taskAttempt{f.Task, f.Attempt}] = f.After
		} else {
			r.faults = append(r.faults, f)
		}
	}
	r.plain = !r.hetero && tb.EdgeBytes == nil && tb.Data == nil && !r.KillAtEstimate && len(r.taskFail) == 0
	slices.SortStableFunc(r.faults, func(a, b Fault) int { return cmpTime(a.At, b.At) })
	first := sched.Time(0)
	if len(tb.Tasks) > 0 {
		first = tb.Tasks[0].Submit
	}
	var err error
	if c.Memory != nil {
		if r.Workload, r.ooms = c.Memory.apply(w, c.Seed); r.ooms != nil {
			r.plain = false
		}
	}
	if c.Tenants != nil {
		if err := c.Tenants.holds(w); err != nil {
			return nil, err
		}
	}
	if c.Window != nil {
		r.window, r.plain = newWindow(c.Window, len(tb.Tasks)), false
	}
	if c.Elastic != nil {
		if r.elastic, err = newElastic(r); err != nil {
			return nil, err
		}
		r.elastic.start(first)
		r.Policy = r.elastic
	}
	r.k, err = sched.New(sched.Config{Table: &tb, Nodes: c.Nodes, Policy: r.Policy, Start: first, Waits: c.Waits, WaitParts: c.WaitParts != nil})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.Source, err)
	}
	if r.m = newModels(r, first); r.m != nil {
		r.plain = false
	}
	if c.Staging != nil {
		r.stager, r.plain = newStager(r), false
	}
	span := time.Minute
	if n := len(tb.Tasks); n > 0 {
		span = max(span, tb.Tasks[n-1].Submit.Sub(first))
	}
	r.ends.start(first)
	r.series.start(first, span, mostOf(c.Nodes, len(tb.Tasks)))
	r.frag.start(c.FragMix, first, span)
	if err := r.loop(ctx); err != nil {
		return nil, err
	}
	return r.result(first, began), nil
}

// Table returns the tasks as policies see them.
func (c *Config) Table() *sched.Table {
	tb := *c.Workload.Table
	if c.Estimates != nil {
		tb.Estimates = c.Estimates
	}
	if c.Failures != nil && c.Failures.Retries > 0 {
		tb.Classes = slices.Clone(tb.Classes)
		for i := range tb.Classes {
			tb.Classes[i].Retries = c.Failures.Retries
		}
	}
	return &tb
}

// Check reports models that cannot be, or not together.
func (c *Config) Check() error {
	if err := c.Failures.Check(); err != nil {
		return err
	}
	if err := c.Checkpoint.Check(c.Failures); err != nil {
		return err
	}
	if err := c.Tenants.Check(); err != nil {
		return err
	}
	if err := c.Memory.Check(); err != nil {
		return err
	}
	if err := c.Window.Check(); err != nil {
		return err
	}
	if err := c.Elastic.Check(); err != nil {
		return err
	}
	if err := c.Staging.Check(); err != nil {
		return err
	}
	switch {
	case c.Checkpoint != nil && c.Restart:
		return errors.New("restart says that a preempted task loses its work, checkpoint that it is saved: say stop=lose in checkpoint instead")
	case c.Checkpoint != nil && c.KillAtEstimate:
		return errors.New("runs cut at their estimates and checkpoints are not modelled together")
	}
	return c.Profiles.Check()
}

// Placeable says which task no node could ever hold, if there is one.
func Placeable(w *traces.Workload, nodes []sched.NodeSpec) error {
	bad := make([]bool, len(w.Demands))
	any := false
	for i := range w.Demands {
		bad[i] = !sched.CouldEverFit(nodes, &w.Demands[i])
		any = any || bad[i]
	}
	if !any {
		return nil
	}
	count, at := 0, sched.Nobody
	for t := range w.Tasks {
		if bad[w.ClassOf(sched.TaskID(t)).Demand] {
			if count++; at == sched.Nobody {
				at = sched.TaskID(t)
			}
		}
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf("%s: task %s asks for %s, which this cluster cannot hold even when empty (%d of %d tasks)",
		w.Source, w.TaskNames.At(int(at)), w.DemandOf(at), count, len(w.Tasks))
}

func cmpTime(a, b sched.Time) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// maxSameInstant bounds the batches of one instant: beyond it the policy gives orders in a circle.
func (r *run) maxSameInstant() int { return 1000 + 8*len(r.tb.Tasks) }

// maxIdle bounds the decisions in a row in which nothing runs or comes, nothing is started, and nodes fail and return.
const maxIdle = 100_000

// maxQuiet bounds the decisions in which no task comes or ends: beyond it tasks preempt each other for ever.
func (r *run) maxQuiet() int64 { return 1_000_000 + 100*int64(len(r.tb.Tasks)) }

func (r *run) loop(ctx context.Context) error {
	total := len(r.tb.Tasks)
	r.now, r.arrival, r.last = math.MinInt64, r.submit(0), min(r.Horizon, sched.Never-1)
	r.bare = len(r.faults) == 0 && r.m == nil && r.window == nil && r.elastic == nil && r.Tenants == nil && r.WaitParts == nil
	r.brief = r.plain && r.Tap == nil
	r.light = r.plain && !r.Restart && r.Overhead == 0 && len(r.faults) == 0 && r.elastic == nil
	over, moved := 0, int64(0)   // tasks that were over when so many decisions had been taken
	idle, unacted := 0, int64(0) // decisions in which nothing was ordered, nodes only failed and returned: in a row, and in all
	for {
		if r.bare {
			if err := r.calm(); err != nil {
				return err
			}
		}
		now := r.now
		at := sched.Never
		if len(r.stops) > 0 {
			at = now
		} else {
			for r.cut && !r.ends.empty() && !r.runs(r.ends.top()) {
				r.ends.pop()
			}
			at = min(r.ends.next(), r.arrival)
			if len(r.faults) > 0 {
				at = min(at, r.faults[0].At)
			}
			if r.m != nil {
				at = min(at, max(r.m.next(), now))
			}
			if wake, ok := r.k.NextWake(); ok {
				at = min(at, max(wake, now))
			}
		}
		cut := at // what has happened by then is in the batch
		if r.window != nil && at != sched.Never {
			at, cut = r.window.settle(r, at, r.next)
		}
		if at > r.last || r.next == total && r.k.Open() == 0 {
			break
		}
		if at < r.k.Now() {
			at, cut = r.k.Now(), r.k.Now() // a fault scripted before the first submit
		}
		if at > now {
			now, r.now, r.same = at, at, 0
		} else if r.same++; r.same > r.maxSameInstant() {
			return fmt.Errorf("the policy gives orders without end at %.9g s", now.Seconds())
		}
		if r.m != nil {
			if !r.acted {
				unacted++
				idle++
			}
			if r.acted || r.k.Running() > 0 || r.next < total {
				idle = 0
			} else if idle > maxIdle {
				break // what breaks and is repaired goes on for ever, and starts nothing
			}
			r.acted = false
		}
		if r.batches&1023 == 0 {
			if o := r.k.Over(); o != over {
				over, moved = o, r.batches-unacted
			} else if quiet := r.batches - unacted - moved; quiet > r.maxQuiet() {
				return fmt.Errorf("no task has come or ended in %d decisions up to %.9g s: preemption or failures leave no time for work (is a time slice shorter than the overhead or than the fetch of an input, or a node up for less than a task needs between checkpoints?)", quiet, now.Seconds())
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if r.Progress != nil {
				r.Progress(r.next-r.k.Open(), total)
			}
		}
		r.batches++
		r.in = r.in[:0]
		stops := len(r.stops)
		if stops > 0 {
			r.in = append(r.in, r.stops...)
			r.stops = r.stops[:0]
		}
		if r.m != nil {
			r.m.reports(now, cut)
		}
		for r.window == nil && r.ends.next() == now {
			if e := r.ends.pop(); !r.cut || r.runs(e) {
				r.ended(e, r.fact())
			}
		}
		if r.window != nil {
			r.window.tell(r)
		}
		if stops > 0 || r.window != nil {
			sched.SortBatch(r.in)
		}
		for len(r.faults) > 0 && r.faults[0].At <= cut {
			f := r.faults[0]
			r.faults = r.faults[1:]
			if r.elastic != nil && !r.elastic.fault(f.Node, f.Up) {
				continue
			}
			kind := sched.NodeDown
			if f.Up {
				kind = sched.NodeUp
			} else {
				r.cut = true
				r.losses(f.Node, now)
			}
			r.in = append(r.in, sched.Event{Kind: kind, Node: f.Node, Task: sched.Nobody})
		}
		if r.batches == 1 && r.Tenants != nil {
			r.in = append(r.in, r.Tenants.facts()...)
		}
		if r.m != nil {
			r.m.changes(now, cut)
		}
		if r.arrival <= cut {
			r.arrive(cut)
		}
		r.series.until(now, &r.k.State)
		r.frag.until(now, &r.k.State)
		out := r.k.Step(now, r.in)
		if r.WaitParts != nil {
			r.WaitParts(r.k.WaitParts())
		}
		if r.Tap != nil {
			if err := r.Tap(now, r.in, out); err != nil {
				return err
			}
		}
		if r.elastic != nil {
			r.elastic.carry(now, out)
		}
		r.carryOut(now, out)
	}
	end := r.now
	if r.Horizon != sched.Never {
		end = max(end, r.Horizon)
	}
	r.series.until(end, &r.k.State)
	r.frag.until(end, &r.k.State)
	if r.Progress != nil {
		r.Progress(total, total)
	}
	return nil
}

// calm runs batches as the loop does, as long as they are made of arrivals, ends and wishes of the policy, at instants of their own, and of the stops that these
// cause; what is not so simple it leaves to the loop, and from time to time it lets the loop look after the run.
func (r *run) calm() error {
	for total := len(r.tb.Tasks); ; {
		at, alone := r.now, false
		if len(r.stops) > 0 {
			if r.batches&1023 == 0 || r.same >= r.maxSameInstant() {
				return nil
			}
			r.same++
			r.in, r.stops = r.stops, r.in[:0]
			for r.ends.next() == at {
				if e := r.ends.pop(); r.runs(e) {
					r.ended(e, r.fact())
				}
			}
			sched.SortBatch(r.in)
		} else {
			for r.cut && !r.ends.empty() && !r.runs(r.ends.top()) {
				r.ends.pop()
			}
			at = min(r.ends.next(), r.arrival)
			if wake, ok := r.k.NextWake(); ok {
				at = min(at, wake)
			}
			if at <= r.now || at > r.last || r.batches&1023 == 0 || r.next == total && r.k.Open() == 0 {
				return nil
			}
			r.now, r.same = at, 0
			r.series.until(at, &r.k.State)
			r.frag.until(at, &r.k.State)
			r.in = r.in[:0]
			if alone = r.brief && r.alone(at); !alone {
				for r.ends.next() == at {
					if e := r.ends.pop(); !r.cut || r.runs(e) {
						r.ended(e, r.fact())
					}
				}
			}
		}
		r.batches++
		if !alone {
			if r.ends.pulled {
				r.foresee()
			}
			if r.arrival <= at {
				r.arrive(at)
			}
			out := r.k.Step(at, r.in)
			if r.Tap != nil {
				if err := r.Tap(at, r.in, out); err != nil {
					return err
				}
			}
		}
		if out := r.k.Orders(); len(out) > 0 {
			r.carryOut(at, out)
		}
		if soon := r.k.Soon(); len(soon) > 0 { // the run times of what starts next, likewise all at once
			for _, t := range soon {
				r.seen += int64(r.Workload.Run[t])
			}
		}
	}
}

// alone takes the step of an instant in which nothing happens but that one task ends or one job of one task arrives, as in most: what is told alone need not be
// written down. It reports false, and has begun the batch at most, where it is otherwise.
func (r *run) alone(at sched.Time) bool {
	ends := r.ends.next() == at
	if ends == (r.arrival == at) {
		return false
	}
	if ends {
		e := r.ends.pop()
		if r.ends.next() == at || !r.light && e.attempt > 1 {
			r.ended(e, r.fact())
			return false
		}
		if r.ends.pulled {
			r.foresee()
		}
		r.k.StepFinished(at, e.task, e.attempt)
		return true
	}
	t, next := r.next, sched.Never
	if after := t + 1; after < len(r.tb.Tasks) {
		task := &r.tb.Tasks[after]
		if next = task.Submit; next == at || task.Job == r.tb.Tasks[t].Job {
			return false
		}
	}
	r.next, r.arrival = t+1, next
	r.k.StepArrived(at, sched.TaskID(t))
	return true
}

// foresee lets the kernel look at what the next ends are about.
func (r *run) foresee() {
	r.ends.pulled = false
	ends, soon := r.ends.soon(), r.soon[:0]
	for i := range ends {
		if !r.cut || r.runs(ends[i]) {
			soon = append(soon, ends[i].task)
		}
	}
	r.soon = soon
	r.seen = r.k.Foresee(soon)
}

// arrive tells of the jobs that are submitted up to a time, task after task of one job together.
func (r *run) arrive(cut sched.Time) {
	for next := r.next; next < len(r.tb.Tasks); {
		first := &r.tb.Tasks[next]
		if first.Submit > cut {
			break
		}
		for next++; next < len(r.tb.Tasks); next++ {
			if t := &r.tb.Tasks[next]; t.Job != first.Job || t.Submit > cut {
				break
			}
		}
		r.fact().Set(sched.JobArrived, sched.TaskID(r.next), int32(next-r.next), 0, 0)
		r.next = next
	}
	r.arrival = r.submit(r.next)
}

// carryOut does what a decision orders.
func (r *run) carryOut(now sched.Time, out []sched.Command) {
	for i := range out {
		switch c := &out[i]; c.Kind {
		case sched.Start:
			switch {
			case c.Attempt == 1 && r.plain:
				r.acted = true
				r.ends.push(end{now.Add(r.Workload.Run[c.Task]), c.Task, 1})
			case r.light:
				r.ends.push(end{now.Add(r.Workload.Run[c.Task] - r.k.Kept(c.Task)), c.Task, c.Attempt})
			default:
				r.begin(now, c)
			}
		case sched.Stop:
			r.cut = true
			if r.light {
				r.halts = append(r.halts, c.Task)
				continue
			}
			if r.k.Attempt(c.Task) != c.Attempt || r.k.Phase(c.Task) != sched.Stopping {
				continue // the loss of its last node ended it in the same batch
			}
			r.acted = true
			if r.window != nil && r.window.over(c.Task, now, r.lost[c.Task] == c.Attempt) {
				continue // it had ended before the order: that is told
			}
			if r.m != nil && r.m.saver != nil && r.lost[c.Task] != c.Attempt {
				if ev, ok := r.m.saver.stop(now, c); ok {
					r.stops = append(r.stops, ev)
				}
				continue
			}
			r.stops = append(r.stops, r.stopped(now, c))
		case sched.Checkpoint:
			if r.m != nil && r.m.saver != nil {
				r.m.saver.order(now, c)
				continue
			}
			if r.light {
				r.halt(now)
				r.keepApart()
			}
			r.stops = append(r.stops, sched.Event{Kind: sched.CheckpointDone, Task: c.Task, Attempt: c.Attempt, Done: r.workDone(now, c.Task)})
		}
	}
	if len(r.halts) > 0 {
		r.halt(now)
	}
}

// halt reports the stops of light preemptions, in order: numbers are sorted faster than facts.
func (r *run) halt(now sched.Time) {
	slices.Sort(r.halts)
	for _, t := range r.halts {
		done := r.k.Kept(t) + now.Sub(r.k.StartedAt(t))
		add(&r.stops).Set(sched.Stopped, t, 0, r.k.Attempt(t), min(done, r.Workload.Run[t]))
	}
	r.halts = r.halts[:0]
	if r.ends.len() > 2*r.k.Running()+1024 { // of stopped attempts, mostly
		r.ends.prune(r.runs)
	}
}

// keepApart begins to keep what preempted tasks keep, where the kernel is told of other work as well: that is kept while they run.
func (r *run) keepApart() {
	r.light, r.kept = false, make([]keptWork, len(r.tb.Tasks))
	note := func(t sched.TaskID, work time.Duration) { r.kept[t] = keptWork{work, work} }
	for t := range sched.TaskID(r.next) {
		note(t, r.k.Kept(t))
	}
	for i := range r.stops { // it has not been told
		note(r.stops[i].Task, r.stops[i].Done)
	}
}

// submit returns when task t is submitted, Never behind the last.
func (r *run) submit(t int) sched.Time {
	if t < len(r.tb.Tasks) {
		return r.tb.Tasks[t].Submit
	}
	return sched.Never
}

// fact adds one to the batch, for the caller to write.
func (r *run) fact() *sched.Event { return add(&r.in) }

func add(facts *[]sched.Event) *sched.Event {
	f := *facts
	if n := len(f); n < cap(f) {
		f = f[:n+1]
	} else {
		f = append(f, sched.Event{})
	}
	*facts = f
	return &f[len(f)-1]
}

// runs reports whether the attempt of a scheduled end is still the present one.
func (r *run) runs(e end) bool {
	if r.k.Attempt(e.task) != e.attempt {
		return false
	}
	if r.k.Phase(e.task) != sched.Running {
		return r.window != nil && r.k.Phase(e.task) == sched.Stopping && r.window.isOver(e)
	}
	return r.m == nil || r.m.saver == nil || r.m.saver.works[e.task].end == e.at // an ordered checkpoint has moved it
}

// runOn returns the true run time of a whole task on its placements: that of the slowest node.
func (r *run) runOn(t sched.TaskID, on []sched.Placement) time.Duration {
	if !r.hetero {
		return r.Workload.Run[t]
	}
	var d time.Duration
	costs := r.Workload.RunOn[t]
	for _, p := range on {
		spec := r.k.Room().Spec(p.Node)
		d = max(d, r.tb.RunOn(t, r.Workload.Run[t], costs, spec))
	}
	return d
}

func (r *run) keptOf(t sched.TaskID) time.Duration {
	if int(t) < len(r.kept) {
		return r.kept[t].work
	}
	return 0
}

// begin schedules the end of an attempt that is not plain.
func (r *run) begin(now sched.Time, c *sched.Command) {
	t := c.Task
	whole := r.runOn(t, c.On)
	d := whole
	if k := r.keptOf(t); k > 0 {
		d = sched.MulDiv(whole, int64(r.Workload.Run[t]-k), int64(max(r.Workload.Run[t], 1)), true)
	}
	if c.Attempt > 1 {
		d += r.overheadOf(t, c.Attempt)
	}
	if r.KillAtEstimate {
		// Where the estimate covers the run, rounding alone must not cut it.
		if limit := r.limit(t, c); limit < d && r.estimateOn(t, c.On) < whole {
			d = limit
			r.fates[t] = fate{sched.Killed, c.Attempt}
		}
	}
	if r.stager != nil {
		r.stager.begin(now, c)
	}
	d += r.staging(t)
	r.acted = true
	var w *work
	if r.m != nil && r.m.saver != nil {
		staging, overhead := r.staging(t), r.overheadOf(t, c.Attempt)
		d = r.m.saver.begin(now, c, whole, d-staging-overhead, staging, overhead)
		w = &r.m.saver.works[t]
	}
	after := time.Duration(sched.Never)
	if r.m != nil && r.m.breaking != nil {
		after = r.m.breaking.fails(t, c.Attempt)
	}
	if r.ooms != nil && r.ooms[t] {
		if peak := max(d-stretch(whole, 1-r.Memory.peak()), 0); peak < after {
			d, after = peak, peak
			r.fates[t] = fate{sched.FailedAttempt, c.Attempt}
			r.oomed++
		}
	}
	if len(r.taskFail) > 0 {
		if scripted, ok := r.taskFail[taskAttempt{t, c.Attempt}]; ok {
			after = min(after, scripted)
		}
	}
	if after < d {
		d = after
		r.fates[t] = fate{sched.FailedAttempt, c.Attempt}
	}
	if r.window != nil {
		r.window.endAt[t] = now.Add(d)
	}
	if w != nil {
		w.fails, w.end = now.Add(after), now.Add(d)
	}
	r.ends.push(end{now.Add(d), t, c.Attempt})
}

// staging returns how long the present attempt holds its room before its work begins, because what its predecessors send, or its own input, is
// not there yet.
func (r *run) staging(t sched.TaskID) time.Duration {
	if r.stager != nil {
		return r.stager.wait[t]
	}
	if r.tb.EdgeBytes == nil && r.tb.Data == nil {
		return 0
	}
	return r.k.WorkBegins(t).Sub(r.k.StartedAt(t))
}

// overheadOf returns the overhead that this attempt pays: Config.Overhead where a preemption ended the one before.
func (r *run) overheadOf(t sched.TaskID, attempt int32) time.Duration {
	if attempt > 1 && r.paying[t] == attempt {
		return r.Overhead
	}
	return 0
}

// wasted returns how much of the time that the present attempt has held went into the overhead of a preemption, which comes after the staging.
func (r *run) wasted(t sched.TaskID, held time.Duration) time.Duration {
	return min(max(held-r.staging(t), 0), r.overheadOf(t, r.k.Attempt(t)))
}

// limit returns after how long this attempt is cut: what earlier attempts left of the estimate, as a share of it where nodes differ.
func (r *run) limit(t sched.TaskID, c *sched.Command) time.Duration {
	est := r.estimateOn(t, c.On)
	u := r.spent[t]
	return max(est-u.on(est), 0) + r.overheadOf(t, c.Attempt)
}

func (r *run) estimateOn(t sched.TaskID, on []sched.Placement) time.Duration {
	var est time.Duration
	for _, p := range on {
		est = max(est, sched.EstimateOn(r.tb, t, r.k.Room().Spec(p.Node)))
	}
	return est
}

// allowance is how much of an estimate the attempts of a preempted task have used up.
type allowance struct{ spent, of time.Duration }

// on returns the time spent, had it been on nodes for which the estimate is est.
func (a allowance) on(est time.Duration) time.Duration {
	if a.of == est || a.of <= 0 {
		return a.spent
	}
	return sched.MulDiv(a.spent, int64(est), int64(a.of), false)
}

// ended writes the fact of a scheduled end.
func (r *run) ended(e end, ev *sched.Event) {
	t := e.task
	if r.plain && e.attempt == 1 {
		// Nothing but the run has passed since its start, and that is at hand, where the table of run times is not.
		ev.Set(sched.Finished, t, 0, 1, e.at.Sub(r.k.StartedAt(t)))
		return
	}
	ev.Set(sched.Finished, t, 0, e.attempt, r.Workload.Run[t])
	saver := (*saver)(nil)
	if r.m != nil {
		saver = r.m.saver
	}
	if (e.attempt == 1 && len(r.fates) == 0 || r.light) && saver == nil {
		return
	}
	held := e.at.Sub(r.k.StartedAt(t))
	if f, ok := r.fates[t]; ok && f.attempt == e.attempt {
		delete(r.fates, t)
		if saver != nil {
			ev.Kind, ev.Done = f.kind, saver.failed(e.at, t)
			return
		}
		r.lose(t, held)
		ev.Kind, ev.Done = f.kind, 0
		if f.kind == sched.FailedAttempt {
			ev.Done = r.keptOf(t)
		}
		return
	}
	if saver != nil {
		saver.spend(e.at, t, &saver.works[t])
		r.lose(t, saver.wasted(e.at, t))
	} else if e.attempt > 1 {
		r.lose(t, r.wasted(t, held))
	}
}

// workDone returns the true work of a running task done by now, at reference speed, all kept attempts included.
func (r *run) workDone(now sched.Time, t sched.TaskID) time.Duration {
	kept := r.keptOf(t)
	held := now.Sub(r.k.StartedAt(t)) - r.staging(t) - r.overheadOf(t, r.k.Attempt(t))
	if held <= 0 {
		return kept
	}
	whole := r.runOn(t, r.k.Placements(t))
	if whole <= 0 {
		return r.Workload.Run[t]
	}
	if whole == r.Workload.Run[t] {
		return min(kept+held, r.Workload.Run[t])
	}
	return min(kept+sched.MulDiv(held, int64(r.Workload.Run[t]), int64(whole), false), r.Workload.Run[t])
}

// stopped carries an order to stop out at once.
func (r *run) stopped(now sched.Time, c *sched.Command) sched.Event {
	t := c.Task
	held := now.Sub(r.k.StartedAt(t))
	ev := sched.Event{Kind: sched.Stopped, Task: t, Attempt: c.Attempt, Node: sched.NoNode, Done: r.keptOf(t)}
	lost := r.lost[t] == c.Attempt // a node of it: that may be up again by now
	switch {
	case lost: // losses has counted it
	case r.Restart:
		ev.Done = 0
		r.lose(t, held)
	default:
		wasted := r.wasted(t, held)
		r.lose(t, wasted)
		ev.Done = r.workDone(now, t)
		if r.KillAtEstimate {
			est := r.estimateOn(t, r.k.Placements(t))
			r.spent[t] = allowance{r.spent[t].on(est) + max(held-wasted-r.staging(t), 0), est}
		}
		if r.kept == nil {
			r.kept = make([]keptWork, len(r.tb.Tasks))
		}
		r.kept[t] = keptWork{ev.Done, r.kept[t].held + held - wasted}
	}
	if !lost && r.Overhead > 0 {
		r.paying[t] = c.Attempt + 1
	}
	return ev
}

// losses counts the work that the loss of a node destroys. An attempt whose end is told in the same batch, before it, loses nothing.
func (r *run) losses(n sched.NodeID, now sched.Time) {
	if r.stager != nil {
		defer r.stager.lost(n)
	}
	for t := range r.k.RunningTasks() { // none is on a node that is down already; on a drained one there may be
		if r.lost[t] != r.k.Attempt(t) && slices.ContainsFunc(r.k.Placements(t), func(p sched.Placement) bool { return p.Node == n }) &&
			!slices.ContainsFunc(r.in, func(e sched.Event) bool { return e.Kind <= sched.Stopped && e.Task == t }) {
			r.lost[t] = r.k.Attempt(t) // a gang that loses a second node loses nothing more
			if r.m == nil || r.m.saver == nil {
				r.lose(t, now.Sub(r.k.StartedAt(t)))
			} else if kept := r.m.saver.failed(now, t); kept > r.k.Kept(t) {
				r.in = append(r.in, sched.Event{Kind: sched.CheckpointDone, Task: t, Attempt: r.k.Attempt(t), Node: sched.NoNode, Done: kept, Value: int64(r.Checkpoint.Cost)})
			}
		}
	}
}

func (r *run) lose(t sched.TaskID, held time.Duration) {
	d := r.tb.DemandOf(t)
	r.lostGPU += held.Seconds() * float64(d.GPUTotal()) / sched.Whole
	r.lostCPU += held.Seconds() * float64(d.CPUTotal()) / 1000
}

func (r *run) result(first sched.Time, began time.Time) *Result {
	end := r.k.Now()
	if r.Horizon != sched.Never {
		end = max(end, r.Horizon)
	}
	b := r.k.Books()
	res := &Result{
		Outcome: r.k.Outcome, Outcomes: r.k.Outcomes, Ran: r.k.Ran, Series: r.series.done(), GPUSeconds: b.GPUSeconds, CPUSeconds: b.CPUSeconds,
		Preemptions: b.Preemptions, Restarts: b.Restarts, CauseSeconds: b.CauseSeconds, FragmentationGPUs: r.frag.mean(),
		First: first, Last: first, Batches: r.batches,
	}
	if r.Waits {
		res.Waits = r.k.Waits()
	}
	for t := range r.k.RunningTasks() { // cut by the horizon: what they hold counts
		held := end.Sub(r.k.StartedAt(t))
		d := r.tb.DemandOf(t)
		res.GPUSeconds += held.Seconds() * float64(d.GPUTotal()) / sched.Whole
		res.CPUSeconds += held.Seconds() * float64(d.CPUTotal()) / 1000
		if r.m != nil && r.m.saver != nil {
			r.m.saver.spend(end, t, &r.m.saver.works[t])
			r.lose(t, r.m.saver.wasted(end, t))
			continue
		}
		r.lose(t, r.wasted(t, held))
	}
	if r.m != nil && r.m.saver != nil {
		res.CheckpointGPUSeconds, res.RestoreGPUSeconds = r.m.saver.saveGPU, r.m.saver.load
	}
	res.Last = max(res.Last, r.k.LastEnd())
	res.Unfinished = len(r.tb.Tasks) - r.k.Over()
	for t := range r.kept { // what tasks that failed had kept of earlier attempts serves nobody
		if ph := r.k.Phase(sched.TaskID(t)); ph.Over() && ph != sched.Done {
			r.lose(sched.TaskID(t), r.kept[t].held)
		}
	}
	if r.light && b.Preemptions > 0 {
		for t := range sched.TaskID(r.next) {
			if ph := r.k.Phase(t); ph.Over() && ph != sched.Done {
				r.lose(t, r.k.Kept(t))
			}
		}
	}
	res.LostGPUSeconds, res.LostCPUSeconds = r.lostGPU, r.lostCPU
	res.OutOfMemory = r.oomed
	if e := r.elastic; e != nil {
		e.pay(end, 0)
		res.NodeHours, res.Scalings = e.nodeNS/3.6e12, e.scalings
	} else {
		res.NodeHours = float64(len(r.Nodes)) * max(end, res.Last).Sub(first).Hours()
	}
	res.Wall = time.Since(began)
	return res
}
