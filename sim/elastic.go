package sim

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/policies/sched/scale"
	"github.com/schedlab/schedlab/traces"
)

// Elastic is the model of queues that scale (S18): the cluster is a pool of equal nodes, of which as many are on as the queues' replicas add up
// to. A replica is a node's worth of capacity: with several queues, each holds at most its replicas' CPU and GPUs (a quota of the kernel's), on
// whichever nodes of the pool. Once in Rules.Sync, at whole multiples of it on the trace's axis, the rule of package scale sets the
// replicas of each queue by its backlog, the tasks that are ready and wait; a queue gets at least as many nodes as its largest waiting task needs to fit, which the
// rule itself does not know of (a backlog below the target would never be served). Of a pool too small for all, high tiers get theirs
// first (scale.Share). A policy may set the replicas itself (Round.Scale): they stay until the next decision of the rule.
//
// More replicas: nodes that are being emptied are kept, then nodes that are off are switched on; they take tasks Provisioning later. Fewer:
// nodes that are still coming up are given up, latest first, then those with the fewest tasks are drained: they start nothing more and are off
// when their last task has ended. At the start the minima are on. A node costs from the order to switch it on until it is off.
//
//	node_hours = sum over nodes of (time on, coming up or draining) / 3600 s     cost = node_hours x price
type Elastic struct {
	Queues       []ElasticQueue `yaml:"queues"`       // by name; the one without a name stands for all that are not named
	Provisioning time.Duration  `yaml:"provisioning"` // from the order to switch a node on until it takes tasks
}

// ElasticQueue says how one queue scales. Zero values are the defaults of scale.Rules and of the tier.
type ElasticQueue struct {
	Name       string        `yaml:"name,omitempty"`
	Tier       string        `yaml:"tier,omitempty"`        // high, normal or low
	Min        int32         `yaml:"min,omitempty"`         // replicas; 2
	Max        int32         `yaml:"max,omitempty"`         // 10
	Backlog    int64         `yaml:"backlog,omitempty"`     // waiting tasks that one replica should serve; 1000
	Tolerance  float64       `yaml:"tolerance,omitempty"`   // 0.1; negative: none
	Sync       time.Duration `yaml:"sync,omitempty"`        // 15s; the same for all queues
	UpWindow   time.Duration `yaml:"up_window,omitempty"`   // stabilization; negative: none
	DownWindow time.Duration `yaml:"down_window,omitempty"` // likewise
}

// ElasticUsage says how the text is written that ParseElastic reads.
const ElasticUsage = "provisioning=60s;queue=serve,tier=high,max=8;tier=low,min=1,backlog=100 (without queue: all others); also tolerance, sync, up-window, down-window; or default"

// ParseElastic reads provisioning=60s;queue=serve,tier=high;tier=low: what is said of the queues, separated by semicolons. provisioning is of all of them, wherever it
// stands.
func ParseElastic(text string) (*Elastic, error) {
	e := &Elastic{}
	if text == "default" {
		e.Queues = []ElasticQueue{{}}
		return e, nil
	}
	const unsaid = math.MinInt64
	e.Provisioning = unsaid
	for _, part := range strings.Split(text, ";") {
		var q ElasticQueue
		var all time.Duration = unsaid
		if err := parseFields("elastic", part, ElasticUsage, append(q.fields(), field{"provisioning", &all})); err != nil {
			return nil, err
		}
		if all != unsaid {
			if e.Provisioning != unsaid {
				return nil, fmt.Errorf("elastic: provisioning is said twice in %q", text)
			}
			if e.Provisioning = all; q == (ElasticQueue{}) {
				continue
			}
		}
		e.Queues = append(e.Queues, q)
	}
	if e.Provisioning == unsaid {
		e.Provisioning = 0
	}
	if len(e.Queues) == 0 {
		e.Queues = []ElasticQueue{{}}
	}
	return e, e.Check()
}

func (q *ElasticQueue) fields() []field {
	return []field{
		{"queue", &q.Name},
		{"tier", &q.Tier},
		{"min", &q.Min},
		{"max", &q.Max},
		{"backlog", &q.Backlog},
		{"tolerance", &q.Tolerance},
		{"sync", &q.Sync},
		{"up-window", &q.UpWindow},
		{"down-window", &q.DownWindow},
	}
}

