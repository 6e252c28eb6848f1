package priority

import (
	"math"

	"github.com/schedlab/schedlab/policies/sched"
)

// Scope is what an expression is evaluated on: a ready task in a state, and what only a policy keeps.
type Scope struct {
	State *sched.State
	Task  sched.TaskID
	Now   sched.Time // 0 for an order that the present time does not change; see Steady
	Rank  int64      // its upward rank, ns
	Tasks int32      // tasks of its job that have arrived
}

// Change says when the value of a variable changes while a task waits.
type Change uint8

// The kinds of change.
const (
	Fixed Change = iota // with an updated estimate or an added dependency only, of which policies are told
	Clock               // with the time
	State               // with what else happens
)

// Variable is a name that an expression may use.
type Variable struct {
	Name, About string
	Change      Change

	slope float64 // Clock: what a second adds
	num   func(c *Scope) float64
	text  func(c *Scope) string
}

// Text reports whether the variable is a string.
func (v *Variable) Text() bool { return v.text != nil }

const gib = 1 << 30

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

// instant is a time in seconds, +Inf for Never.
func instant(t sched.Time) float64 {
	if t == sched.Never {
		return math.Inf(1)
	}
	return seconds(int64(t))
}

func criticality(c *Scope) float64 { return c.State.Class(c.Task).Criticality }

// Variables are all that an expression can name, in the order of the help.
var Variables = []Variable{
	{Name: "wait", About: "s since it was first ready, less the time that it held resources", Change: Clock, slope: 1, num: func(c *Scope) float64 {
		return seconds(int64(c.Now.Sub(c.State.FirstReady(c.Task)) - c.State.Attained(c.Task)))
	}},
	{Name: "age", About: "s since its submission", Change: Clock, slope: 1, num: func(c *Scope) float64 {
		return seconds(int64(c.Now.Sub(c.State.Task(c.Task).Submit)))
	}},
	{Name: "slack", About: "s to its deadline, less remaining; +Inf without a deadline", Change: Clock, slope: -1, num: func(c *Scope) float64 {
		d := c.State.Deadline(c.Task)
		if d == sched.Never {
			return math.Inf(1)
		}
		return seconds(int64(d.Sub(c.Now) - c.State.Remaining(c.Task)))
	}},
	{Name: "now", About: "s on the trace's axis", Change: Clock, slope: 1, num: func(c *Scope) float64 { return seconds(int64(c.Now)) }},
	{Name: "estimate", About: "s, estimated run time", num: func(c *Scope) float64 { return seconds(int64(c.State.Estimate(c.Task))) }},
	{Name: "remaining", About: "s, estimated work left", num: func(c *Scope) float64 { return seconds(int64(c.State.Remaining(c.Task))) }},
	{Name: "attained", About: "s that it has held resources, all attempts", num: func(c *Scope) float64 { return seconds(int64(c.State.Attained(c.Task))) }},
	{Name: "attempts", About: "how often it was started", num: func(c *Scope) float64 { return float64(c.State.Attempt(c.Task)) }},
	{Name: "submit", About: "s on the trace's axis", num: func(c *Scope) float64 { return seconds(int64(c.State.Task(c.Task).Submit)) }},
	{Name: "ready", About: "s on the trace's axis, when it was first ready", num: func(c *Scope) float64 { return instant(c.State.FirstReady(c.Task)) }},
	{Name: "deadline", About: "s on the trace's axis; +Inf if none", num: func(c *Scope) float64 { return instant(c.State.Deadline(c.Task)) }},
	{Name: "period", About: "s; 0 if none", num: func(c *Scope) float64 { return seconds(int64(c.State.Class(c.Task).Period)) }},
	{Name: "criticality", About: "0..1, latency sensitivity as the trace says", num: criticality},
	{Name: "critical", About: "the same as criticality", num: criticality},
	{Name: "upward_rank", About: "s, longest path of estimates from it to the end of its job, itself included", num: func(c *Scope) float64 { return seconds(c.Rank) }},
	{Name: "priority", About: "as the trace says, larger is more important", num: func(c *Scope) float64 { return float64(c.State.Class(c.Task).Priority) }},
	{Name: "gpus", About: "GPUs of the whole gang, shares as fractions", num: func(c *Scope) float64 { return float64(c.State.Demand(c.Task).GPUTotal()) / 1000 }},
	{Name: "cpu", About: "cores of the whole gang", num: func(c *Scope) float64 { return float64(c.State.Demand(c.Task).CPUTotal()) / 1000 }},
	{Name: "mem_gb", About: "GiB of RAM of the whole gang", num: func(c *Scope) float64 {
		d := c.State.Demand(c.Task)
		return float64(d.Gang) * float64(d.Need.Mem) / gib
	}},
	{Name: "gpu_mem_gb", About: "GiB on each GPU", num: func(c *Scope) float64 { return float64(c.State.Demand(c.Task).Need.VRAM) / gib }},
	{Name: "gang", About: "replicas", num: func(c *Scope) float64 { return float64(c.State.Demand(c.Task).Gang) }},
	{Name: "job_tasks", About: "tasks of its job that have arrived", num: func(c *Scope) float64 { return float64(c.Tasks) }},
	{Name: "tenant", About: "text", text: func(c *Scope) string { return c.State.Table().Tenants[c.State.Class(c.Task).Tenant] }},
	{Name: "queue", About: "text", text: func(c *Scope) string { return c.State.Table().Queues[c.State.Class(c.Task).Queue] }},
	{Name: "kind", About: "text", text: func(c *Scope) string { return c.State.Table().Kinds[c.State.Class(c.Task).Kind] }},
	{Name: "gpu_type", About: "text, the first GPU type that it takes", text: func(c *Scope) string {
		if types := c.State.Demand(c.Task).GPUTypes; len(types) > 0 {
			return types[0]
		}
		return ""
	}},
	{Name: "queued", About: "tasks that are ready and wait", Change: State, num: func(c *Scope) float64 { return float64(c.State.Queued()) }},
	{Name: "running", About: "tasks that hold resources", Change: State, num: func(c *Scope) float64 { return float64(c.State.Running()) }},
	{Name: "free_gpus", About: "GPUs that are not booked, on all nodes", Change: State, num: func(c *Scope) float64 {
		room, free := c.State.Room(), int64(0)
		for i := range room.GPUTypes() {
			capacity, used := room.GPUs(i)
			free += capacity - used
		}
		return float64(free) / 1000
	}},
	{Name: "free_cpu", About: "cores that are not booked, on the nodes that state theirs", Change: State, num: func(c *Scope) float64 {
		capacity, used := c.State.Room().CPU()
		return float64(capacity-used) / 1000
	}},
}

// Functions are what an expression can call.
var Functions = []string{"abs", "ceil", "exp", "floor", "log", "log10", "log2", "max", "min", "round", "sqrt"}

// lookup returns the index of a variable, or -1.
func lookup(name string) int {
	for i := range Variables {
		if Variables[i].Name == name {
			return i
		}
	}
	return -1
}
