// Package daemon is the live mode on one machine: it drives the kernel by what happens to real processes, keeps every fact in the state
// file before anything follows from it, and takes up after a crash what it finds.
//
// One goroutine, the loop's, changes the kernel's state, under mu; everything else reads it under mu. A request (submit, cancel, ...) is
// a function that the loop calls when it gathers a batch: it looks at the state and returns facts. It is answered once its batch is in the
// state file.
package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schedlab/schedlab/live"
	"github.com/schedlab/schedlab/live/alert"
	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/checkpoint"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/live/node"
	"github.com/schedlab/schedlab/live/retry"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
)

// Config says what to run. Dir, Node, Policy, Build and Exe must be set.
type Config struct {
	Dir    string                                  // of the state
	Node   sched.NodeSpec                          // this machine
	Policy string                                  // of a new state; an old one keeps its own
	Build  func(name string) (sched.Policy, error) // builds a policy of its name
	Exe    string                                  // a program that has the package local, for the shims
	Log    *slog.Logger
	Window sched.BatchWindow
	Header json.RawMessage // of the journals that Journal writes: what a replay must know to build the policies
	// Patience is how long a state file that cannot be written is tried again before Run gives up; requests are refused meanwhile.
	// 0 means a minute.
	Patience time.Duration

	// Checkpoints is where they are kept: an absolute path or s3://bucket/prefix; "" is a folder of the state. Work is the folder where
	// running tasks write them, which the owners of tasks must be able to pass through; "" is another. MTBF 0 is DefaultMTBF.
	Checkpoints, Work string
	MTBF              time.Duration

	// Groups opens what makes the attempts' control groups, once the state is this daemon's: another that runs on it has the same. The daemon
	// closes it. nil: there are none.
	Groups       func() *cgroup.Manager
	CPUCap       bool          // a task's CPUs are also the most that it gets, not only its share
	Pids         int64         // processes and threads that an attempt may have; 0 = no limit
	Cards        []device.GPU  // Node's GPUs; nil where they are only declared
	Sampler      *node.Sampler // samples this machine; nil: it is not sampled. The daemon's from here on, until Run returns
	GPUsSay      string        // how the GPUs are driven, for people
	Declared     bool          // Node is not this machine as it was found: what others use of it says nothing
	IgnoreOthers bool          // what others use does not lower what Node offers
	KillVRAM     bool          // an attempt that holds more VRAM than it was granted is stopped; else warned

	Queues Queues // that scale their workers

	KeepLogs time.Duration // after which the folders and logs of jobs that are over are removed; 0: never

	Retry retry.Limit  // of what may be tried again; zero: as often as the tasks say
	Alert alert.Config // whom to tell what went wrong; zero: nobody. Host, Log and Count are the daemon's to set

	awayWait   time.Duration // before the storage of checkpoints is tried again for the first time; 0 is DefaultAwayWait. For tests
	watchEvery time.Duration // how often the machine is sampled; 0 is a second. For tests
}

// memLimited reports whether the attempts' control groups bound their memory.
func (d *Daemon) memLimited() bool {
	if d.runner.Groups != nil {
		for _, cap := range d.runner.Groups.Capabilities() {
			if cap.Name == "memory" {
				return cap.By == "v1" || cap.By == "v2"
			}
		}
	}
	return false
}

// Daemon is a running live mode.
type Daemon struct {
	cfg    Config
	log    *slog.Logger
	store  *store.Store
	runner *local.Runner
	loop   *live.Loop

	mu        sync.RWMutex // the kernel's state and all down to changed
	kernel    *sched.Kernel
	book      *book
	jobs      []Job
	first     birth
	policy    string                         // in force
	stopWhy   map[sched.TaskID]string        // why a running task is being stopped, where it is not the policy
	began     map[attemptKey]sched.Time      // of attempts that run
	restored  map[attemptKey]bool            // attempts that run, of which was told how long they restored their work
	ended     map[attemptKey]*local.Event    // what came of attempts whose end is not in the state file yet
	lastEnd   map[sched.TaskID]end           // of tasks that had an attempt
	earlier   map[sched.TaskID]sched.Time    // when tasks that are over really ended, where no daemon saw it and the kernel heard of it later
	work      map[sched.TaskID]time.Duration // of tasks that are done, as their last facts said; 0: what they held room for
	opened    sched.Time                     // when this daemon began
	quotas    map[[2]string]sched.Quota      // by tenant and queue, one of them ""
	recurring map[sched.JobID]*recurrence    // by the first job of the chain
	noted     map[attemptKey]local.Saved     // what was last reported of attempts that run
	saved     map[sched.TaskID]local.Saved   // of tasks with checkpoints, while those are kept
	problem   map[sched.TaskID]string        // why the last attempt of a task did not run or was lost
	changed   chan struct{}                  // closed with each batch, and made anew
	budget    *retry.Budget
	scaling   *scaling // nil: no queue scales
	unfit     bool     // the machine is another than the kernel was told

	parts  map[sched.JobID][]sched.JobID // what was added to workflows
	inputs []sched.TaskID                // tasks that have inputs and are not over, as far as is known
	stages stages

	scaledBefore []string // queues whose workers the state bounds, sorted

	away         map[sched.TaskID]int  // attempts in a row that ended since the storage of checkpoints was away
	refusedRetry map[attemptKey]string // why a failure is final, of attempts whose end is not in the state file yet
	alarms       []alert.Alert         // of the batch that is being made; the loop's
	alerts       *alert.Sender         // nil: there is nobody to tell
	alerted      map[string]*atomic.Int64

	reqMu    sync.Mutex
	requests []*request
	fault    error      // why the state file cannot be written; nil while it can
	taken    []*request // by the batch that is being made
	newJobs  []store.Job
	told     int64           // requests and facts of the batches so far; the loop's
	stopping <-chan struct{} // closed when Run's context ends

	watch   watch
	swept   chan struct{} // an attempt with checkpoints is over
	specs   specCache
	metrics *metrics
	stepped time.Time // when the kernel was handed the batch
}

