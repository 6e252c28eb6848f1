package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

func uid() uint32 { return uint32(os.Geteuid()) }

// Task is what is shown of a task. Times are seconds since the epoch of the state, durations seconds; members that do not apply are
// left out.
type Task struct {
	ID       string   `json:"id"` // as the commands take it: 12, or 12/train in a job of several
	Job      int32    `json:"job"`
	JobName  string   `json:"job_name"`
	Task     string   `json:"task"`
	UID      uint32   `json:"uid"`
	Tenant   string   `json:"tenant,omitempty"`
	Queue    string   `json:"queue,omitempty"`
	State    string   `json:"state"`
	Why      string   `json:"why,omitempty"` // it waits, in a word
	Submit   float64  `json:"submit_s"`
	Ready    *float64 `json:"ready_s,omitempty"`
	Start    *float64 `json:"start_s,omitempty"` // first
	End      *float64 `json:"end_s,omitempty"`
	Wait     float64  `json:"wait_s"` // so far
	Held     float64  `json:"ran_s"`  // so far, all attempts
	Attempts int32    `json:"attempts"`
	Demand   string   `json:"demand"`
	Node     string   `json:"node,omitempty"`
	GPUs     []int    `json:"gpu_indexes,omitempty"`
	Code     *int32   `json:"exit_code,omitempty"`
	Reason   string   `json:"reason,omitempty"`

	Recurs     *RecursView     `json:"recurs,omitempty"` // its job, while somebody has not ended that
	Checkpoint *CheckpointView `json:"checkpoint,omitempty"`
	Inputs     *InputsView     `json:"inputs,omitempty"` // of its last attempt
}

// view returns what is shown of a task. It is called under mu.
func (d *Daemon) view(t sched.TaskID) Task {
	k, tb := d.kernel, d.book.tb
	o, class := d.outcome(t), tb.ClassOf(t)
	j := d.workflow(t)
	v := Task{
		ID: d.name(t), Job: int32(j.ID) + 1, JobName: j.Name, Task: tb.TaskNames.At(int(t)), UID: j.UID, Tenant: tb.Tenants[class.Tenant],
		Queue: tb.Queues[class.Queue], State: o.Phase.String(), Submit: tb.Tasks[t].Submit.Seconds(), Attempts: o.Attempts,
		Demand: tb.DemandOf(t).String(),
	}
	at := func(x sched.Time) *float64 {
		if x == sched.Never {
			return nil
		}
		s := x.Seconds()
		return &s
	}
	v.Ready, v.Start, v.End = at(o.Ready), at(o.Start), at(o.End)
	if o.Ready != sched.Never {
		end := o.End
		if end == sched.Never {
			end = max(d.loop.Now(), k.Now())
		}
		v.Held = o.Held.Seconds()
		if o.Phase == sched.Running || o.Phase == sched.Stopping {
			v.Held = (k.Attained(t) + end.Sub(k.Now())).Seconds()
		}
		v.Wait = max(end.Sub(o.Ready).Seconds()-v.Held, 0)
	}
	switch o.Phase {
	case sched.Running, sched.Stopping:
		for _, p := range k.Placements(t) {
			v.Node = k.Room().Spec(p.Node).Name
			for i := range sched.MaxDevices {
				if p.GPUs&(1<<i) != 0 {
					v.GPUs = append(v.GPUs, i)
				}
			}
		}
		if o.Phase == sched.Running && d.notBegun(t) != "" {
			v.Why = "not begun"
		}
	case sched.Blocked, sched.Ready, sched.Claiming, sched.Backoff, sched.Held:
		v.Why = k.CauseOf(t).String()
		switch { // what is order to the simulator, and has nothing to do with who comes first
		case k.OnHold(t): // whatever else it waits for, it does not start before its release
			v.Why = "hold"
		case o.Phase == sched.Ready && !k.QuotaAllows(t):
			v.Why = "quota"
		case o.Phase == sched.Ready && !k.Room().Up(d.here()):
			v.Why = "drained"
		}
	}
	if x, ok := d.lastEnd[t]; ok {
		v.Code, v.Reason = &x.code, x.reason
	}
	v.Checkpoint, v.Inputs, v.Recurs = d.viewSaved(t), d.viewInputs(t), d.viewRecurs(t)
	if p := d.problem[t]; p != "" && v.Reason == "" {
		v.Reason = p
	}
	return v
}

