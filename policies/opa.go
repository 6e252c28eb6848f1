package policies

import (
	"github.com/schedlab/schedlab/policies/realtime"
	"github.com/schedlab/schedlab/policies/sched"
)

// OPA schedules by fixed priorities that Audsley's optimal priority assignment finds for the periodic tasks whose releases have arrived
// (Audsley 1991; Audsley 2001; realtime.Set.Audsley): if any order of fixed priorities meets all deadlines on one processor, this one does.
// It is that by deadline wherever that will do; the two differ where deadlines come after the ends of periods. Where no order meets all
// deadlines, the tasks that Audsley's algorithm leaves without a level rank highest, by deadline: those below them meet theirs. The assignment
// is made anew when a periodic task is released for the first time, or with a longer estimate than before. Tasks without a period rank last.
//
// Of more than 500 periodic tasks the order is that by deadline: an assignment takes up to n^2/2 analyses of n steps, at each new task.
//
// The analysis is of one processor that runs one task at a time; on a cluster its order is a heuristic, as that of rms.
//
// Make one with NewOPA.
type OPA struct {
	Preemptive
	known  templates
	levels []int64 // by template: 0 is the highest priority
}

// NewOPA returns preemptive scheduling by Audsley's assignment. place may be nil: first fit.
func NewOPA(place Place, skip bool) *OPA {
	p := &OPA{Preemptive: Preemptive{Place: place, Skip: skip}}
	p.Key = func(_ *sched.State, t sched.TaskID) int64 {
		if i := p.known.template(t); i >= 0 && int(i) < len(p.levels) {
			return p.levels[i]
		}
		return never
	}
	return p
}

// Observe keeps the periodic tasks, the lines and the running tasks.
func (p *OPA) Observe(s *sched.State, e sched.Event) {
	p.known.observe(s, &e)
	p.Preemptive.observe(s, &e)
}

// Decide assigns priorities where the periodic tasks have changed, and starts tasks in their order.
func (p *OPA) Decide(r *sched.Round) {
	if p.known.changed {
		p.known.changed = false
		order := realtime.OPA
		if len(p.known.set) > maxAnalyzed {
			order = realtime.DM
		}
		p.levels = levelsOf(p.levels, p.known.set, order)
		p.rekey(r.State)
	}
	p.Preemptive.Decide(r)
}

// maxAnalyzed bounds the periodic tasks that are analyzed while scheduling.
const maxAnalyzed = 500

// levelsOf returns the place of each task in an order of priorities.
func levelsOf(buf []int64, set realtime.Set, o realtime.Order) []int64 {
	buf = buf[:0]
	for range set {
		buf = append(buf, 0)
	}
	for level, i := range set.Ranks(o) {
		buf[i] = int64(level)
	}
	return buf
}

var opaEntry = Entry{
	Name: "opa", Summary: "Audsley's optimal priority assignment for periodic tasks.", Placed: true, Starves: true,
	About: "Fixed priorities under which all periodic tasks meet their deadlines on one processor, if there are any such priorities; by deadline where that will do, " +
		"and where nothing will, the tasks in excess rank highest by deadline. Made anew when a periodic task is first released; of more than 500, by deadline. Tasks without a period rank last and may starve.",
	Source: "Audsley, report YCS 164, University of York 1991; Audsley, Information Processing Letters 2001.", Params: []Param{skipParam},
	New: func(a Args) (sched.Policy, error) { return NewOPA(a.Place, a.Bool("skip")), nil },
}