type attemptKey struct {
	task sched.TaskID
	n    int32
}

// Job is an accepted job.
type Job struct {
	ID     sched.JobID
	First  sched.TaskID
	Tasks  int32
	UID    uint32
	Submit sched.Time
	Name   string

	// Of is the workflow that it was added to; itself where it was added to none. To whom looks, its tasks are that workflow's.
	Of    sched.JobID
	quiet bool // it raises no alerts

	every string      // it recurs, as it was submitted; "" if not
	chain sched.JobID // and is the first job or a copy of it, where every is set
}

// end is what came of a task's last attempt.
type end struct {
	code   int32
	reason string
}

type request struct {
	facts func(now sched.Time) ([]sched.Event, error)
	done  chan error
}

// Open opens the state and brings the kernel to where it was. What ran then is taken up by Run.
func Open(ctx context.Context, c Config) (_ *Daemon, err error) {
	d := &Daemon{
		cfg: c, log: cmp.Or(c.Log, slog.New(slog.DiscardHandler)), book: newBook(), changed: make(chan struct{}),
		stopWhy: map[sched.TaskID]string{}, began: map[attemptKey]sched.Time{}, restored: map[attemptKey]bool{}, ended: map[attemptKey]*local.Event{},
		lastEnd: map[sched.TaskID]end{}, earlier: map[sched.TaskID]sched.Time{}, work: map[sched.TaskID]time.Duration{}, problem: map[sched.TaskID]string{}, recurring: map[sched.JobID]*recurrence{}, quotas: map[[2]string]sched.Quota{},
		noted: map[attemptKey]local.Saved{}, saved: map[sched.TaskID]local.Saved{}, swept: make(chan struct{}, 1),
		parts: map[sched.JobID][]sched.JobID{}, away: map[sched.TaskID]int{}, refusedRetry: map[attemptKey]string{}, alerted: map[string]*atomic.Int64{},
	}
	d.stages.of, d.stages.shown = map[attemptKey]*staging{}, map[sched.TaskID]*InputsView{}
	for _, r := range alert.Results() {
		d.alerted[r] = &atomic.Int64{}
	}
	to := c.Alert
	to.Host, to.Log, to.Count = c.Node.Name, d.log, func(result string) { d.alerted[result].Add(1) }
	if d.alerts, err = alert.New(to); err != nil {
		return nil, err
	}
	if d.scaling, err = newScaling(c.Queues); err != nil {
		return nil, err
	}
	if _, err := checkpoint.Open(d.cfg.place()); err != nil {
		return nil, err
	}
	if d.store, err = store.Open(ctx, c.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.store.Close())
		}
	}()
	d.metrics = newMetrics(d)
	d.runner = &local.Runner{Root: filepath.Join(c.Dir, "attempts"), Exe: c.Exe, Report: d.report, Env: c.shimEnv()}
	d.loop = &live.Loop{
		Runner: (*orders)(d), Lock: &d.mu, Intake: d.intake, Tap: d.commit, Idle: func() error { return d.answer(nil) }, Settle: d.settle,
	}
	if err = d.recover(ctx); err == nil {
		err = d.takeUp(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(c.Dir, store.File), err)
	}
	d.loop.Kernel = d.kernel
	if c.Groups != nil {
		d.runner.Groups = c.Groups()
	}
	return d, nil
}

// birth is what a new state begins with.
type birth struct {
	Epoch  time.Time        `json:"epoch"`
	Nodes  []sched.NodeSpec `json:"nodes"`
	Policy string           `json:"policy"`
}

