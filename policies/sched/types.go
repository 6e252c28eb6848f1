package sched

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Time is an instant in nanoseconds on the trace's own axis (SWF: its seconds; dates: the first row is 0). It may be negative and
// is never rebased in output. Live, it counts from the journal's epoch.
type Time int64

// Never is later than every instant; a deadline of Never means that there is none.
const Never Time = math.MaxInt64

// Add returns t+d, and Never where the sum would not fit.
func (t Time) Add(d time.Duration) Time {
	s := t + Time(d)
	if d > 0 && s < t {
		return Never
	}
	return s
}

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Seconds returns t in seconds on the trace's axis.
func (t Time) Seconds() float64 { return float64(t) / 1e9 }

// ShortDuration writes a duration without units of zeros at its end: 10m, not 10m0s.
func ShortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// Seconds returns the Time of s seconds, rounded to the nanosecond, and false where s is not a number or does not fit.
func Seconds(s float64) (Time, bool) {
	ns := math.Round(s * 1e9)
	if !(ns > -(1<<62) && ns < 1<<62) {
		return 0, false
	}
	return Time(ns), true
}

type (
	// TaskID is dense and indexes arrays. Tasks are numbered by (submit, input order of the job, input order of the task).
	TaskID int32
	// JobID is dense, by first submit and input order. Every task belongs to exactly one job.
	JobID int32
	// NodeID is dense, in the order of the cluster's description.
	NodeID int32
	// ClassID indexes Table.Classes, DemandID Table.Demands.
	ClassID int32
	// SpeedsID indexes Table.Speeds; 0 is none.
	SpeedsID int32
	DemandID int32
	// TenantID, QueueID and KindID index Table.Tenants, Table.Queues and Table.Kinds. 0 is the empty name.
	TenantID int32
	QueueID  int32
	KindID   int32
)

// Nobody is the TaskID of no task; NoNode the NodeID of no node.
const (
	Nobody TaskID = -1
	NoNode NodeID = -1
)

// Unlimited is the capacity of a resource that a node does not state: it is not modelled there and never runs out.
const Unlimited int64 = math.MaxInt64 / 4

// Whole is GPUMilli of a whole GPU.
const Whole = 1000

// Task is all that a policy may know of one task besides its class, its estimate and its deadline. The true run time is not here. It is 16 bytes,
// since much passes over all tasks: deadlines, which most traces lack, stand in Table.Deadlines.
type Task struct {
	Submit Time
	Job    JobID
	Class  ClassID
}

// Class is what many tasks have in common, interned, so that a task's record stays small and policies can treat the tasks of a
// class together. It is immutable once in a Table.
type Class struct {
	Demand      DemandID
	Speeds      SpeedsID // its throughput table; 0 = none
	Kind        KindID
	Tenant      TenantID
	Queue       QueueID
	Priority    int32   // larger is more important; used only by policies that say so
	Retries     int32   // how often a failed attempt is tried again
	Criticality float64 // 0..1, latency sensitivity
	Period      time.Duration
	RelDeadline time.Duration // submit to deadline; 0 if none
	Backoff     time.Duration // wait before the first retry, doubled each time up to 64 times; 0 = at once
}

// Demand is what one task asks of the nodes, interned. It is immutable once in a Table.
type Demand struct {
	Need        Need  // of one replica
	Gang        int32 // replicas that start together and stop together, at least 1; several may share a node
	GPUTypes    []string
	Labels      []Label    // the node must carry all of them
	NotLabels   []NotLabel // and none of these
	Tolerations []Toleration
}

// Need is what one replica asks for. RAM and VRAM are granted together or not at all.
type Need struct {
	CPU      int64 // milli-CPU
	Mem      int64 // bytes
	VRAM     int64 // bytes on each of its GPUs; 0 = not stated
	GPUs     int32 // number of devices; at most 1 if GPUMilli < Whole
	GPUMilli int32 // share of each device in 1/1000; Whole when GPUs are whole, 0 when GPUs is 0
}

// GPUTotal returns the GPUs that the whole gang holds, in 1/1000.
func (d *Demand) GPUTotal() int64 {
	return int64(d.Gang) * int64(d.Need.GPUs) * int64(d.Need.GPUMilli)
}

// CPUTotal returns the milli-CPU that the whole gang holds.
func (d *Demand) CPUTotal() int64 { return int64(d.Gang) * d.Need.CPU }

// Label is a node's label, or one that a task asks for.
type Label struct{ Key, Value string }