// String is how ParseElastic reads it.
func (e *Elastic) String() string {
	var parts []string
	if e.Provisioning > 0 {
		parts = append(parts, "provisioning="+sched.ShortDuration(e.Provisioning))
	}
	for i := range e.Queues {
		if text := printFields(e.Queues[i].fields()); text != "" {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return "default"
	}
	return strings.Join(parts, ";")
}

// Check reports what cannot be, whatever the workload and the nodes.
func (e *Elastic) Check() error {
	if e == nil {
		return nil
	}
	if err := checkDelays(delay{"elastic: provisioning", e.Provisioning}); err != nil {
		return err
	}
	for i := range e.Queues {
		q := &e.Queues[i]
		if slices.ContainsFunc(e.Queues[:i], func(x ElasticQueue) bool { return x.Name == q.Name }) {
			if q.Name == "" {
				return errors.New("elastic: two parts name no queue; only one can stand for all others")
			}
			return fmt.Errorf("elastic: queue %q has two parts", q.Name)
		}
		rules, _, err := q.rules()
		if err == nil {
			err = rules.Check()
		}
		if err == nil {
			err = checkDelays(delay{"sync", q.Sync}, delay{"up-window", max(q.UpWindow, 0)}, delay{"down-window", max(q.DownWindow, 0)})
		}
		if err != nil {
			return fmt.Errorf("elastic: queue %q: %w", q.Name, err)
		}
	}
	return nil
}

// Absent names the queues of which something is said and that have no task.
func (e *Elastic) Absent(w *traces.Workload) (out []string) {
	if e == nil {
		return nil
	}
	have := queuesOf(w)
	for _, q := range e.Queues {
		if q.Name != "" && !slices.Contains(have, q.Name) {
			out = append(out, q.Name)
		}
	}
	return out
}

// unsaid is the error of a queue of which nothing is said. Whoever misspelt one is told which there are.
func (e *Elastic) unsaid(w *traces.Workload, name string) error {
	what, have := fmt.Sprintf("queue %q", name), queuesOf(w)
	if name == "" {
		what = "tasks without a queue"
	}
	text := fmt.Sprintf("elastic: nothing is said of %s, and nothing of all others, which a part without queue= does", what)
	if absent := e.Absent(w); len(absent) > 0 {
		text += fmt.Sprintf("; no task is of queue %q", absent[0])
	}
	if have = slices.DeleteFunc(have, func(q string) bool { return q == "" }); len(have) > 0 {
		text += fmt.Sprintf("; there are %s", quoted(have))
	}
	return errors.New(text)
}

// queuesOf returns the queues that have tasks.
func queuesOf(w *traces.Workload) (out []string) {
	used := make([]bool, len(w.Queues))
	for i := range w.Tasks {
		used[w.ClassOf(sched.TaskID(i)).Queue] = true
	}
	for q, name := range w.Queues {
		if used[q] {
			out = append(out, name)
		}
	}
	return out
}

// quoted lists names, the first ten of them.
func quoted(names []string) string {
	var out []string
	for _, n := range names[:min(len(names), 10)] {
		out = append(out, strconv.Quote(n))
	}
	if len(names) > 10 {
		out = append(out, "...")
	}
	return strings.Join(out, ", ")
}

// rules returns the queue's rules, with the defaults of its tier.
func (q *ElasticQueue) rules() (scale.Rules, scale.Tier, error) {
	tier, err := scale.ParseTier(q.Tier)
	if err != nil {
		return scale.Rules{}, 0, err
	}
	r := scale.Rules{Min: int(q.Min), Max: int(q.Max), Target: q.Backlog, ToleranceMilli: int(q.Tolerance*1000 + 0.5), Sync: q.Sync}
	if q.Tolerance < 0 {
		r.ToleranceMilli = -1
	}
	r.Up.Window, r.Down.Window = q.UpWindow, q.DownWindow
	return tier.Apply(r), tier, nil
}

type nodePower uint8

const (
	off nodePower = iota
	booting
	on
	draining
)

// elastic is the model at work.
type elastic struct {
	sched.Policy // the run's own; what it is told is counted on the way
	r            *run
	delay, sync  time.Duration
	queues       []scaledQueue
	of           []int32 // QueueID -> index in queues
	need         []int32 // DemandID -> nodes that one task takes to fit
	ready        []bool  // TaskID -> counted as waiting

	power  []nodePower
	upAt   []sched.Time // of nodes that are coming up
	busy   []int32      // tasks that hold room on the node
	broken []bool       // lost, and not back
	recast bool         // a node was lost: count busy anew

	tick     sched.Time // the next decision of the rule
	decided  sched.Time // the last one; before the first, the start
	asleep   bool       // nothing waits and all is at its minimum: the rule would change nothing
	scaled   bool       // a policy has set replicas: act on it in the next batch
	quotas   bool
	paid     int
	paidFrom sched.Time
	nodeNS   float64 // node x ns
	scalings int64
	asks     []scale.Ask
	got      []int
}

type scaledQueue struct {
	name    string
	ctl     *scale.Controller
	tier    scale.Tier
	told    int     // replicas that it has
	wish    int     // that it would have
	backlog int     // tasks that are ready
	waiting []int32 // of them, by the nodes that one takes
}

// newElastic checks the settings against the workload and the pool.
func newElastic(r *run) (*elastic, error) {
	c, w, nodes := r.Elastic, r.Workload, r.Nodes
	e := &elastic{Policy: r.Policy, r: r, delay: c.Provisioning, power: make([]nodePower, len(nodes)), upAt: make([]sched.Time, len(nodes)), busy: make([]int32, len(nodes)), broken: make([]bool, len(nodes))}
	for i := range nodes {
		if a, b := nodes[0], nodes[i]; !sameKind(a, b) {
			return nil, fmt.Errorf("elastic: a pool is of equal nodes, and %s is another than %s", b.Name, a.Name)
		}
	}
	used := make([]bool, len(w.Queues))
	for i := range w.Tasks {
		used[w.ClassOf(sched.TaskID(i)).Queue] = true
	}
	e.of = make([]int32, len(w.Queues))
	minima := 0
	for q, name := range w.Queues {
		if !used[q] {
			continue
		}
		var set *ElasticQueue
		for i := range c.Queues {
			if x := &c.Queues[i]; x.Name == name || x.Name == "" && set == nil {
				set = x
			}
		}
		if set == nil {
			return nil, c.unsaid(w, name)
		}
		rules, tier, err := set.rules()
		if err != nil {
			return nil, fmt.Errorf("elastic: queue %q: %w", name, err)
		}
		ctl, err := scale.New(rules)
		if err != nil {
			return nil, fmt.Errorf("elastic: queue %q: %w", name, err)
		}
		if e.sync != 0 && e.sync != ctl.Rules.Sync {
			return nil, fmt.Errorf("elastic: queue %q decides every %v, another every %v", name, ctl.Rules.Sync, e.sync)
		}
		e.sync = ctl.Rules.Sync
		e.of[q] = int32(len(e.queues))
		lo := ctl.Rules.Min
		minima += lo
		e.queues = append(e.queues, scaledQueue{name: name, ctl: ctl, tier: tier, told: lo, wish: lo, waiting: make([]int32, len(nodes)+1)})
	}
	if minima > len(nodes) {
		return nil, fmt.Errorf("elastic: the queues' minima add up to %d replicas, and the pool has %d nodes", minima, len(nodes))
	}
	e.quotas = len(e.queues) > 1
	if e.quotas && used[0] && w.Queues[0] == "" {
		return nil, errors.New("elastic: some tasks have a queue and some have none: the replicas of none could not be told apart")
	}
	e.asks, e.got = make([]scale.Ask, len(e.queues)), make([]int, len(e.queues))
	if err := e.sizes(w); err != nil {
		return nil, err
	}
	return e, nil
}

func sameKind(a, b sched.NodeSpec) bool {
	a.Name, b.Name = "", ""
	return reflect.DeepEqual(a, b)
}

// sizes finds out how many nodes a task of each demand takes, and refuses one that its queue can never hold, for it never has those that are the
// least of the others.
func (e *elastic) sizes(w *traces.Workload) error {
	e.need = make([]int32, len(w.Demands))
	for d := range w.Demands {
		lo, hi := 0, len(e.r.Nodes)+1
		for lo+1 < hi {
			if mid := (lo + hi) / 2; sched.CouldEverFit(e.r.Nodes[:mid], &w.Demands[d]) {
				hi = mid
			} else {
				lo = mid
			}
		}
		e.need[d] = int32(hi)
	}
	free := len(e.r.Nodes)
	for i := range e.queues {
		free -= e.queues[i].ctl.Rules.Min
	}
	for i := range w.Tasks {
		cl := w.ClassOf(sched.TaskID(i))
		q := &e.queues[e.of[cl.Queue]]
		most, why := q.ctl.Rules.Max, ""
		if n := q.ctl.Rules.Min + free; n < most {
			most, why = n, fmt.Sprintf(": the pool has %d, less the minima of the other queues", len(e.r.Nodes))
		}
		if int(e.need[cl.Demand]) > most {
			return fmt.Errorf("elastic: task %s asks for %s, which takes %d nodes, and queue %q scales to %d%s",
				w.TaskNames.At(i), w.DemandOf(sched.TaskID(i)), e.need[cl.Demand], q.name, most, why)
		}
	}
	return nil
}

// start gives the facts of the beginning: what is not needed is off before anything arrives.
func (e *elastic) start(at sched.Time) {
	e.paidFrom, e.decided = at, at
	n := 0
	for i := range e.queues {
		n += e.queues[i].told
	}
	for i := range e.power {
		if i < n {
			e.power[i] = on
		}
	}
	e.paid = n
	e.tick = sched.Never
	e.asleep = true
	e.ready = make([]bool, len(e.r.tb.Tasks))
}

// Observe counts what waits.
func (e *elastic) Observe(s *sched.State, ev sched.Event) {
	switch ev.Kind {
	case sched.TaskReady:
		e.waits(ev.Task, true)
	case sched.TaskBlocked, sched.TaskDropped:
		e.waits(ev.Task, false)
	}
	e.Policy.Observe(s, ev)
}

func (e *elastic) waits(t sched.TaskID, yes bool) {
	if e.ready[t] == yes {
		return
	}
	e.ready[t] = yes
	cl := e.r.tb.ClassOf(t)
	q, d := &e.queues[e.of[cl.Queue]], 1
	if !yes {
		d = -1
	}
	q.backlog += d
	q.waiting[e.need[cl.Demand]] += int32(d)
}

func (e *elastic) next() sched.Time {
	at := e.tick
	if e.scaled {
		at = e.r.k.Now()
	}
	for i, p := range e.power {
		if p == booting {
			at = min(at, e.upAt[i])
		}
	}
	return at
}

// fault takes in that a node is lost or back, and reports whether that is to be told: one that is off, or on its way there, stays so.
func (e *elastic) fault(n sched.NodeID, up bool) bool {
	if n < 0 || int(n) >= len(e.power) {
		return !up || n >= 0
	}
	e.broken[n] = !up
	return !up || e.power[n] == on
}

// switchedOn takes in that a node is on. One that is broken takes tasks only when it is back.
func (e *elastic) switchedOn(i int, in []sched.Event) []sched.Event {
	e.power[i] = on
	if e.broken[i] {
		return in
	}
	return append(in, nodeFact(sched.NodeUp, i))
}

func (e *elastic) tell(now sched.Time, in []sched.Event) []sched.Event {
	k := e.r.k
	if e.r.batches == 1 {
		for i, p := range e.power {
			if p == off {
				in = append(in, nodeFact(sched.NodeDrain, i))
			}
		}
		for i := range e.queues {
			in = e.quota(in, &e.queues[i])
		}
	}
	for i := range in {
		switch ev := &in[i]; ev.Kind {
		case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
			if ph := k.Phase(ev.Task); k.Attempt(ev.Task) == ev.Attempt && (ph == sched.Running || ph == sched.Stopping) {
				for _, p := range k.Placements(ev.Task) {
					e.busy[p.Node]--
				}
			}
		case sched.NodeDown:
			e.recast = true
		}
	}
	for i, p := range e.power {
		if p == booting && e.upAt[i] <= now {
			in = e.switchedOn(i, in)
		}
	}
	decided := e.scaled
	e.scaled = false
	if e.tick <= now {
		e.decide(now)
		decided = true
	}
	if decided {
		in = e.act(now, in)
	}
	return in
}

func nodeFact(kind sched.EventKind, node int) sched.Event {
	return sched.Event{Kind: kind, Task: sched.Nobody, Node: sched.NodeID(node)}
}

// decide asks the rule.
func (e *elastic) decide(now sched.Time) {
	e.tick, e.decided = now.Add(e.sync), now
	e.asleep = true
	for i := range e.queues {
		q := &e.queues[i]
		r := &q.ctl.Rules
		q.wish = max(q.ctl.Step(int64(now), q.told, scale.Total(int64(q.backlog), q.told)), min(q.floor(), r.Max))
		e.asleep = e.asleep && q.backlog == 0 && q.told == r.Min && q.wish == r.Min
	}
	if e.asleep {
		e.tick = sched.Never
	}
}

// floor returns the nodes that the largest waiting task takes.
func (q *scaledQueue) floor() int {
	if q.backlog > 0 {
		for n := len(q.waiting) - 1; n > 0; n-- {
			if q.waiting[n] > 0 {
				return n
			}
		}
	}
	return 0
}

// act shares the pool out and makes the nodes follow.
func (e *elastic) act(now sched.Time, in []sched.Event) []sched.Event {
	for i := range e.queues {
		q := &e.queues[i]
		e.asks[i] = scale.Ask{Tier: q.tier, Min: q.ctl.Rules.Min, Want: q.wish, Need: q.floor()}
	}
	scale.Share(len(e.power), e.asks, e.got)
	want := 0
	for i := range e.queues {
		q := &e.queues[i]
		if want += e.got[i]; q.told != e.got[i] {
			q.told = e.got[i]
			e.scalings++
			in = e.quota(in, q)
		}
	}
	have := 0
	for _, p := range e.power {
		if p == on || p == booting {
			have++
		}
	}
	for ; have < want; have++ {
		if i := e.pick(draining, func(a, b int) bool { return e.busy[a] > e.busy[b] }); i >= 0 {
			in = e.switchedOn(i, in)
			continue
		}
		i := e.pick(off, func(a, b int) bool { return e.broken[b] && !e.broken[a] })
		e.pay(now, +1)
		if e.power[i], e.upAt[i] = booting, now.Add(e.delay); e.delay == 0 {
			in = e.switchedOn(i, in)
		}
	}
	for ; have > want; have-- {
		if i := e.pick(booting, func(a, b int) bool { return e.upAt[a] >= e.upAt[b] }); i >= 0 {
			e.power[i] = off
			e.pay(now, -1)
			continue
		}
		i := e.pick(on, func(a, b int) bool { return e.busy[a] <= e.busy[b] })
		e.power[i] = draining // off in carry, if nothing runs there
		in = append(in, nodeFact(sched.NodeDrain, i))
	}
	return in
}

// pick returns the best node of that power, the first of equals where better is strict, the last where it is not; -1 if there is none.
func (e *elastic) pick(p nodePower, better func(a, b int) bool) int {
	best := -1
	for i := range e.power {
		if e.power[i] == p && (best < 0 || better(i, best)) {
			best = i
		}
	}
	return best
}

// quota tells what a queue may hold.
func (e *elastic) quota(in []sched.Event, q *scaledQueue) []sched.Event {
	if !e.quotas {
		return in
	}
	n, spec := int64(q.told), &e.r.Nodes[0]
	quota := &sched.Quota{Queue: q.name, CPU: n * spec.CPU, GPUMilli: n * int64(spec.GPUs) * sched.Whole}
	if spec.CPU >= sched.Unlimited {
		quota.CPU = -1
	}
	return append(in, sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: quota}})
}