// recover makes the kernel from the state file.
func (d *Daemon) recover(ctx context.Context) error {
	text, err := d.store.Meta(ctx, "birth")
	if err != nil {
		return err
	}
	b := birth{Epoch: time.Now(), Nodes: []sched.NodeSpec{d.cfg.Node}, Policy: d.cfg.Policy}
	switch {
	case text != nil:
		if err := json.Unmarshal(text, &b); err != nil {
			return fmt.Errorf("its entry birth: %w", err)
		}
		if len(b.Nodes) == 0 {
			return errors.New("its entry birth: it has no machine")
		}
	case d.store.Next() > 0:
		return fmt.Errorf("it has batches and no beginning: %w", store.ErrDamaged)
	default:
		if text, err = json.Marshal(b); err != nil {
			return err
		}
		if err := d.store.SetMeta(ctx, "birth", text); err != nil {
			return err
		}
	}
	d.loop.Epoch = b.Epoch
	for j, err := range d.store.Jobs(ctx, 0) {
		if err != nil {
			return err
		}
		if err := d.load(&j); err != nil {
			return fmt.Errorf("job %d: %w", j.ID+1, err)
		}
	}
	if err := d.forgetEnded(ctx); err != nil {
		return err
	}
	d.first = b
	same, err := d.replay(ctx, &b, false)
	if err == nil && !same {
		d.log.Warn("the policy decides otherwise than the program that wrote the state: its orders are taken as they were", "policy", d.policy)
		_, err = d.replay(ctx, &b, true)
	}
	if err != nil {
		return err
	}
	for a, err := range d.store.LastAttempts(ctx) {
		if err != nil {
			return err
		}
		if int(a.Task) >= d.kernel.Known() || a.Task < 0 {
			return fmt.Errorf("the record of attempt %d of task id %d, which was never submitted: %w", a.N, a.Task, store.ErrDamaged)
		}
		_, why, _ := strings.Cut(a.How, ": ")
		if a.Code >= 0 {
			d.lastEnd[a.Task] = end{a.Code, why}
		} else if why != "" {
			d.problem[a.Task] = why
		}
		if d.kernel.Attempt(a.Task) == a.N {
			d.endedAt(a.Task, a.End)
		}
	}
	// The clock goes on where the last batch stood, should the machine's have been set back.
	if over := d.kernel.Now().Sub(d.loop.Now()); over > 0 {
		d.loop.Epoch = d.loop.Epoch.Add(-over)
	}
	d.opened = d.loop.Now()
	for _, r := range d.recurring {
		d.plan(r, &d.jobs[r.last])
	}
	return nil
}

// load takes an accepted job into the table.
func (d *Daemon) load(j *store.Job) error {
	var spec job.Job
	if err := json.Unmarshal(j.Spec, &spec); err != nil {
		return err
	}
	if len(spec.Tasks) == 0 {
		return errors.New("it has no tasks")
	}
	id, first, err := d.book.add(&spec, j.Submit)
	if err != nil {
		return err
	}
	if id != j.ID || first != j.First || len(spec.Tasks) != int(j.Tasks) {
		return fmt.Errorf("it does not come where it was accepted")
	}
	if int(spec.To) > len(d.jobs) {
		return fmt.Errorf("it is an addition to job %d, which comes later", spec.To)
	}
	if spec.Recurs < 0 || int(spec.Recurs) > len(d.jobs) {
		return fmt.Errorf("it is a copy of job %d, which comes later", spec.Recurs)
	}
	d.accept(Job{ID: j.ID, First: j.First, Tasks: j.Tasks, UID: j.UID, Submit: j.Submit, Name: j.Name}, &spec)
	return nil
}

// accept takes a job that is in the table into the list.
func (d *Daemon) accept(j Job, spec *job.Job) {
	j.Of, j.quiet = j.ID, spec.Quiet
	if spec.To > 0 {
		j.Of = d.jobs[spec.To-1].Of
		j.quiet = j.quiet || d.jobs[j.Of].quiet
		d.parts[j.Of] = append(d.parts[j.Of], j.ID)
	}
	for i := range spec.Tasks {
		if len(spec.Tasks[i].Inputs) > 0 {
			d.inputs = append(d.inputs, j.First+sched.TaskID(i))
		}
	}
	d.recurs(&j, spec)
	d.jobs = append(d.jobs, j)
}

