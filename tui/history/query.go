package history

import (
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Query asks for the state of a run at one instant, and of it what is on the screen. What is nil is not asked for.
type Query struct {
	At     sched.Time // clipped to what is recorded
	Latest bool       // At is the end of what is recorded, whatever it is
	Curves *CurvesQuery
	Waits  bool // distribution of the waits of finished tasks
	Exact  bool // quantiles of the waits are exact, however many tasks have finished
	Groups int  // so many of the largest tenants
	Nodes  *NodesQuery
	Tasks  *TasksQuery
	Task   *TaskQuery
	Gantt  *GanttQuery
	DAG    *DAGQuery
	Events *EventsQuery
}

// CurvesQuery asks for quantities over time, in equal buckets.
type CurvesQuery struct {
	From, To sched.Time
	Buckets  int
}

// NodesQuery asks for a page of nodes, and for the use of all of them in one number each.
type NodesQuery struct {
	From, Rows int
	Heat       bool
}

// Column is what tasks are sorted by.
type Column uint8

// The columns.
const (
	ByID Column = iota
	ByName
	ByJob
	ByTenant
	ByState
	BySubmit
	ByWait
	ByRun
	ByGPUs
	ByNode
	ByAttempts
	NumColumns
)

// TasksQuery asks for a page of the tasks that have been submitted.
type TasksQuery struct {
	Sort       Column
	Desc       bool
	Filter     string // see ParseFilter; one that does not parse filters nothing and stands in Frame.Tasks.Err
	From, Rows int
	Keep       bool         // the order and what matches may be those of the last question, if only time has moved since
	Find       sched.TaskID // where this task is in the order stands in the answer; Nobody = none
}

// TaskQuery asks for all about one task. Relatives bounds how many predecessors and successors are listed.
type TaskQuery struct {
	Task      sched.TaskID
	Relatives int
	Causes    bool // also why it waited, which takes a pass over what happened meanwhile
}

// GanttQuery asks for who held what over time: a grid of cells.
type GanttQuery struct {
	From, To  sched.Time
	Cols      int
	Row, Rows int
	Lanes     bool // a row for each GPU (and for each place of a node without), else one for each node
}

// DAGQuery asks for a page of the tree of a task's job.
type DAGQuery struct {
	Task       sched.TaskID
	From, Rows int
	Folded     bool           // all branches are folded, but those of Unlike
	Unlike     []sched.TaskID // those whose branch is the other way
}

// EventsQuery asks for the last events up to At that match, Skip of them left out.
type EventsQuery struct {
	Filter string
	Skip   int
	Rows   int
}

// Frame answers a Query. It is a copy: the caller owns it.
type Frame struct {
	At       sched.Time // the instant shown
	From     sched.Time // the first fact
	End      sched.Time // what is recorded goes up to here
	Closed   bool       // nothing comes any more
	Err      string     // why it ended early; "" if it did not
	Version  uint64     // grows with every batch
	Tasks    int        // in the whole workload, as far as it is known
	NumNodes int
	Counts   Counts
	Use      Use
	Metrics  Metrics

	Curves    []Bucket
	Waits     Distribution
	Groups    []Group // the largest tenants
	AllGroups int     // tenants in all
	Nodes     NodesPage
	List      TasksPage
	Task      *TaskDetail
	Gantt     GanttPage
	DAG       DAGPage
	Events    EventsPage
}

// Counts says how many of the submitted tasks stand where, by phase.
type Counts [sched.Rejected + 1]int32

// Queued returns the tasks that are ready (or would be, but for a backoff or a hold).
func (c *Counts) Queued() int32 {
	return c[sched.Ready] + c[sched.Claiming] + c[sched.Backoff] + c[sched.Held]
}

// Running returns the tasks that hold room.
func (c *Counts) Running() int32 { return c[sched.Running] + c[sched.Stopping] }

// Submitted returns all.
func (c *Counts) Submitted() int32 {
	n := int32(0)
	for _, x := range c {
		n += x
	}
	return n
}

// Whole reports whether the frame shows the end of a run whose tasks are all over.
func (f *Frame) Whole() bool {
	return f.Closed && f.At >= f.End && f.Counts.open() == 0 && int(f.Counts.Submitted()) == f.Tasks
}

// Use is what is held of what there is on the nodes that are up. Capacities that are not stated count as 0, and so does what is held there.
type Use struct {
	CPU, CPUs   int64 // milli-CPU
	Mem, Mems   int64 // bytes
	GPU, GPUs   int64 // 1/1000 GPU
	VRAM, VRAMs int64 // bytes
	Up, Nodes   int32
}

// Metrics are README.md's, over what has ended by At, with [first submit, At] as the interval.
type Metrics struct {
	WaitMean, JCTMean, JobWaitMean float64 // s
	WaitP50, WaitP99               float64 // s
	WaitRough                      bool    // these two are within 3 %, and not exact
	Finished, FinishedJobs         int
	Utilization, UtilizationCPU    float64
	Throughput                     float64 // tasks/min
	Makespan                       float64 // s, first submit to the last end so far
	Preemptions, Restarts          int
	Late, WithDeadline             int
}

// Bucket is the mean over a stretch of time.
type Bucket struct {
	Queued, Running, Blocked float64 // tasks
	GPU, CPU                 float64 // shares of the capacity held, 0..1
	Ended                    float64 // tasks that finished in it
	Wait                     float64 // mean wait in s of those, NaN if there are none
	Known                    bool    // it lies at least partly in what is recorded
}

// Distribution is a histogram of waits on a logarithmic axis.
type Distribution struct {
	Upper []float64 // s, upper edges
	Count []int32
	Total int
}

// Group is a tenant's part.
type Group struct {
	Name                  string
	Queued, Running, Done int32
	GPU, CPU              int64 // held, 1/1000
}

// NodeState says whether a node takes tasks.
type NodeState uint8

// The states of nodes.
const (
	Up NodeState = iota
	Draining
	Down
)

func (s NodeState) String() string { return [...]string{"up", "draining", "down"}[s] }

// NodesPage is a page of nodes.
type NodesPage struct {
	From  int
	Rows  []Node
	Heat  []uint8 // use of every node's GPUs (CPUs where it has none), 0..100; HeatDown if it is down
	Total int
}

// HeatDown is the heat of a node that is down.
const HeatDown = 255

// Node is one node.
type Node struct {
	ID          sched.NodeID
	Name        string
	GPUType     string
	State       NodeState
	CPU, CPUs   int64 // milli-CPU held and there; 0 there = not stated
	Mem, Mems   int64
	VRAM, VRAMs int64
	GPU         int64 // 1/1000 held in all
	GPUs        int32
	Devices     []Device // nil where GPUs are only counted
	Holders     int32    // attempts
	Largest     Owner    // who holds most
	Sampled     *Sample  // what was measured; nil where nothing is (a recording never has it, a live source may fill it in)
}

// Sample is what was measured of a node.
type Sample struct {
	CPULoad float64 // 0..1, of all CPUs
	MemUsed int64   // bytes
}

// Device is one GPU.
type Device struct {
	Milli       int32 // held
	VRAM, VRAMs int64
	Owner       Owner // who holds most of it
	Others      int32 // how many share it besides
	Load        int16 // 0..100, measured; -1 where it is not
	UsedVRAM    int64 // bytes, measured; -1 where it is not
}

// Owner names a task that holds something.
type Owner struct {
	Task   sched.TaskID // Nobody if there is none
	Name   string
	Job    int32
	Tenant int32
}

// TasksPage is a page of the task list.
type TasksPage struct {
	From, Total int // of those that match
	Rows        []TaskRow
	Found       int // where Find is; -1 if it does not match
	FoundState  sched.Phase
	Err         string
}

// TaskRow is one task at the instant.
type TaskRow struct {
	ID            sched.TaskID
	Name, Job     string
	Tenant, Queue string
	Kind          string
	State         sched.Phase
	Evicted       bool // it is ready because it was preempted
	Submit        sched.Time
	Wait          time.Duration // ready to now (or its end), less holding
	Run           time.Duration // time holding
	Estimate      time.Duration
	Start, End    sched.Time // first start, end; Never if not yet
	Deadline      sched.Time
	Node          string // first node of the last attempt
	More          int32  // further nodes
	GPUs          int64  // 1/1000, the whole gang
	Attempts      int32
	JobID, Group  int32 // for colours: job, tenant
}

// Attempt is one attempt of a task.
type Attempt struct {
	No         int32
	Start, End sched.Time // Never if it runs
	Outcome    string     // running, finished, failed, killed, stopped, node lost
	Kept       time.Duration
	On         []string // nodes, with their GPUs
}

// TaskDetail is all about one task.
type TaskDetail struct {
	Row          TaskRow
	Demand       string
	Priority     int32
	Retries      int32
	Ready        sched.Time
	Blocked      time.Duration // submit to ready
	Attempts     []Attempt
	Omitted      int // attempts left out at the front
	Preds, Succs []TaskRow
	NumPreds     int
	NumSuccs     int
	Last         string          // the predecessor that ended last
	Causes       []CauseTime     // why it waited so far; they add up to submit-to-now (or end) less holding
	Overtaken    int             // tasks that were ready later and started earlier
	Ahead        int             // ready tasks that have been so for longer
	Timeline     []TimelinePiece // its phases one after the other
}

// CauseTime is how long a task waited for one cause.
type CauseTime struct {
	Cause sched.Cause
	Time  time.Duration
}

// TimelinePiece is a stretch in one phase.
type TimelinePiece struct {
	From, To sched.Time
	Phase    sched.Phase
	Evicted  bool
}

// GanttPage is a grid of cells.
type GanttPage struct {
	Row, Total int // first row, and rows in all
	Rows       []GanttRow
	Names      map[sched.TaskID]string // of the tasks whose bars are at least NameFrom cells long
}

// NameFrom is the length in cells from which a bar has a name.
const NameFrom = 4

// GanttRow is a node, one of its GPUs, or one of its places.
type GanttRow struct {
	Node  sched.NodeID
	Name  string
	Lane  int32 // -1 = the whole node
	GPU   bool  // the lane is a GPU
	First bool  // first row of its node
	Cells []Cell
}

// Cell is who held most of the row in one stretch of time.
type Cell struct {
	Task        sched.TaskID // Nobody = idle
	Attempt     int32
	Job, Tenant int32
	State       CellState
	Fill        uint8 // share of the row and stretch that is held by anybody, 0..100
}

// CellState is how an attempt stands or ended.
type CellState uint8

// The states of cells.
const (
	CellIdle CellState = iota
	CellRunning
	CellDone
	CellFailed
	CellPreempted
	CellFuture // after the instant shown
)

// DAGPage is a page of a job's tree. Every task stands below the predecessor that it waits for longest.
type DAGPage struct {
	Job         string
	Tasks       int
	Edges       int
	Done        int
	Critical    int           // tasks on the critical path
	Length      time.Duration // of it, in estimates
	From, Total int           // of the rows that no fold hides
	Found       int           // row of the task asked for, or of the branch that it is folded into
	Rows        []DAGRow
}

// DAGRow is a line of the tree.
type DAGRow struct {
	Task     TaskRow
	Depth    int32
	Last     uint64 // bit d: the branch at depth d ends here
	Critical bool
	Others   int32 // predecessors besides the one it stands below
	Succs    int32
	Parent   sched.TaskID // that it stands below; Nobody = none
	Below    int32        // tasks in its branch, without itself
	Folded   bool         // they are not shown
	Done     int32        // of Below, where it is folded
}

// EventsPage is a page of events, oldest first.
type EventsPage struct {
	Rows []EventRow
	Skip int // as asked for, or less where there are not so many
	More bool
	Err  string
}

// EventRow is one event.
type EventRow struct {
	At   sched.Time
	What string
	Task sched.TaskID // Nobody if it concerns none
	Name string
	Job  string
	Note string
	To   sched.Phase
}
