package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Violation is one broken promise, in words for people.
type Violation struct {
	Rule string       // short and stable: "capacity", "devices", "constraint", "node-down", "gang", "attempts", "precedence", "service", "outcome", "end", "stream", "csv", "lost-work"
	Task sched.TaskID // Nobody if it is about no one task
	At   sched.Time
	Text string
}

func (v Violation) String() string {
	s := v.Rule + ": "
	if v.Task != sched.Nobody {
		s += fmt.Sprintf("task %d: ", v.Task)
	}
	return fmt.Sprintf("%s%s (at %s)", s, v.Text, stamp(v.At))
}

func stamp(t sched.Time) string {
	if t == sched.Never {
		return "never"
	}
	return time.Duration(t).String()
}

// checker collects the violations of one schedule.
type checker struct {
	c     Case
	found []Violation
}

func (k *checker) bad(rule string, t sched.TaskID, at sched.Time, format string, args ...any) {
	k.found = append(k.found, Violation{rule, t, at, fmt.Sprintf(format, args...)})
}

// Check tells everything that is wrong with a schedule: the spans as a Recorder saw them, against the case and the outcomes that the
// books under test report. An empty result means that no promise was broken:
//
//   - capacity of CPU, memory, GPU shares and VRAM per device on every node at every instant; GPU sets of the right size within the node
//   - GPU type, labels and taints allow the node; the node was up
//   - all replicas of a gang start in one start; one attempt at a time, numbered from 1
//   - no task before its submission or the end of its predecessors, nor before its backoff is over
//   - service given = run time (see work.go), also across preemptions; with Saving, that of what was saved (see saving.go), and what is lost adds up
//   - outcomes agree with the spans, waits are not negative, every task is over
func Check(c Case, spans []Span, outcome func(sched.TaskID) sched.Outcome) []Violation {
	if c.Links != nil {
		c.waits = c.Links.follow(&c, spans, outcome)
	}
	k := &checker{c: c}
	n := len(c.Table.Tasks)
	byTask := make([][]*Span, n)
	ok := make([]*Span, 0, len(spans))
	for i := range spans {
		s := &spans[i]
		if s.Task < 0 || int(s.Task) >= n {
			k.bad("stream", s.Task, s.Start, "no such task")
			continue
		}
		byTask[s.Task] = append(byTask[s.Task], s)
		if k.placements(s) {
			ok = append(ok, s)
		}
	}
	k.capacity(ok)
	k.nodesUp(ok)
	for t := range n {
		k.task(sched.TaskID(t), byTask[t], outcome)
	}
	k.lostWork()
	return k.found
}

// placements checks what one start says on its own and reports whether it can be counted against the nodes.
func (k *checker) placements(s *Span) bool {
	d := k.c.Table.DemandOf(s.Task)
	var replicas int64
	countable := true
	for _, p := range s.On {
		replicas += int64(p.Replicas)
		if p.Node < 0 || int(p.Node) >= len(k.c.Nodes) {
			k.bad("constraint", s.Task, s.Start, "attempt %d on node %d, which does not exist", s.Attempt, p.Node)
			countable = false
			continue
		}
		if p.Replicas < 1 {
			k.bad("gang", s.Task, s.Start, "attempt %d has %d replicas on node %s", s.Attempt, p.Replicas, k.c.Nodes[p.Node].Name)
			countable = false
			continue
		}
		node := &k.c.Nodes[p.Node]
		if why := deviceFault(d, node, p); why != "" {
			k.bad("devices", s.Task, s.Start, "attempt %d on node %s: %s", s.Attempt, node.Name, why)
			countable = false
		}
		if why := forbidden(d, node); why != "" {
			k.bad("constraint", s.Task, s.Start, "attempt %d on node %s: %s", s.Attempt, node.Name, why)
		}
	}
	if replicas != int64(d.Gang) {
		k.bad("gang", s.Task, s.Start, "attempt %d starts %d replicas together, the gang is %d", s.Attempt, replicas, d.Gang)
	}
	return countable
}