// replay steps a new kernel through the batches of the state file. With script its policy gives the orders that were given; else the
// policies decide again, and same says whether they decided the same.
func (d *Daemon) replay(ctx context.Context, b *birth, script bool) (same bool, err error) {
	d.policy = b.Policy
	var s *scripted
	first := sched.Policy(nil)
	if script {
		s = &scripted{}
		first = s
	} else if first, err = d.cfg.Build(b.Policy); err != nil {
		return false, err
	}
	d.kernel, err = sched.New(sched.Config{Table: d.book.tb, Nodes: b.Nodes, Policy: first, Waits: true})
	if err != nil {
		return false, err
	}
	clear(d.began)
	clear(d.restored)
	clear(d.quotas)
	clear(d.work)
	clear(d.away)
	d.budget = retry.New(d.cfg.Retry)
	refused, firstRefused := 0, ""
	for batch, err := range d.store.Batches(ctx, 0) {
		if err != nil {
			return false, err
		}
		in, out, err := decode(batch.Facts, d.cfg.Build)
		if err == nil {
			err = d.book.knows(in, out)
		}
		if err != nil {
			return false, fmt.Errorf("batch %d: %w", batch.No, err)
		}
		for i := range in {
			switch e := &in[i]; e.Kind {
			case sched.PolicySet:
				d.policy = e.More.Name
				if script {
					*e = sched.Event{Kind: sched.Wake, Task: sched.Nobody}
				}
			case sched.QuotaSet:
				d.noteQuota(e)
			case sched.Started:
				d.noteStarted(batch.At, e)
			case sched.Finished:
				d.work[e.Task] = e.Done
			}
		}
		if script {
			s.orders = out
		}
		d.recount(batch.At, in, out)
		got := d.kernel.Step(batch.At, in)
		switch {
		case sameOrders(got, out):
		case !script:
			return false, nil
		default:
			for i := range out {
				o := &out[i]
				if slices.ContainsFunc(got, func(c sched.Command) bool {
					return c.Kind == o.Kind && c.Task == o.Task && c.Attempt == o.Attempt && c.Queue == o.Queue
				}) {
					continue
				}
				if refused++; refused == 1 {
					firstRefused = fmt.Sprintf("%s of task id %d in batch %d", o.Kind, o.Task, batch.No)
				}
			}
		}
	}
	if refused > 0 { // they would be nobody's
		d.log.Error("orders that another program gave are not taken by this one: what they have begun may still run, and is unknown to it", "orders", refused, "first", firstRefused)
	}
	if script {
		p, err := d.cfg.Build(d.policy)
		if err != nil {
			return false, err
		}
		// A fact of the first batch, as any other: what the policy orders at once is stored and carried out.
		s.orders = nil
		d.loop.Report(sched.Event{Kind: sched.PolicySet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Policy: named{p, d.policy}, Name: d.policy}})
	}
	return true, nil
}

// scripted is the policy that gives the orders it is handed.
type scripted struct{ orders []sched.Command }

func (*scripted) Observe(*sched.State, sched.Event) {}

func (s *scripted) Decide(r *sched.Round) {
	for i := range s.orders {
		switch c := &s.orders[i]; c.Kind {
		case sched.Start:
			r.Start(c.Task, c.On...)
		case sched.Stop:
			r.Evict(c.Task)
		case sched.Reject:
			r.Reject(c.Task, c.Cause)
		case sched.Scale:
			r.Scale(c.Queue, int(c.Replicas))
		case sched.Checkpoint:
			r.Checkpoint(c.Task)
		}
	}
}

// Run drives the kernel until the context ends or the state file can no longer be written. Jobs that run then run on.
func (d *Daemon) Run(ctx context.Context) error {
	d.stopping = ctx.Done()
	if err := errors.Join(d.prepareWork(), d.runner.Listen()); err != nil {
		return errors.Join(err, d.Close())
	}
	d.adopt()
	if busy := d.runner.Sweep(); len(busy) > 0 {
		d.log.Warn("control groups with processes in them are of no attempt that this state knows, and are left alone", "groups", busy)
	}
	d.refit()
	aside, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { d.recurLoop(aside) })
	beside.Go(func() { d.watchLoop(aside) })
	beside.Go(func() { d.sweep(aside) })
	beside.Go(func() { d.alerts.Run(aside) })
	beside.Go(func() { d.scaleLoop(aside) })
	beside.Go(func() { d.stageLoop(aside) })
	beside.Go(func() { d.cleanLoop(aside) })
	err := d.loop.Run(ctx)
	stop()
	beside.Wait()
	d.runner.Close()
	d.refuse(errStopping) // whoever comes now, too
	for _, q := range d.taken {
		q.done <- errStopping
	}
	d.taken = nil
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Close gives the state back, of a daemon that was not run.
func (d *Daemon) Close() error {
	if d.runner.Groups != nil {
		_ = d.runner.Groups.Close() // an empty folder that is left does no harm
	}
	return d.store.Close() // last: the next daemon has the same groups
}

var errStopping = fmt.Errorf("%w: the daemon is stopping", ErrUnavailable)

// refuse answers the requests that no batch has taken yet, and all that come, with an error, until that is nil again.
func (d *Daemon) refuse(err error) {
	d.reqMu.Lock()
	d.fault = err
	var left []*request
	if err != nil {
		left, d.requests = d.requests, nil
	}
	d.reqMu.Unlock()
	for _, q := range left {
		q.done <- err
	}
}