// Taint keeps tasks off a node unless they tolerate it. Effects NoSchedule and NoExecute both refuse the start here. PreferNoSchedule, the soft one, keeps nothing off:
// searches for room take such a node only where no other has room (Room.TakenLast), and what plans by finish time, or chooses whom to preempt, does not look at it.
type Taint struct{ Key, Value, Effect string }

// Toleration tolerates taints as in Kubernetes: an empty Key tolerates all; Exists ignores Value; an empty Effect matches all effects.
type Toleration struct {
	Key, Value, Effect string
	Exists             bool
}

// Tolerates reports whether t covers the taint.
func (t Toleration) Tolerates(taint Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key == "" {
		return t.Exists || t.Value == taint.Value
	}
	return t.Key == taint.Key && (t.Exists || t.Value == taint.Value)
}

// NodeSpec describes a node. A resource that is not stated is Unlimited (CPU, Mem, VRAM) or none (GPUs).
type NodeSpec struct {
	Name           string
	CPU            int64  // milli-CPU
	Mem            int64  // bytes
	GPUs           int32  // devices. Beyond MaxDevices they are counted and not told apart (a pool), and only whole GPUs can be had.
	GPUType        string // e.g. "A100"
	VRAM           int64  // bytes on each GPU
	SpeedMilli     int64  // 1000 = reference: a task runs for run x 1000 / SpeedMilli; 0 means 1000
	StorageLatency time.Duration
	StorageMBps    float64
	NetworkMbps    float64       // of its link; 0 = not stated, what is sent takes no time on it
	NetworkLatency time.Duration // of its link
	Labels         []Label
	Taints         []Taint
}

// Reference reports whether the node runs work at reference speed.
func (n *NodeSpec) Reference() bool { return n.SpeedMilli == 0 || n.SpeedMilli == Whole }

// Transfer returns how long it takes to send so many bytes from one node to another: the larger latency of the two links, and the bytes at
// the smaller bandwidth. Nothing to send takes no time. Transfers do not share a link: each has all of it, as in the models of list scheduling.
func Transfer(bytes int64, from, to *NodeSpec) time.Duration {
	if bytes <= 0 {
		return 0
	}
	d := max(from.NetworkLatency, to.NetworkLatency)
	mbps := from.NetworkMbps
	if mbps <= 0 || to.NetworkMbps > 0 && to.NetworkMbps < mbps {
		mbps = to.NetworkMbps
	}
	if mbps > 0 {
		if ns := math.Round(float64(bytes) * 8000 / mbps); ns < 1<<62 {
			return d + time.Duration(ns)
		}
		return time.Duration(Never)
	}
	return d
}

// Fetch returns how long a task fetches its input before it works on a node: the latency of the node's storage and the bytes at its bandwidth
// (none stated: no time for them). It is 0 where the input lies on that node, or is nothing.
func Fetch(d *Data, n *NodeSpec) time.Duration {
	if d.Input <= 0 || d.At != "" && d.At == n.Name {
		return 0
	}
	at := n.StorageLatency
	if n.StorageMBps > 0 {
		ns := math.Round(float64(d.Input) * 1000 / n.StorageMBps)
		if ns >= 1<<62 {
			return time.Duration(Never)
		}
		at += time.Duration(ns)
	}
	return at
}

// MaxDevices is the largest number of GPUs on a node whose indexes are told apart: a Devices set has that many bits.
const MaxDevices = 64

// Devices is a set of GPU indexes of a node, bit i for GPU i. It is empty on a node with more than MaxDevices GPUs.
type Devices uint64

// lowest returns the k GPUs of the smallest indexes; all, where there are no more.
func (set Devices) lowest(k int32) Devices {
	if set <= math.MaxUint8 && uint32(k) < uint32(len(lowestOf)) { // how many changes from one task to the next: a loop's end would be guessed wrong
		return Devices(lowestOf[k][set])
	}
	rest := set
	for ; k > 0; k-- {
		rest &= rest - 1
	}
	return set &^ rest
}

// lowestOf has what lowest returns of sets of the first 8 GPUs, as many as most nodes have.
var lowestOf = func() (table [9][256]uint8) {
	for k := range table {
		for set := range table[k] {
			rest := set
			for range k {
				rest &= rest - 1
			}
			table[k][set] = uint8(set &^ rest)
		}
	}
	return table
}()