// Select finds the tasks that a selector names: job numbers and ranges (3-8,12), JOB/TASK, last, all. It is for any asker: acting on them
// is another matter. Nothing is found is an error.
func (d *Daemon) Select(selector string) ([]sched.TaskID, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []sched.TaskID
	// A selector may name jobs twice, but not again and again: a short one must not become a long list.
	bound := 2*d.kernel.Known() + maxAgain
	alone := func(j *Job) {
		if len(out) > bound {
			return
		}
		for t := j.First; t < j.First+sched.TaskID(j.Tasks); t++ {
			out = append(out, t)
		}
	}
	whole := func(j *Job) {
		alone(j)
		for _, id := range d.parts[j.ID] {
			alone(&d.jobs[id])
		}
	}
	for part := range strings.SplitSeq(selector, ",") {
		if len(out) > bound {
			return nil, fmt.Errorf("%w: the selector names the same jobs again and again", ErrBad)
		}
		part = strings.TrimSpace(part)
		switch part {
		case "":
			return nil, fmt.Errorf("%w: an empty selector", ErrBad)
		case "all":
			for i := range d.jobs {
				alone(&d.jobs[i])
			}
			continue
		case "last":
			if len(d.jobs) == 0 {
				return nil, fmt.Errorf("%w: there is no job yet", ErrNotFound)
			}
			whole(&d.jobs[d.jobs[len(d.jobs)-1].Of])
			continue
		}
		number, task, hasTask := strings.Cut(part, "/")
		from, to, isRange := strings.Cut(number, "-")
		if !isRange {
			to = from
		}
		lo, err := strconv.Atoi(from)
		hi, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || hasTask && isRange {
			return nil, fmt.Errorf("%w: %q: select jobs as 3-8,12, a task as 12/train, or last or all", ErrBad, part)
		}
		switch lacking := max(lo, len(d.jobs)+1); {
		case lo > hi:
			return nil, fmt.Errorf("%w: %q: a range begins with the lower number", ErrBad, part)
		case lo < 1:
			return nil, fmt.Errorf("%w: there is no job %d: the first is 1", ErrNotFound, lo)
		case lacking == hi:
			return nil, fmt.Errorf("%w: there is no job %d (there are %d)", ErrNotFound, hi, len(d.jobs))
		case lacking < hi:
			return nil, fmt.Errorf("%w: there are no jobs %d to %d (there are %d)", ErrNotFound, lacking, hi, len(d.jobs))
		}
		for i := lo; i <= hi; i++ {
			j := &d.jobs[i-1]
			if !hasTask {
				whole(j)
				continue
			}
			t, ok := d.taskOf(j.Of, task)
			if !ok {
				return nil, fmt.Errorf("%w: job %d has no task %q", ErrNotFound, i, task)
			}
			out = append(out, t)
		}
	}
	if !slices.IsSorted(out) || strings.Contains(selector, ",") || len(d.parts) > 0 { // each once, in the order in which it is named
		seen := make(map[sched.TaskID]bool, len(out))
		out = slices.DeleteFunc(out, func(t sched.TaskID) bool {
			was := seen[t]
			seen[t] = true
			return was
		})
	}
	return out, nil
}

// taskOf finds a task of a workflow by its id. It is called under mu.
func (d *Daemon) taskOf(id sched.JobID, task string) (sched.TaskID, bool) {
	for i := -1; i < len(d.parts[id]); i++ {
		j := &d.jobs[id]
		if i >= 0 {
			j = &d.jobs[d.parts[id][i]]
		}
		for t := j.First; t < j.First+sched.TaskID(j.Tasks); t++ {
			if d.book.tb.TaskNames.At(int(t)) == task {
				return t, true
			}
		}
	}
	return 0, false
}

// maxAgain is how many tasks a selector may name besides every one twice.
const maxAgain = 1000

// Tasks returns what is shown of tasks. At most limit of those that keep says yes to, the newest first where newest is set.
func (d *Daemon) Tasks(tasks []sched.TaskID) []Task {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]Task, 0, len(tasks))
	for _, t := range tasks {
		if int(t) < d.kernel.Known() {
			out = append(out, d.view(t))
		}
	}
	return out
}

// All returns every task.
func (d *Daemon) All() []sched.TaskID {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]sched.TaskID, d.kernel.Known())
	for t := range out {
		out[t] = sched.TaskID(t)
	}
	return out
}

// Names returns tasks as the commands take them.
func (d *Daemon) Names(tasks []sched.TaskID) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]string, len(tasks))
	for i, t := range tasks {
		out[i] = d.name(t)
	}
	return out
}

// States are the words that a task's state can be, and the two that stand for several.
func States() []string {
	out := []string{"open", "over"}
	for p := sched.Blocked; p <= sched.Rejected; p++ {
		out = append(out, p.String())
	}
	return out
}