// adopt takes up the attempts that the kernel believes to run. Those that are to stop are told so again: it is not known whether they were. A
// shim that was goes on counting from then, so that its job has the rest of its grace.
func (d *Daemon) adopt() {
	stopping := map[sched.TaskID]int32{}
	d.mu.Lock()
	d.recall()
	for t := range d.kernel.RunningTasks() {
		n := d.kernel.Attempt(t)
		_, ready := d.began[attemptKey{t, n}]
		d.runner.Adopt(t, n, ready)
		if d.kernel.Phase(t) == sched.Stopping {
			stopping[t] = n
		}
	}
	d.mu.Unlock()
	for t, n := range stopping {
		d.runner.Stop(t, n, local.Stop{Reason: reasonStopped, Grace: d.grace(t), Save: true})
	}
}

// here is this machine. Nodes before it are the machine as it was, and down. It is called under mu.
func (d *Daemon) here() sched.NodeID { return sched.NodeID(d.kernel.Room().Len() - 1) }

// refit notes that the machine is another than the state says. It is taken in once nothing runs that would be torn.
func (d *Daemon) refit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unfit = !reflect.DeepEqual(*d.kernel.Room().Spec(d.here()), d.cfg.Node)
	p := sched.Profile{SampledAt: d.now()}
	d.gone(&p)
	old, _ := d.kernel.ProfileOf(d.here())
	used := old.OtherCPU != p.OtherCPU || old.OtherMem != p.OtherMem || old.OtherGPUs != p.OtherGPUs
	if used && (d.unfit || d.cfg.Declared) { // where the machine is sampled, a look says soon what others use besides
		d.loop.Report(sched.Event{Kind: sched.NodeProfile, Task: sched.Nobody, Node: d.here(), More: &sched.Detail{Profile: &p}})
	}
	if !d.unfit {
		return
	}
	if n := d.kernel.Running(); n > 0 {
		d.log.Warn("the machine offers something else than the state says; it is taken in once nothing runs", "running", n)
	}
	d.loop.Report()
}

// gone adds to what others use what the machine had when the state heard of it, and has no more: who was placed there would fail. It is called
// under mu.
func (d *Daemon) gone(p *sched.Profile) {
	if !d.unfit {
		return
	}
	was, is := d.kernel.Room().Spec(d.here()), &d.cfg.Node
	if was.CPU != sched.Unlimited {
		p.OtherCPU += max(was.CPU-is.CPU, 0)
	}
	if was.Mem != sched.Unlimited {
		p.OtherMem += max(was.Mem-is.Mem, 0)
	}
	for i := is.GPUs; i < min(was.GPUs, sched.MaxDevices); i++ {
		p.OtherGPUs |= 1 << i
	}
}

// refitted returns, in a batch before which nothing runs, the facts that make the machine what it is now: the one that it was goes down. A
// batch with another fact about the machine is left alone, for that is about the one that was. It is called under mu.
func (d *Daemon) refitted(in []sched.Event) []sched.Event {
	if !d.unfit || d.kernel.Running() > 0 || slices.ContainsFunc(in, func(e sched.Event) bool { return e.Kind == sched.NodeDrain || e.Kind == sched.NodeUp }) {
		return nil
	}
	d.unfit = false
	d.log.Info("the machine offers something else than before", "node", d.cfg.Node.Name)
	last, spec := d.here(), d.cfg.Node
	up := sched.Event{Kind: sched.NodeUp, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Spec: &spec}}
	if !d.kernel.Room().Up(last) { // who has drained it to change it has not said yet that he is done
		return []sched.Event{up, {Kind: sched.NodeDrain, Task: sched.Nobody, Node: last + 1}}
	}
	return []sched.Event{{Kind: sched.NodeDown, Task: sched.Nobody, Node: last}, up}
}