// deviceFault says what is wrong with the GPU set of a placement, "" if nothing.
func deviceFault(d *sched.Demand, node *sched.NodeSpec, p sched.Placement) string {
	have, top := 0, -1
	for i := range 64 {
		if p.GPUs>>i&1 == 1 {
			have++
			top = i
		}
	}
	want := int64(p.Replicas) * int64(d.Need.GPUs)
	switch {
	case d.Need.GPUs == 0:
		if have != 0 {
			return fmt.Sprintf("holds %d GPUs and asks for none", have)
		}
	case node.GPUs > sched.MaxDevices: // a pool: counted
		if have != 0 {
			return fmt.Sprintf("names %d GPUs of a pool, whose GPUs have no index", have)
		}
		if d.Need.GPUMilli != sched.Whole {
			return "a share of a GPU of a pool, which gives whole GPUs only"
		}
		if node.VRAM < sched.Unlimited && d.Need.VRAM > node.VRAM { // all there is to check where devices are not told apart
			return fmt.Sprintf("%d bytes of VRAM on GPUs with %d", d.Need.VRAM, node.VRAM)
		}
	case top >= int(node.GPUs):
		return fmt.Sprintf("GPU %d of a node with %d", top, node.GPUs)
	case int64(have) != want:
		return fmt.Sprintf("%d GPUs for %d replicas that ask for %d each", have, p.Replicas, d.Need.GPUs)
	case d.Need.GPUMilli < sched.Whole && d.Need.GPUs > 1:
		return fmt.Sprintf("a share of %d/1000 on %d GPUs", d.Need.GPUMilli, d.Need.GPUs)
	}
	return ""
}

// forbidden says why the node may not take the task even if it is empty, "" if it may. Amounts are not looked at.
func forbidden(d *sched.Demand, node *sched.NodeSpec) string {
	if d.Need.GPUs > 0 && len(d.GPUTypes) > 0 {
		allowed := false
		for _, want := range d.GPUTypes {
			allowed = allowed || sched.SameGPU(want, node.GPUType)
		}
		if !allowed {
			return fmt.Sprintf("GPU type %q is not among %q", node.GPUType, d.GPUTypes)
		}
	}
	for _, want := range d.Labels {
		has := false
		for _, l := range node.Labels {
			has = has || (l.Key == want.Key && l.Value == want.Value)
		}
		if !has {
			return fmt.Sprintf("lacks the label %s=%s", want.Key, want.Value)
		}
	}
	for _, not := range d.NotLabels {
		for _, l := range node.Labels {
			switch {
			case l.Key != not.Key:
			case not.Any:
				return fmt.Sprintf("has the label %s, which it must not", l.Key)
			case l.Value == not.Value:
				return fmt.Sprintf("has the label %s=%s, which it must not", l.Key, l.Value)
			}
		}
	}
	for _, taint := range node.Taints {
		if taint.Effect != "NoSchedule" && taint.Effect != "NoExecute" {
			continue
		}
		tolerated := false
		for _, tol := range d.Tolerations {
			effect := tol.Effect == "" || tol.Effect == taint.Effect
			key := tol.Key == "" || tol.Key == taint.Key
			value := tol.Exists || tol.Value == taint.Value
			tolerated = tolerated || (effect && key && value)
		}
		if !tolerated {
			return fmt.Sprintf("the taint %s=%s:%s is not tolerated", taint.Key, taint.Value, taint.Effect)
		}
	}
	return ""
}

// usage is what is held on one node.
type usage struct {
	cpu, mem int64
	pool     int64 // GPUs of a pool
	milli    []int64
	vram     []int64
}

// turn is a start (+1) or an end (-1) of one placement.
type turn struct {
	at    sched.Time
	class int   // without an order: 0 ends, 1 what starts and ends at one instant, 2 starts
	order int64 // the recorder's order, 0 if there is none
	sign  int64
	span  int
	place int
}

// capacity sweeps over the schedule. With a recorder's order it checks after every single start; with times alone, ends come before
// starts and what takes no time is held against what runs across its instant.
func (k *checker) capacity(spans []*Span) {
	turns := make([][]turn, len(k.c.Nodes))
	for i, s := range spans {
		for j, p := range s.On {
			end := s.Until(j)
			a := turn{s.Start, 2, s.begin, +1, i, j}
			b := turn{end, 0, s.doneOrder(j), -1, i, j}
			if s.begin == 0 && end == s.Start {
				a.class, b.class = 1, 1
			}
			turns[p.Node] = append(turns[p.Node], a)
			if s.How != Open || end != sched.Never {
				turns[p.Node] = append(turns[p.Node], b)
			}
		}
	}
	for n := range turns {
		list := turns[n]
		slices.SortStableFunc(list, func(a, b turn) int {
			if a.order != 0 && b.order != 0 {
				return cmp.Compare(a.order, b.order)
			}
			if c := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.class, b.class)); c != 0 || a.class != 1 {
				return c
			}
			return cmp.Or(cmp.Compare(a.span, b.span), cmp.Compare(b.sign, a.sign))
		})
		node := &k.c.Nodes[n]
		use := usage{milli: make([]int64, 64), vram: make([]int64, 64)}
		for i, t := range list {
			s := spans[t.span]
			use.add(k.c.Table.DemandOf(s.Task), node, s.On[t.place], t.sign)
			// A gang's placements on one node start together: look after the last of them.
			if t.sign > 0 && (i+1 == len(list) || list[i+1].span != t.span || list[i+1].sign < 0) {
				if why := use.over(node); why != "" {
					k.bad("capacity", s.Task, t.at, "attempt %d overfills node %s: %s", s.Attempt, node.Name, why)
				}
			}
		}
	}
}

