package check

import (
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Links says how the input of tasks comes to nodes where links are modelled. It mirrors what a simulator may be told, and is worked out anew from
// the attempts that were seen, in the order of their starts.
type Links struct {
	OneByOne bool // the fetches of a node come one after the other
	Ahead    bool // a successor that waits for nothing but running or finished tasks has its input fetched behind that of a task that starts
	// Copy, if any, is how long so many bytes take from the node's memory to its GPU; again: tasks of that kind were staged there before.
	Copy func(bytes int64, again bool) time.Duration
}

// spanStart names an attempt by its task and start.
type spanStart struct {
	task  sched.TaskID
	start sched.Time
}

// follow works out how long every attempt waits for its data.
func (l *Links) follow(c *Case, spans []Span, outcome func(sched.TaskID) sched.Outcome) map[spanStart]time.Duration {
	byStart := make([]*Span, 0, len(spans))
	of := map[sched.TaskID][]*Span{}
	for i := range spans {
		byStart = append(byStart, &spans[i])
		of[spans[i].Task] = append(of[spans[i].Task], &spans[i])
	}
	slices.SortFunc(byStart, func(a, b *Span) int { return int(a.begin - b.begin) })
	busy := map[sched.NodeID]sched.Time{}
	// What has come to a node, or is on its way there, stays until the node is lost: where a task starts again it only has it copied.
	type place struct {
		task sched.TaskID
		node sched.NodeID
	}
	type brought struct {
		asked sched.Time
		at    sched.Time // in the node's memory; on its GPU where it was fetched ahead
		ahead bool
	}
	here, ahead, downs := map[place]brought{}, map[sched.TaskID]bool{}, c.downs()
	lost := func(n sched.NodeID, from, to sched.Time) bool {
		return slices.ContainsFunc(downs[n], func(d interval) bool { return d.from > from && d.from <= to })
	}
	type kindAt struct {
		kind sched.KindID
		node sched.NodeID
	}
	seen := map[kindAt]bool{}
	fetch := func(t sched.TaskID, n sched.NodeID, from sched.Time) sched.Time {
		in, node := c.Table.Data[t], &c.Nodes[n]
		if in.Input <= 0 || in.At == node.Name && in.At != "" {
			return from
		}
		sending := time.Duration(0)
		if node.StorageMBps > 0 {
			sending = time.Duration(math.Round(float64(in.Input) * 1000 / node.StorageMBps))
		}
		if sending+node.StorageLatency > 0 {
			if l.OneByOne && busy[n] > from {
				from = busy[n]
			}
			busy[n] = from.Add(sending)
			from = from.Add(sending + node.StorageLatency)
		}
		return from
	}
	copied := func(t sched.TaskID, n sched.NodeID, from sched.Time) sched.Time {
		in := c.Table.Data[t]
		if in.Input > 0 && l.Copy != nil && c.Table.DemandOf(t).Need.GPUs > 0 {
			k := kindAt{c.Table.ClassOf(t).Kind, n}
			from = from.Add(l.Copy(in.Input, seen[k]))
			seen[k] = true
		}
		return from
	}
	// started and not over, or finished, when the attempt s was ordered to start; what starts in the same batch counts.
	running := func(p sched.TaskID, s *Span) bool {
		for _, q := range of[p] {
			if q.batch <= s.batch && (q.How == Complete || q.How == Open || q.end > s.begin) {
				return true
			}
		}
		return false
	}
	out := map[spanStart]time.Duration{}
	for _, s := range byStart {
		there := s.Start
		for i, p := range s.On {
			if p.Node < 0 || int(p.Node) >= len(c.Nodes) || slices.ContainsFunc(s.On[:i], func(q sched.Placement) bool { return q.Node == p.Node }) {
				continue // a gang on shares of GPUs names its node again
			}
			b, ok := here[place{s.Task, p.Node}]
			if !ok || lost(p.Node, b.asked, s.Start) {
				b = brought{asked: s.Start, at: fetch(s.Task, p.Node, s.Start)}
			}
			if at := max(b.at, s.Start); b.ahead {
				there = max(there, at)
			} else {
				there = max(there, copied(s.Task, p.Node, at))
			}
			b.ahead = false
			here[place{s.Task, p.Node}] = b
		}
		sent := c.sent(s.Task, s.Start, s.On, func(p sched.TaskID) (sched.Time, sched.NodeID) {
			q := outcome(p)
			return q.End, q.Node
		})
		there = max(there, s.Start.Add(sent))
		out[spanStart{s.Task, s.Start}] = there.Sub(s.Start)
		if !l.Ahead {
			continue
		}
		behind := there
		for _, u := range c.Table.Succs(s.Task) {
			if ahead[u] || slices.ContainsFunc(c.Table.Preds(u), func(p sched.TaskID) bool { return !running(p, s) }) {
				continue
			}
			n := s.On[0].Node
			behind = copied(u, n, fetch(u, n, behind))
			here[place{u, n}], ahead[u] = brought{s.Start, behind, true}, true
		}
	}
	return out
}