// settle gathers the facts of a moment.
func (d *Daemon) settle(ctx context.Context) {
	d.reqMu.Lock()
	facts := len(d.requests)
	d.reqMu.Unlock()
	w := d.cfg.Window.Next(d.loop.Now(), d.told+int64(facts+d.loop.Waiting()))
	if w <= 0 {
		return
	}
	t := time.NewTimer(w)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// ask hands a request to the loop and waits until its facts are in the state file.
func (d *Daemon) ask(ctx context.Context, facts func(now sched.Time) ([]sched.Event, error)) error {
	q := &request{facts, make(chan error, 1)}
	d.reqMu.Lock()
	if err := d.fault; err != nil {
		d.reqMu.Unlock()
		return err
	}
	d.requests = append(d.requests, q)
	d.reqMu.Unlock()
	d.loop.Report()
	select {
	case err := <-q.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: it is not known whether this was taken in", ctx.Err())
	}
}

// intake lets the requests look at the state and add their facts.
func (d *Daemon) intake(now sched.Time, in []sched.Event) []sched.Event {
	d.reqMu.Lock()
	asked := d.requests
	d.requests = nil
	d.reqMu.Unlock()
	d.told += int64(len(asked) + len(in))
	if s := d.scaling; s != nil && !s.bounds { // before anything that is submitted
		s.bounds = true
		in = append(in, d.rescale(now)...)
	}
	for _, q := range asked {
		facts, err := q.facts(now)
		if err != nil {
			q.done <- err
			continue
		}
		in = append(in, facts...)
		d.taken = append(d.taken, q)
	}
	in = append(in, d.refitted(in)...)
	for i := range in {
		if e := &in[i]; e.Kind == sched.PolicySet {
			d.policy = e.More.Name
		}
	}
	d.retries(now, in)
	d.stepped = time.Now()
	return in
}

// commit makes a batch durable before its orders leave, then tells whoever waits for it.
func (d *Daemon) commit(now sched.Time, in []sched.Event, out []sched.Command) error {
	d.metrics.decision.Observe(since(d.stepped))
	d.metrics.decisions.Inc()
	facts, err := encode(in, out)
	if err != nil {
		return d.answer(err)
	}
	b := &store.Batch{No: d.store.Next(), At: now, Facts: facts, Jobs: d.newJobs}
	d.mu.Lock()
	for i := range in {
		if a := d.attempt(now, &in[i]); a != nil {
			b.Attempts = append(b.Attempts, *a)
		}
	}
	for i := range out {
		if out[i].Kind == sched.Start {
			d.metrics.started(out[i].Task)
		}
	}
	d.countStarts(now, out)
	if d.unfit && d.kernel.Running() == 0 {
		d.loop.Report() // the next batch may be far
	}
	d.mu.Unlock()
	began := time.Now()
	if err := d.append(b); err != nil {
		return d.answer(err)
	}
	d.metrics.store.Observe(since(began))
	d.newJobs = d.newJobs[:0]
	d.alarm()
	failpoint.Hit("daemon-durable")
	for i := range in {
		if e := &in[i]; e.Kind == sched.Started {
			d.runner.Open(e.Task, e.Attempt)
		}
	}
	d.mu.Lock()
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	failpoint.Hit("daemon-answering")
	err = d.answer(nil)
	failpoint.Hit("daemon-answered")
	return err
}

// append writes a batch, if need be again and again. Nothing is taken in meanwhile: what waits is refused, and what runs runs on.
func (d *Daemon) append(b *store.Batch) error {
	err := d.store.Append(b)
	if err == nil {
		return nil
	}
	began := time.Now()
	defer d.refuse(nil)
	d.alerts.Send(alert.Alert{Event: alert.DiskFull, Message: "the state file cannot be written, so nothing is accepted or started: " + err.Error()})
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		unavailable := fmt.Errorf("%w: the state file cannot be written: %w", ErrUnavailable, err)
		d.refuse(unavailable)
		d.log.Error("the state file cannot be written; nothing is accepted or started until it can", "err", err, "since", time.Since(began).Round(time.Millisecond))
		if time.Since(began) > cmp.Or(d.cfg.Patience, time.Minute) {
			return fmt.Errorf("%w; given up after %s: it is not known whether this was taken in", unavailable, time.Since(began).Round(time.Second))
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-d.stopping:
			t.Stop()
			return fmt.Errorf("%w, and the daemon is stopping: it is not known whether this was taken in", unavailable)
		}
		if err = d.store.Append(b); err == nil {
			d.log.Info("the state file can be written again", "after", time.Since(began).Round(time.Millisecond))
			return nil
		}
	}
}

// answer tells the requests of the batch what became of it, and returns err.
func (d *Daemon) answer(err error) error {
	for _, q := range d.taken {
		q.done <- err
	}
	d.taken = d.taken[:0]
	return err
}