// List returns what is shown of those of the tasks that are in one of the states (of any, where there are none): the newest limit of them,
// 0 being no limit, and how many older ones that left out.
func (d *Daemon) List(tasks []sched.TaskID, states []string, limit int) (list []Task, more int, err error) {
	var want [sched.Rejected + 1]bool
	for _, s := range states {
		known := false
		for p := sched.Blocked; p <= sched.Rejected; p++ {
			if s == p.String() || s == "over" && p.Over() || s == "open" && !p.Over() {
				want[p], known = true, true
			}
		}
		if !known {
			return nil, 0, fmt.Errorf("%w: unknown state %q (known: %s)", ErrBad, s, strings.Join(States(), ", "))
		}
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var kept []sched.TaskID
	for i := len(tasks) - 1; i >= 0; i-- {
		if t := tasks[i]; len(states) == 0 || want[d.kernel.Phase(t)] {
			if limit > 0 && len(kept) == limit {
				more++
				continue
			}
			kept = append(kept, t)
		}
	}
	list = make([]Task, len(kept))
	for i, t := range kept {
		list[len(kept)-1-i] = d.view(t)
	}
	return list, more, nil
}

// Status is the daemon at a glance.
type Status struct {
	Policy  string  `json:"policy"`
	NowS    float64 `json:"now_s"`
	Epoch   string  `json:"epoch"` // of all times, RFC 3339
	Jobs    int     `json:"jobs"`
	Tasks   int     `json:"tasks"` // of which the next five tell
	Queued  int     `json:"queued"`
	Blocked int     `json:"blocked"`
	Running int     `json:"running"`
	Over    int     `json:"over"`
	Aside   int     `json:"aside"` // held, in backoff, or about to take the room of what is stopping
	Nodes   []Node  `json:"nodes"`
	Problem string  `json:"problem,omitempty"` // why nothing is accepted or started
}

// Node is what is shown of a node. Capacities that are not stated are left out.
type Node struct {
	Name      string  `json:"name"`
	Up        bool    `json:"up"`
	Drained   string  `json:"drained,omitempty"` // why nothing is started there
	CPU       float64 `json:"cpu,omitempty"`     // cores
	CPUFree   float64 `json:"cpu_free"`
	MemGB     float64 `json:"mem_gb,omitempty"`
	MemFreeGB float64 `json:"mem_free_gb"`
	GPUs      int32   `json:"gpus,omitempty"`
	GPUsFree  float64 `json:"gpus_free"` // shares as fractions
	GPUType   string  `json:"gpu_type,omitempty"`
}

// Status returns the daemon at a glance.
func (d *Daemon) Status() Status {
	d.mu.RLock()
	defer d.mu.RUnlock()
	k := d.kernel
	s := Status{
		Policy: d.policy, NowS: d.loop.Now().Seconds(), Epoch: d.loop.Zero().UTC().Format("2006-01-02T15:04:05.000Z"), Jobs: len(d.jobs),
		Tasks: k.Known(), Queued: k.Queued(), Blocked: k.Blocked(), Running: k.Running(), Over: k.Over(), Nodes: []Node{},
	}
	for _, parts := range d.parts {
		s.Jobs -= len(parts)
	}
	s.Aside = s.Tasks - s.Queued - s.Blocked - s.Running - s.Over
	room, n := k.Room(), d.here()
	spec := room.Spec(n)
	v := Node{
		Name: spec.Name, Up: room.Up(n), Drained: d.drained(), GPUs: spec.GPUs, GPUsFree: float64(room.FreeGPUMilli(n)) / sched.Whole, GPUType: spec.GPUType,
	}
	if spec.CPU != sched.Unlimited {
		v.CPU, v.CPUFree = float64(spec.CPU)/1000, float64(room.FreeCPU(n))/1000
	}
	if spec.Mem != sched.Unlimited {
		v.MemGB, v.MemFreeGB = float64(spec.Mem)/gib, float64(room.FreeMem(n))/gib
	}
	s.Nodes = append(s.Nodes, v)
	s.Problem = d.unwritten()
	return s
}

// unwritten says why the state file cannot be written; "" where it can. What is shown then is ahead of it by the batch that is being written.
func (d *Daemon) unwritten() string {
	d.reqMu.Lock()
	defer d.reqMu.Unlock()
	if d.fault == nil || errors.Is(d.fault, errStopping) {
		return ""
	}
	return strings.TrimPrefix(d.fault.Error(), ErrUnavailable.Error()+": ")
}

// notBegun says what keeps a task that is placed from beginning, where that is something wrong. It is called under mu.
func (d *Daemon) notBegun(t sched.TaskID) string {
	n := d.kernel.Attempt(t)
	at, begun := d.began[attemptKey{t, n}]
	if why := d.unwritten(); why != "" && (!begun || at == d.kernel.Now()) {
		return why
	}
	if begun {
		return ""
	}
	return d.runner.Short(t, n)
}

// drained says why nothing is started on this machine; "" where it is. It has not gone while this runs on it: one that is not up is
// drained. It is called under mu.
func (d *Daemon) drained() string {
	if d.kernel.Room().Up(d.here()) {
		return ""
	}
	return cmp.Or(d.isBroken(), "by hand")
}

const gib = 1 << 30
