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
	KillAtEstimate bool            // a run longer than the workload's estimate, not than Estimates, is cut there and counts as killed
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
	// Recorder sees the same, after Tap. Most batches have one fact, which it is told without a slice of facts.
	Recorder Recorder
	// Orders sees the orders of each decision that gives any, after Recorder. The slice is valid during the call.
	Orders func(out []sched.Command)
	// WaitParts sees the stretches of waiting that ended in a batch, before Tap does. The slice is valid during the call.
	WaitParts func(parts []sched.WaitPart)
	Waits     bool                  // keep the wait profile
	FragMix   *metrics.FragMix      // measure fragmentation against this mix; nil: not measured
	Progress  func(done, total int) // called now and then with tasks that are over
}

// Recorder is told of every batch, once, by one of these. Each is a batch with its orders, which are valid during the call; an error ends the run.
type Recorder interface {
	Batch(now sched.Time, in []sched.Event, out []sched.Command) error
	Finished(now sched.Time, t sched.TaskID, attempt int32, done time.Duration, out []sched.Command) error // the fact alone that an attempt is done, after so much work
	Arrived(now sched.Time, t sched.TaskID, out []sched.Command) error                                     // the fact alone that a job of one task is submitted
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
	light    bool           // a preempted task goes on as if nothing had been, so that what it keeps is what the kernel was told
	same     int            // batches of this instant
	batches  int64
	oomed    int64
	ooms     []bool // tasks that run out of memory; nil: none
	elastic  *elastic
	window   *window
	lone     lone // the fact that was told alone in the last batch; with Recorder
}

// Run simulates until nothing is left to happen, the horizon, or the context's end. Errors: a task that no node could ever hold, a fault of a
// task or node that there is not, a dependency cycle, a policy that keeps giving orders without time moving on, an error of Tap or Recorder.
func Run(ctx context.Context, c Config) (*Result, error) {
	began := time.Now() // wall time of the simulation itself, not of what is simulated
	w := c.Workload
	if err := c.given(); err != nil {
		return nil, err
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
	r.frag.start(c.FragMix, first, span, len(tb.Tasks), len(c.Nodes))
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
	if err := checkDelays(delay{"overhead", c.Overhead}); err != nil {
		return err
	}
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
	tasks := "tasks"
	if len(w.Tasks) == 1 {
		tasks = "task"
	}
	hint := ""
	if d := w.DemandOf(at); d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole && slices.ContainsFunc(nodes, func(n sched.NodeSpec) bool { return n.GPUs > sched.MaxDevices }) {
		hint = "; " + traces.PoolShare
	}
	return fmt.Errorf("%s: task %s asks for %s, which this cluster cannot hold even when empty (%d of %d %s)%s",
		w.Source, w.TaskNames.At(int(at)), w.DemandOf(at), count, len(w.Tasks), tasks, hint)
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

// noTime is the error of so many decisions of one instant.
func (r *run) noTime(now sched.Time) error {
	if err := r.negative(); err != nil {
		return err
	}
	out := r.k.Orders()
	if len(out) == 0 {
		return fmt.Errorf("the policy asks to be woken without end at %.9g s: a wish that is not after the present comes at once", now.Seconds())
	}
	last := out[len(out)-1]
	what := last.Kind.String()
	if last.Task != sched.Nobody {
		what += " task " + r.tb.TaskNames.At(int(last.Task))
	}
	return fmt.Errorf("the policy gives orders without end at %.9g s (the last one: %s)", now.Seconds(), what)
}

// broken counts the attempts that came to nothing.
func (r *run) broken() int64 {
	b := r.k.Books()
	return b.Preemptions + b.Restarts
}

// noProgress is the error of so many decisions in which no task has come or ended; calm: nor was one stopped or lost.
func (r *run) noProgress(quiet int64, now sched.Time, calm bool) error {
	switch {
	case calm && r.k.Running() == 0:
		return fmt.Errorf("no task has come or ended in %d decisions up to %.9g s: the policy asks to be woken again and again, %d tasks wait and none runs", quiet, now.Seconds(), r.k.Queued())
	case calm:
		return fmt.Errorf("no task has come or ended in %d decisions up to %.9g s: the policy asks to be woken again and again, and stops nothing (is the time between its wishes too short?)", quiet, now.Seconds())
	}
	why := "is a time slice shorter than the overhead or than the fetch of an input, or a node up for less than a task needs between checkpoints?"
	if r.Restart {
		why = "a preempted task loses its work: is each stopped before it could end? Or " + why
	}
	return fmt.Errorf("no task has come or ended in %d decisions up to %.9g s: preemption or failures leave no time for work (%s)", quiet, now.Seconds(), why)
}

// late is the error of a run that time has run out for: what goes on, or is repaired, would end beyond sched.Never.
func (r *run) late(first sched.Time) error {
	n, total := len(r.tb.Tasks)-r.k.Over(), len(r.tb.Tasks)
	was := "were"
	if n == 1 {
		was = "was"
	}
	years := sched.Never.Sub(max(first, 0)).Hours() / (365.25 * 24)
	return fmt.Errorf("%d of %d tasks %s not over when the simulated time was, %.0f years after the first submission: do tasks, an overhead, checkpoints or repairs take too long?", n, total, was, years)
}

func (r *run) loop(ctx context.Context) error {
	total := len(r.tb.Tasks)
	r.now, r.arrival, r.last = math.MinInt64, r.submit(0), min(r.Horizon, sched.Never-1)
	r.bare = len(r.faults) == 0 && r.m == nil && r.window == nil && r.elastic == nil && r.Tenants == nil && r.WaitParts == nil
	r.light = r.plain && !r.Restart && r.Overhead == 0 && len(r.faults) == 0 && r.elastic == nil
	first := r.k.Now()
	over, moved := 0, int64(0)   // tasks that were over when so many decisions had been taken
	broken := int64(0)           // attempts that had come to nothing then
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
		if r.next == total && r.k.Open() == 0 {
			break
		}
		if at > r.last {
			if r.Horizon == sched.Never && (r.k.Running() > 0 || now > sched.Never/2) {
				return r.late(first)
			}
			break
		}
		if at < r.k.Now() {
			at, cut = r.k.Now(), r.k.Now() // a fault scripted before the first submit
		}
		if at > now {
			now, r.now, r.same = at, at, 0
		} else if r.same++; r.same > r.maxSameInstant() {
			if r.Horizon == sched.Never && now > sched.Never/2 { // what a policy adds up may have been beyond it
				return r.late(first)
			}
			return r.noTime(now)
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
				over, moved, broken = o, r.batches-unacted, r.broken()
			} else if quiet := r.batches - unacted - moved; quiet > r.maxQuiet() {
				return r.noProgress(quiet, now, r.broken() == broken)
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
		if r.Recorder != nil {
			if err := r.Recorder.Batch(now, r.in, out); err != nil {
				return err
			}
		}
		if r.Orders != nil && len(out) > 0 {
			r.Orders(out)
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
	r.frag.finish(end, &r.k.State)
	if r.Progress != nil {
		r.Progress(total, total)
	}
	return nil
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
