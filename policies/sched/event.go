package sched

import (
	"slices"
	"time"
)

// EventKind names a fact. Every input that can change a decision is a fact.
type EventKind uint8

// The facts. Drivers send those up to Wake; the kernel adds the rest for the policy.
const (
	_ EventKind = iota
	// Ends.
	Finished       // Task, Attempt; Done = the work of the task, 0 if not known
	FailedAttempt  // Task, Attempt; Done = work kept; Value > 0 = the backoff in ns, instead of the class's; < 0: it is final. Retried after the backoff while retries last, or, where N is 1, at any rate: what the attempt needed was away, and that takes no retry
	Killed         // Task, Attempt: over, for good, whatever retries are left (a run cut at its limit)
	Stopped        // Task, Attempt; Done = work kept: the order to stop was carried out
	CheckpointDone // Task, Attempt; Done = work saved; Value = for how long that held the work up, ns, 0 if not known
	Started        // Task, Attempt: it really runs (optional; room is taken by the order); Value = for how long its last checkpoint was restored, ns. The kernel adds one when a claim starts
	NodeDown       // Node
	NodeUp         // Node (a known one that was down), or Spec (a new one; the kernel sets Node)
	NodeProfile    // Node, Profile
	DependencyUp   // Name
	DependencyDown // Name
	Cancelled      // Task
	Hold           // Task
	Release        // Task
	Updated        // Task, Value = new estimate in ns
	QuotaSet       // Quota
	PolicySet      // Policy
	NodeDrain      // Node: nothing more is started there until it is told up; what runs runs on. Policies are told a NodeProfile
	// Arrivals.
	EdgeAdded  // Task -> Other
	JobArrived // tasks Task .. Task+N-1 of one job, submitted now
	Wake       // the time that a policy or a backoff asked for has come

	// Added by the kernel.
	TaskReady   // Task may be started (again)
	TaskBlocked // Task may no longer be started (an added edge, a hold)
	TaskDropped // Task is cancelled, or failed for good
)

var eventNames = [...]string{
	"", "finished", "failed", "killed", "stopped", "checkpointed", "started", "node-down", "node-up", "node-profile",
	"dependency-up", "dependency-down", "cancelled", "hold", "release", "updated", "quota", "policy", "node-drain", "edge", "arrived", "wake", "ready", "blocked", "dropped",
}

func (k EventKind) String() string { return eventNames[k] }

// EventKindOf returns the kind that String calls name.
func EventKindOf(name string) (EventKind, bool) {
	for k, n := range eventNames {
		if n == name && n != "" {
			return EventKind(k), true
		}
	}
	return 0, false
}

// Event is one fact. Which fields mean something stands beside its kind.
type Event struct {
	Kind    EventKind
	Task    TaskID
	Other   TaskID
	N       int32
	Node    NodeID
	Attempt int32
	Done    time.Duration // work done, on a node of reference speed
	Value   int64
	More    *Detail // what rare facts carry
}

// Set makes e a fact of a task without a node, for drivers that reuse their facts: it writes nothing else than it must.
func (e *Event) Set(kind EventKind, t TaskID, n, attempt int32, done time.Duration) {
	e.Kind, e.Task, e.Other, e.N, e.Node, e.Attempt, e.Done, e.Value = kind, t, 0, n, NoNode, attempt, done, 0
	if e.More != nil {
		e.More = nil
	}
}

// Detail carries the payload of rare facts.
type Detail struct {
	Spec    *NodeSpec
	Profile *Profile
	Quota   *Quota
	Policy  Policy
	Name    string
}

// Profile is what a sampler saw of a node. It lowers what the ledger offers (use by others) and serves scores; it never raises it.
type Profile struct {
	SampledAt   Time
	OtherCPU    int64   // milli-CPU used by others
	OtherMem    int64   // bytes used by others
	OtherGPUs   Devices // held by others: nothing more is placed there (on a pool of more than MaxDevices GPUs it is not told)
	GPULoad     float64
	Latency     time.Duration
	Connections int32
}