// attempt keeps what a report says of an attempt, and returns its row once it is over.
func (d *Daemon) attempt(now sched.Time, e *sched.Event) *store.Attempt {
	k := attemptKey{e.Task, e.Attempt}
	switch e.Kind {
	case sched.Started:
		d.noteStarted(now, e)
		return nil
	case sched.Finished:
		d.work[e.Task] = e.Done
	case sched.FailedAttempt, sched.Killed, sched.Stopped:
	default:
		return nil
	}
	d.metrics.ends.WithLabelValues(e.Kind.String()).Inc()
	a := &store.Attempt{Task: e.Task, N: e.Attempt, Start: sched.Never, End: now, Code: -1, How: e.Kind.String()}
	if at, ok := d.began[k]; ok {
		a.Start = at
		delete(d.began, k)
	}
	delete(d.restored, k)
	ev, refused := d.ended[k], d.refusedRetry[k]
	if ev != nil && ev.Kind == local.Ended && a.Start != sched.Never {
		if end := sched.Time(ev.Exit.At.Sub(d.loop.Zero())); end < d.opened {
			a.End = max(end, a.Start)
			d.endedAt(e.Task, a.End)
		}
	}
	var why []string
	if ev != nil {
		if e.Kind == sched.FailedAttempt && e.N == 1 {
			why = append(why, d.awaits(ev)) // and no exit: that of the command does not count
		} else if ev.Kind == local.Ended {
			a.Code = ev.Exit.Code
			if ev.Exit.Reason != "" {
				why = append(why, ev.Exit.Reason)
			}
			if n := ev.Exit.DroppedLines; n > 0 {
				why = append(why, fmt.Sprintf("its log lost %d lines: the disk was full", n))
			}
			d.metrics.dropped.Add(float64(ev.Exit.DroppedLines))
			d.lostLines(e.Task, ev.Exit.DroppedLines)
		} else if ev.Err != "" {
			why = append(why, ev.Err)
		}
		delete(d.ended, k)
	}
	if refused != "" {
		why = append(why, refused)
		delete(d.refusedRetry, k)
	}
	text := strings.Join(why, "; ")
	delete(d.lastEnd, e.Task) // of the attempt before: the next daemon would not know it
	delete(d.problem, e.Task)
	if a.Code >= 0 {
		d.lastEnd[e.Task] = end{a.Code, text}
	} else if text != "" {
		d.problem[e.Task] = text
	}
	if text != "" {
		a.How += ": " + text
	}
	d.failed(e, ev, refused)
	delete(d.stopWhy, e.Task)
	return a
}

// endedAt notes when the last attempt of a task ended. It is called under mu, once the kernel has taken the end in.
func (d *Daemon) endedAt(t sched.TaskID, at sched.Time) {
	if ph := d.kernel.Phase(t); (ph == sched.Done || ph == sched.Failed) && at < d.kernel.Outcome(t).End { // with its last attempt, by what the kernel knows
		d.earlier[t] = at
	}
}

// outcome returns what came of a task as it was: it held nothing from its end on until the kernel heard of that. It is called under mu.
func (d *Daemon) outcome(t sched.TaskID) sched.Outcome {
	o := d.kernel.Outcome(t)
	if end, ok := d.earlier[t]; ok {
		o.Held -= o.End.Sub(end)
		o.End = end
	}
	return o
}

// noteStarted keeps when an attempt began, or that it has told how long it restored its work.
func (d *Daemon) noteStarted(at sched.Time, e *sched.Event) {
	k := attemptKey{e.Task, e.Attempt}
	if e.Value > 0 {
		d.restored[k] = true
	} else {
		d.began[k] = at
	}
}

// report turns what a runner says into a fact.
func (d *Daemon) report(e local.Event) {
	fact := sched.Event{Task: e.Task, Attempt: e.Attempt, Node: sched.NoNode}
	switch e.Kind {
	case local.Ready:
		fact.Kind = sched.Started
		d.loop.Report(fact)
		return
	case local.Adopted:
		d.log.Info("an attempt has outlived the daemon and is taken up again", "task", e.Task, "attempt", e.Attempt)
		return
	case local.Noted:
		d.mu.Lock()
		fact.Done = d.noteSaved(&e)
		facts := d.tellRestored(&e)
		if fact.Done != d.kernel.Kept(e.Task) {
			fact.Kind, fact.Value = sched.CheckpointDone, heldUp(e.Saved)
			facts = append(facts, fact)
		}
		d.mu.Unlock()
		if len(facts) > 0 {
			d.loop.Report(facts...)
		}
		return
	case local.Voided:
		if !e.Stopped { // the daemon died before it ran: the attempt begins anew
			d.mu.RLock()
			on := slices.Clone(d.kernel.Placements(e.Task))
			d.mu.RUnlock()
			d.start(e.Task, e.Attempt, on)
			// An order to stop that came in between has met nobody.
			d.mu.RLock()
			stop := d.kernel.Phase(e.Task) == sched.Stopping && d.kernel.Attempt(e.Task) == e.Attempt
			d.mu.RUnlock()
			if stop {
				(*orders)(d).Stop(e.Task, e.Attempt)
			}
			return
		}
		fact.Kind = sched.Stopped
	case local.Failed, local.Lost:
		fact.Kind = sched.FailedAttempt
	case local.Ended:
		fact.Kind = kindOf(&e)
	}
	d.mu.Lock()
	d.ended[attemptKey{e.Task, e.Attempt}] = &e
	kept, work := d.noteSaved(&e), d.workOf(&e)
	d.mu.Unlock()
	switch fact.Kind {
	case sched.Stopped, sched.FailedAttempt:
		fact.Done = kept
	case sched.Finished:
		fact.Done = work
	}
	d.loop.Report(fact)
}