func (e *elastic) carry(now sched.Time, out []sched.Command) {
	for i := range out {
		switch c := &out[i]; c.Kind {
		case sched.Start:
			e.waits(c.Task, false)
			for _, p := range c.On {
				e.busy[p.Node]++
			}
		case sched.Scale:
			if q := int(c.Queue); q >= 0 && q < len(e.of) {
				x := &e.queues[e.of[q]]
				x.wish = min(max(int(c.Replicas), x.ctl.Rules.Min), x.ctl.Rules.Max)
				e.scaled = true
			}
		}
	}
	if e.recast {
		e.recast = false
		clear(e.busy)
		for t := range e.r.k.RunningTasks() {
			for _, p := range e.r.k.Placements(t) {
				e.busy[p.Node]++
			}
		}
	}
	for i, p := range e.power {
		if p == draining && e.busy[i] == 0 {
			e.power[i] = off
			e.pay(now, -1)
			if e.r.stager != nil {
				e.r.stager.lost(sched.NodeID(i))
			}
		}
	}
	if e.asleep && e.r.k.Queued() > 0 {
		e.wake(now)
	}
}

// wake starts the clock of the rule again. The last of the decisions that were left out, in which nothing waited, is made up for: it is all of
// them that a stabilization window can still see.
func (e *elastic) wake(now sched.Time) {
	e.asleep = false
	sync := sched.Time(e.sync)
	last := now / sync * sync
	if last > now { // below zero
		last -= sync
	}
	if e.tick = last.Add(e.sync); last <= e.decided {
		return
	}
	e.decided = last
	for i := range e.queues {
		q := &e.queues[i]
		q.ctl.Step(int64(last), q.told, scale.Total(0, q.told))
	}
}

// pay changes the number of nodes that cost.
func (e *elastic) pay(now sched.Time, d int) {
	e.nodeNS += float64(e.paid) * float64(now.Sub(e.paidFrom))
	e.paid += d
	e.paidFrom = now
}