// Placement says where replicas of a task run: Replicas of them on Node, on the GPUs of the set together.
type Placement struct {
	Node     NodeID
	Replicas int32
	GPUs     Devices
}

// Phase is where a task stands.
type Phase uint8

// The phases of a task.
const (
	Unknown  Phase = iota // its job has not arrived
	Blocked               // waits for predecessors
	Ready                 // may be started
	Claiming              // waits for the victims of its Claim to stop
	Running               // holds resources
	Stopping              // an order to stop it is out; it still holds resources
	Backoff               // failed, waits before it is ready again
	Held                  // taken out by a user until released
	Done                  // finished
	Failed                // failed for good, or killed
	Dropped               // cancelled: by a user, or because a predecessor failed
	Rejected              // refused by the policy's admission
)

// Over reports whether the phase is final.
func (p Phase) Over() bool { return p >= Done }

var phaseNames = [...]string{"unknown", "blocked", "ready", "claiming", "running", "stopping", "backoff", "held", "done", "failed", "dropped", "rejected"}

func (p Phase) String() string { return phaseNames[p] }

// Cause says why a task does not run now. The causes' times add up to submit-to-end less holding.
type Cause uint8

// The causes of waiting.
const (
	Dependency   Cause = iota // predecessors are not done
	NoRoom                    // no node has what it asks for
	Order                     // held back by order: reservation, quota, priority, a user's hold. The cause of a ready task that no policy has skipped
	Staging                   // its data is not there
	Preempted                 // from its eviction to its next start
	FailureDelay              // failed or lost its node: backoff, then up to the policy's next word
	Window                    // waits for the decision window
	NumCauses
)

var causeNames = [...]string{"dependency", "no room", "order", "staging", "preempted", "failure", "window"}

func (c Cause) String() string { return causeNames[c] }

// Resource is a kind of capacity.
type Resource uint8

// The resources that a task can lack.
const (
	NoResource Resource = iota
	CPU
	Memory
	GPU
	VRAM
	Constraint // GPU type, label or taint: no node of the right kind
)

var resourceNames = [...]string{"", "cpu", "memory", "gpu", "vram", "constraint"}

func (r Resource) String() string { return resourceNames[r] }

// Outcome is what became of a task, by the kernel's books.
type Outcome struct {
	Phase    Phase
	Attempts int32
	Ready    Time          // first ready; Never if it never was
	Start    Time          // first start; Never if it never started
	End      Time          // finished, failed for good, dropped or rejected; Never if still open
	Held     time.Duration // time holding resources, all attempts
	Node     NodeID        // first node of the last attempt; NoNode if none
}

// Wait returns ready to end less holding (wait in README.md). It is meaningful for tasks that are over and were ready.
func (o Outcome) Wait() time.Duration { return o.End.Sub(o.Ready) - o.Held }

// gib is so many bytes with four digits, and whole from 1000 GiB on.
func gib(bytes int64) string {
	x := float64(bytes) / (1 << 30)
	if x >= 1000 {
		return fmt.Sprintf("%.0f GiB", x)
	}
	return fmt.Sprintf("%.4g GiB", x)
}

// String says what a task asks for, as people write it: `2x(8 GPU of A100|H100, 4 cpu, 16 GiB)`.
func (d *Demand) String() string {
	var parts []string
	n := d.Need
	if n.GPUs > 0 {
		s := fmt.Sprintf("%d GPU", n.GPUs)
		if n.GPUMilli < Whole {
			s = fmt.Sprintf("%g GPU", float64(n.GPUs)*float64(n.GPUMilli)/Whole)
		}
		if len(d.GPUTypes) > 0 {
			s += " of " + strings.Join(d.GPUTypes, "|")
		}
		if n.VRAM > 0 {
			s += " with " + gib(n.VRAM) + " VRAM"
		}
		parts = append(parts, s)
	}
	if n.CPU > 0 {
		parts = append(parts, fmt.Sprintf("%g cpu", float64(n.CPU)/1000))
	}
	if n.Mem > 0 {
		parts = append(parts, gib(n.Mem))
	}
	for _, l := range d.Labels {
		parts = append(parts, fmt.Sprintf("label %s=%s", l.Key, l.Value))
	}
	for _, l := range d.NotLabels {
		parts = append(parts, "label "+l.String())
	}
	s := strings.Join(parts, ", ")
	if s == "" {
		s = "nothing"
	}
	if d.Gang > 1 {
		s = fmt.Sprintf("%dx(%s)", d.Gang, s)
	}
	return s
}
