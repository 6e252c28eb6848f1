package history

import (
	"fmt"
	"sync"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Record is a recorded run. One goroutine feeds it; any may look.
type Record struct {
	mu sync.RWMutex // guards all below but the cursor

	tb    *sched.Table
	tasks []task
	jobs  []job
	nodes []node
	extra extraEdges

	log    chunks[entry]
	atts   chunks[attempt]
	places chunks[place]
	tally  tally   // at the end of the log
	marks  []tally // every markEvery entries, the state before them
	sized  int     // tasks of the table that are counted in jobs
	words  []string
	began  bool
	from   sched.Time
	end    sched.Time
	closed bool
	cut    bool // at end, by the driver: what is open then counts until there
	err    string
	vers   uint64
	noCPU  bool  // a node does not state its CPUs
	whole  Use   // the capacities of all nodes, up or not
	given  int32 // nodes that were there from the start

	saved    saved
	backoffs []backoff // heap
	fails    map[sched.TaskID]int32
	profiles map[sched.NodeID]sched.Profile

	look    sync.Mutex // guards all below: one look at a time
	cur     cursor
	order   taskOrder
	dag     dagMemo
	causes  causeMemo
	curve   curveMemo
	scratch []int32
	binned  [2][]time.Duration // waits of which one is a quantile
}

// task is what is kept of a task besides its row in the table.
type task struct {
	ready, start, end sched.Time // first ready, first start, over; Never if not yet
	wait              time.Duration
	last              int32 // last entry; -1 if none
	att               int32 // last attempt; -1 if none
	waitsFor          int32
	sibling           int32 // the job's task that came before; -1 if none
	attempts          int32
	phase             sched.Phase
	flags             uint8
}

// Flags of tasks.
const (
	flagCancel = 1 << iota
	flagHold
	flagEvicted
)

type job struct {
	submit, start sched.Time // Never if not yet
	last          int32      // last task that arrived; -1 if none
	done, tasks   int32
	told          bool // that all were done
}

type attempt struct {
	start, end sched.Time // Never if it runs
	kept       time.Duration
	task       sched.TaskID
	no         int32
	prev       int32 // attempt of the same task; -1 if none
	place      int32 // places[place : place+places]
	places     int32
	left       int32 // places that still stand
	outcome    outcome
}

type outcome uint8

const (
	runs outcome = iota
	finished
	failed
	killed
	stopped
	lostNode
)

var outcomeNames = [...]string{"running", "finished", "failed", "killed", "stopped", "node lost"}

func (o outcome) String() string { return outcomeNames[o] }

// place is what an attempt holds of one node.
type place struct {
	end      sched.Time // Never if it still stands
	gpus     sched.Devices
	att      int32
	node     sched.NodeID
	replicas int32
	lane     int16 // where it has no GPU that is told apart; -1 otherwise
	_        int16
}

type node struct {
	spec    sched.NodeSpec
	state   NodeState
	known   bool
	taken   []int32      // places, in the order of their start
	latest  []sched.Time // the last end among each blockOf of them; Never while one stands
	free    []uint64     // lanes that are free, of those that are not GPUs
	lanes   int32        // of those, in all
	holding []int32      // places that stand now
}

const blockOf = 64

// New makes the record of a run of the table's tasks on nodes. Tasks are known from their JobArrived on. The table may grow only within Grow.
func New(tb *sched.Table, nodes []sched.NodeSpec) *Record {
	r := &Record{tb: tb, fails: map[sched.TaskID]int32{}}
	for i := range nodes {
		r.addNode(nodes[i])
		r.nodes[i].state, r.nodes[i].known = Up, true
		r.tally.use.setNode(&r.nodes[i].spec, Down, Up)
	}
	r.given = int32(len(nodes))
	r.cur.init(r)
	return r
}

func (r *Record) addNode(spec sched.NodeSpec) sched.NodeID {
	if spec.Name == "" {
		spec.Name = fmt.Sprintf("node-%03d", len(r.nodes)+1)
	}
	r.nodes = append(r.nodes, node{spec: spec, state: Down})
	r.whole.setNode(&spec, Down, Up)
	if spec.CPU >= sched.Unlimited {
		r.noCPU = true
	}
	return sched.NodeID(len(r.nodes) - 1)
}

// Grow calls f, which may append to the table, while nobody looks.
func (r *Record) Grow(f func(*sched.Table)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.tb)
}

// Advance says that nothing happened up to now.
func (r *Record) Advance(now sched.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moveTo(now)
	r.vers++
}

// Cut says that the driver stopped at `now`, whatever was still open. As in the tables the run then lasts until there.
func (r *Record) Cut(now sched.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moveTo(now)
	r.cut = true
	r.vers++
}

// Close says that nothing comes any more, and why if that is an error.
func (r *Record) Close(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if err != nil {
		r.err = err.Error()
	}
	r.vers++
}

// Closed reports whether nothing comes any more.
func (r *Record) Closed() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.closed
}

// Table calls f with the table while it does not grow.
func (r *Record) Table(f func(*sched.Table)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f(r.tb)
}

// TaskNamed returns the task of that name, in the job if one is given, and false if none has arrived.
func (r *Record) TaskNamed(job, name string) (sched.TaskID, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for t := range r.tasks {
		if r.tasks[t].last >= 0 && (r.tb.TaskNames.At(t) == name || r.name(sched.TaskID(t)) == name) && (job == "" || r.tb.JobName.At(int(r.tb.Tasks[t].Job)) == job) {
			return sched.TaskID(t), true
		}
	}
	return sched.Nobody, false
}

func (r *Record) moveTo(now sched.Time) {
	if !r.began {
		r.began, r.from, r.end = true, now, now
		r.tally.at = now
		r.marks = append(r.marks, r.tally)
		return
	}
	r.endBackoffs(now)
	r.end = max(r.end, now)
}

// chunks is a list that grows without being copied.
type chunks[T any] struct {
	c [][]T
	n int
}

const (
	chunkBits = 15
	chunkLen  = 1 << chunkBits
)

func (c *chunks[T]) at(i int32) *T { return &c.c[i>>chunkBits][i&(chunkLen-1)] }

func (c *chunks[T]) add(v T) int32 {
	if c.n == len(c.c)*chunkLen {
		c.c = append(c.c, make([]T, chunkLen))
	}
	i := int32(c.n)
	*c.at(i) = v
	c.n++
	return i
}