// Quota bounds what the running tasks of a tenant or a queue hold together, and how many they are. A negative bound is none.
type Quota struct {
	Tenant, Queue string // exactly one is set
	CPU           int64  // milli-CPU
	GPUMilli      int64
	Tasks         int64 // that run at once, as the workers of a queue; 0 is no bound either

	// Cohort, if not "", names tenants, or queues, that lend each other what they do not use of CPU and GPUMilli. See cohort.go for the rule.
	Cohort                    string
	BorrowCPU, BorrowGPUMilli int64 // what may be held above CPU and GPUMilli, negative: all that is idle
	Reclaim                   bool  // what others have borrowed of it is taken back by preemption; else as they end
}

// Bounds reports whether the quota bounds anything.
func (q Quota) Bounds() bool { return q.CPU >= 0 || q.GPUMilli >= 0 || q.Tasks > 0 }

// CommandKind names an order.
type CommandKind uint8

// The orders.
const (
	_ CommandKind = iota
	Start
	Stop
	Checkpoint
	Scale
	Reject
)

var commandNames = [...]string{"", "start", "stop", "checkpoint", "scale", "reject"}

func (k CommandKind) String() string { return commandNames[k] }

// Command is one order to the driver. It carries the attempt, so that late reports and late orders of old attempts are told apart.
type Command struct {
	Kind     CommandKind
	Cause    Cause // Reject
	Task     TaskID
	Attempt  int32
	Queue    QueueID     // Scale
	Replicas int32       // Scale
	On       []Placement // Start; owned by the kernel, valid until the next Step
}

// Policy decides which ready tasks run, and where. It is driven by one goroutine and needs no locks. All it keeps must follow from
// the facts it observed and the State, so that a kernel restored from a snapshot, whose policy is told the present as facts
// (JobArrived by TaskID, Started for what runs in the order of start, then TaskReady in the order of readiness), decides as the first one
// would have.
type Policy interface {
	// Observe tells one fact, after the state has taken it in. It may update the policy's own indexes; it cannot act.
	Observe(s *State, e Event)
	// Decide runs once per batch of facts: all ends, then all arrivals. Facts that its own orders cause at once (Stopped at zero
	// cost) form the next batch of the same instant.
	Decide(r *Round)
}

// Keeper is a Policy that keeps more than what follows from the facts and the State, as promises that it has made. A snapshot holds what Keep
// appends to b; a new policy that was told the present gets it from Recall, and must then decide as the first would have. Recall refuses what cannot be.
// A policy that takes over from another (PolicySet) is told the present only.
type Keeper interface {
	Policy
	Keep(s *State, b []byte) []byte
	Recall(s *State, b []byte) error
}

// Ignorer is a Policy that may not need to be told of arrivals: where IgnoresArrivals says so of p, the kernel tells it that tasks are ready and leaves out
// JobArrived, which comes before. p is the policy itself, or what it is embedded in.
type Ignorer interface {
	Policy
	IgnoresArrivals(p Policy) bool
}

// SortBatch puts the facts of one instant in the order in which drivers tell them: reports on tasks by TaskID, then the other changes in
// the order given, then arrivals by TaskID, then added edges in the order given. Both drivers use it, so that one history gives one sequence of facts.
func SortBatch(in []Event) {
	for i := 1; i < len(in); i++ { // most come in order
		if in[i].before(&in[i-1]) {
			slices.SortStableFunc(in, func(a, b Event) int {
				switch {
				case a.before(&b):
					return -1
				case b.before(&a):
					return 1
				}
				return 0
			})
			return
		}
	}
}

// before is the order of SortBatch.
func (e *Event) before(f *Event) bool {
	a, b := stage(e.Kind), stage(f.Kind)
	return a < b || a == b && a&1 == 0 && e.Task < f.Task
}

// stage is where in a batch facts of a kind stand. Those of an odd stage keep the order in which they were given.
func stage(k EventKind) int {
	switch {
	case k <= Started:
		return 0
	case k < EdgeAdded:
		return 1
	case k == EdgeAdded: // behind the arrivals: it may be of a job that arrives in this batch
		return 3
	}
	return 2
}