func (u *usage) add(d *sched.Demand, node *sched.NodeSpec, p sched.Placement, sign int64) {
	r := int64(p.Replicas)
	u.cpu = plus(u.cpu, sign*times(r, d.Need.CPU))
	u.mem = plus(u.mem, sign*times(r, d.Need.Mem))
	if node.GPUs > sched.MaxDevices {
		u.pool += sign * r * int64(d.Need.GPUs)
		return
	}
	for i := range 64 {
		if p.GPUs>>i&1 == 1 {
			u.milli[i] += sign * int64(d.Need.GPUMilli)
			u.vram[i] = plus(u.vram[i], sign*d.Need.VRAM)
		}
	}
}

func (u *usage) over(node *sched.NodeSpec) string {
	var why []string
	if node.CPU < sched.Unlimited && u.cpu > node.CPU {
		why = append(why, fmt.Sprintf("%d of %d milli-CPU", u.cpu, node.CPU))
	}
	if node.Mem < sched.Unlimited && u.mem > node.Mem {
		why = append(why, fmt.Sprintf("%d of %d bytes of memory", u.mem, node.Mem))
	}
	if u.pool > int64(node.GPUs) {
		why = append(why, fmt.Sprintf("%d of %d GPUs", u.pool, node.GPUs))
	}
	for i := range u.milli {
		if u.milli[i] > sched.Whole {
			why = append(why, fmt.Sprintf("%d/1000 of GPU %d", u.milli[i], i))
		}
		if node.VRAM < sched.Unlimited && u.vram[i] > node.VRAM {
			why = append(why, fmt.Sprintf("%d of %d bytes on GPU %d", u.vram[i], node.VRAM, i))
		}
	}
	return strings.Join(why, ", ")
}

// nodesUp checks that nothing is held on a node between its loss and its return.
func (k *checker) nodesUp(spans []*Span) {
	downs := k.c.downs()
	for _, s := range spans {
		for j, p := range s.On {
			for _, d := range downs[p.Node] {
				end := s.Until(j)
				if (s.Start > d.from && s.Start < d.to) || max(s.Start, d.from) < min(end, d.to) {
					k.bad("node-down", s.Task, max(s.Start, d.from), "attempt %d holds node %s, which was lost at %s", s.Attempt, k.c.Nodes[p.Node].Name, stamp(d.from))
				}
			}
		}
	}
}

type interval struct{ from, to sched.Time }

// downs returns when each node was down, from the script.
func (c *Case) downs() [][]interval {
	out := make([][]interval, len(c.Nodes))
	faults := append([]Fault(nil), c.Faults...)
	slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	for _, f := range faults {
		if f.Attempt != 0 || f.Node < 0 || int(f.Node) >= len(c.Nodes) {
			continue
		}
		list := out[f.Node]
		open := len(list) > 0 && list[len(list)-1].to == sched.Never
		switch {
		case f.Up && open:
			list[len(list)-1].to = f.At
		case !f.Up && !open:
			out[f.Node] = append(list, interval{f.At, sched.Never})
		}
	}
	return out
}