// workOf returns the work of a task whose last attempt has ended well: what that resumed with, and for how long it ran by its shim's clock,
// which goes on while no daemon runs. What earlier attempts did and no checkpoint kept is lost, and is no work of the task. It is 0 where
// all of that is what the task held room for: its one attempt ran under this daemon. It is called under mu.
func (d *Daemon) workOf(e *local.Event) time.Duration {
	if d.kernel.Attempt(e.Task) != e.Attempt || e.Attempt == 1 && d.kernel.StartedAt(e.Task) >= d.opened {
		return 0
	}
	ran, base := time.Duration(e.Exit.RanFor*1e9), time.Duration(0)
	if s := e.Saved; s != nil {
		base = s.Base
		ran -= time.Duration(s.RestoreS * 1e9)
	}
	speed := int64(0)
	for _, p := range d.kernel.Placements(e.Task) {
		if v := cmp.Or(d.kernel.Room().Spec(p.Node).SpeedMilli, 1000); speed == 0 || v < speed {
			speed = v
		}
	}
	return base + sched.MulDiv(max(ran, 0), cmp.Or(speed, 1000), 1000, false)
}

// CodeRequeue is the exit code of a command that has saved its work and wants to be started again; it takes no retry.
const CodeRequeue = checkpoint.CodeSaved

// kindOf says which fact an exit is. One with CodeRequeue by which nothing new is in the store is a failure: the command would do the same
// again, as fast as it can be started. Its exit says so from then on.
func kindOf(e *local.Event) sched.EventKind {
	x := &e.Exit
	switch {
	case x.Reason == reasonLimit:
		return sched.Killed
	case strings.HasPrefix(x.Reason, reasonVRAM), strings.HasPrefix(x.Reason, local.ReasonMemory): // even if it then ended well
		return sched.FailedAttempt
	case x.Reason == reasonPreempted || x.Reason == reasonCancelled || x.Reason == reasonStopped:
		return sched.Stopped
	case x.Code == 0:
		return sched.Finished
	case x.Code == CodeRequeue && e.Saved != nil && e.Saved.Done > 0:
		return sched.Stopped
	case x.Code == CodeRequeue && x.Reason == "":
		x.Reason = "it has saved nothing that it could go on from"
		if e.Saved != nil && e.Saved.Problem != "" {
			x.Reason += ": " + e.Saved.Problem
		}
	}
	return sched.FailedAttempt
}

// Why an attempt was stopped, as its exit says.
const (
	reasonLimit     = "limit"
	reasonPreempted = "preempted"
	reasonCancelled = "cancelled"
	reasonStopped   = "stopped"
)

// orders carries the kernel's orders out.
type orders Daemon

// Start begins an attempt.
func (o *orders) Start(t sched.TaskID, attempt int32, on []sched.Placement) {
	(*Daemon)(o).start(t, attempt, on)
}

func (d *Daemon) start(t sched.TaskID, attempt int32, on []sched.Placement) {
	d.runner.Start(t, attempt, func(ctx context.Context) (*local.Spec, error) { return d.describe(ctx, t, attempt, on) })
}

// Stop ends an attempt.
func (o *orders) Stop(t sched.TaskID, attempt int32) {
	d := (*Daemon)(o)
	d.mu.RLock()
	why := d.stopWhy[t]
	d.mu.RUnlock()
	why = cmp.Or(why, reasonPreempted)
	d.runner.Stop(t, attempt, local.Stop{Reason: why, Grace: d.grace(t), Save: why == reasonPreempted})
}

// grace returns the time that a task has from SIGTERM to SIGKILL.
func (d *Daemon) grace(t sched.TaskID) time.Duration {
	if task, err := d.specs.task(d, t); err == nil {
		return task.Grace()
	}
	return job.DefaultGrace
}

// Checkpoint asks for the attempt's work to be saved.
func (o *orders) Checkpoint(t sched.TaskID, attempt int32) { o.runner.Checkpoint(t, attempt) }

// workflow returns the job that a task belongs to, to whom looks. It is called under mu.
func (d *Daemon) workflow(t sched.TaskID) *Job {
	return &d.jobs[d.jobs[d.book.tb.Tasks[t].Job].Of]
}

// Name returns a task as people write it: the job's number, and its own id where the job has several tasks.
func (d *Daemon) name(t sched.TaskID) string {
	tb := d.book.tb
	j := d.workflow(t)
	if j.Tasks == 1 && len(d.parts[j.ID]) == 0 {
		return strconv.Itoa(int(j.ID) + 1)
	}
	return strconv.Itoa(int(j.ID)+1) + "/" + tb.TaskNames.At(int(t))
}