// task checks one task: its attempts in order, its service, its outcome.
func (k *checker) task(t sched.TaskID, spans []*Span, outcome func(sched.TaskID) sched.Outcome) {
	o := outcome(t)
	submit := k.c.Table.Tasks[t].Submit

	// The attempts, one at a time.
	for i, s := range spans {
		if i == 0 && s.Attempt != 1 {
			k.bad("attempts", t, s.Start, "the first attempt is number %d", s.Attempt)
		}
		if s.End < s.Start {
			k.bad("attempts", t, s.Start, "attempt %d ends at %s, before it starts", s.Attempt, stamp(s.End))
		}
		if i > 0 {
			if s.Attempt <= spans[i-1].Attempt {
				k.bad("attempts", t, s.Start, "attempt %d follows attempt %d", s.Attempt, spans[i-1].Attempt)
			}
			if s.Start < spans[i-1].End {
				k.bad("attempts", t, s.Start, "attempt %d starts while attempt %d runs until %s", s.Attempt, spans[i-1].Attempt, stamp(spans[i-1].End))
			}
			if h := spans[i-1].How; h == Complete || h == Cut {
				k.bad("attempts", t, s.Start, "attempt %d starts though attempt %d was %s", s.Attempt, spans[i-1].Attempt, h)
			}
		}
	}

	// Precedence.
	ready, free := submit, true
	for _, p := range k.c.Table.Preds(t) {
		q := outcome(p)
		if q.Phase != sched.Done {
			free = false
			if len(spans) > 0 {
				k.bad("precedence", t, spans[0].Start, "starts though its predecessor %d is %s", p, q.Phase)
			}
			continue
		}
		ready = max(ready, q.End)
	}
	if len(spans) > 0 && spans[0].Start < ready {
		k.bad("precedence", t, spans[0].Start, "starts before it is ready at %s", stamp(ready))
	}

	k.backoff(t, spans)
	if k.c.Saving != nil {
		k.saved(t, spans, o, outcome)
	} else {
		k.service(t, spans, o, outcome)
	}

	// The outcome against the spans.
	if !o.Phase.Over() {
		k.bad("end", t, sched.Never, "is %s when all is over", o.Phase)
		return
	}
	if o.End == sched.Never || o.End < submit {
		k.bad("outcome", t, o.End, "is %s, but its end is %s and it was submitted at %s", o.Phase, stamp(o.End), stamp(submit))
	}
	if int(o.Attempts) != len(spans) {
		k.bad("outcome", t, o.End, "counts %d attempts, %d were seen", o.Attempts, len(spans))
	}
	var held time.Duration
	for _, s := range spans {
		held += s.End.Sub(s.Start)
	}
	if o.Held != held {
		k.bad("outcome", t, o.End, "held resources for %s, the attempts add up to %s", o.Held, held)
	}
	wantStart, wantNode := sched.Never, sched.NoNode
	if len(spans) > 0 {
		last := spans[len(spans)-1]
		wantStart = spans[0].Start
		if len(last.On) > 0 {
			wantNode = last.On[0].Node
		}
		if last.How == Open {
			k.bad("end", t, last.Start, "is %s, but attempt %d still runs", o.Phase, last.Attempt)
		}
		if (last.How == Complete) != (o.Phase == sched.Done) && last.How != Unsaid {
			k.bad("outcome", t, o.End, "is %s, but its last attempt was %s", o.Phase, last.How)
		}
		if (o.Phase == sched.Done || last.How == Cut) && o.End != last.End {
			k.bad("outcome", t, o.End, "is %s at %s, but its last attempt ended at %s", o.Phase, stamp(o.End), stamp(last.End))
		}
		if o.End < last.End {
			k.bad("outcome", t, o.End, "is %s before its last attempt ends at %s", o.Phase, stamp(last.End))
		}
		if o.Phase == sched.Failed && last.How != Cut {
			fails := 0
			for _, s := range spans {
				if s.How == Broken || s.How == Lost {
					fails++
				}
			}
			if retries := int(k.c.Table.ClassOf(t).Retries); fails <= retries {
				k.bad("outcome", t, o.End, "failed for good after %d failures, with %d retries", fails, retries)
			}
		}
	} else if o.Phase == sched.Done {
		k.bad("outcome", t, o.End, "is done and never ran")
	}
	if o.Start != wantStart {
		k.bad("outcome", t, o.Start, "first start is said to be %s and was %s", stamp(o.Start), stamp(wantStart))
	}
	if o.Node != wantNode {
		k.bad("outcome", t, o.Start, "node is said to be %d and was %d", o.Node, wantNode)
	}
	if free && o.Phase == sched.Dropped {
		k.bad("outcome", t, o.End, "is dropped though all its predecessors are done")
	}
	if !free && o.Phase != sched.Dropped && o.Phase != sched.Rejected {
		k.bad("outcome", t, o.End, "is %s though a predecessor is not done", o.Phase)
	}
	if free && (o.Phase == sched.Done || o.Phase == sched.Failed) {
		if o.Ready != ready {
			k.bad("outcome", t, o.Ready, "is said to be ready at %s and was at %s", stamp(o.Ready), stamp(ready))
		} else if o.Wait() < 0 {
			k.bad("outcome", t, o.End, "waited %s", o.Wait())
		}
	}
	if !free && o.Ready != sched.Never {
		k.bad("outcome", t, o.Ready, "is said to be ready at %s though a predecessor is not done", stamp(o.Ready))
	}
}

// backoff checks the pause after a failed attempt and that retries are not more than allowed.
func (k *checker) backoff(t sched.TaskID, spans []*Span) {
	cl := k.c.Table.ClassOf(t)
	fails := 0
	for i, s := range spans {
		if s.How != Broken {
			continue
		}
		fails++
		if i+1 == len(spans) {
			continue
		}
		next := spans[i+1]
		if fails > int(cl.Retries) {
			k.bad("attempts", t, next.Start, "attempt %d starts after %d failures, with %d retries", next.Attempt, fails, cl.Retries)
		}
		pause := cl.Backoff
		for range min(fails-1, 6) { // doubled each time, up to 64 times
			pause *= 2
		}
		if next.Start.Sub(s.End) < pause {
			k.bad("attempts", t, next.Start, "attempt %d starts %s after failure %d, its backoff is %s", next.Attempt, next.Start.Sub(s.End), fails, pause)
		}
	}
}
