package policies

import (
	"strings"

	"github.com/schedlab/schedlab/policies/realtime"
	"github.com/schedlab/schedlab/policies/sched"
)

// templates are the periodic tasks whose releases have arrived. A driver tells each release as a task of its own; those of one class whose
// names differ in what stands after the last # are releases of one template. C is the longest estimate among them.
type templates struct {
	set     realtime.Set
	one     []sched.TaskID // a release of each: the lowest of those that have arrived
	of      []int32        // by TaskID, up to the last of a template: index in set, -1 = of no template
	at      map[template]int32
	changed bool // since somebody put it back to false
}

type template struct {
	name  string
	class sched.ClassID
}

// observe takes in what arrives. The templates stand in the order of their first releases, whatever the order in which these arrive.
func (p *templates) observe(s *sched.State, e *sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		if int(e.Task) < len(p.of) {
			p.rebuild(s)
			return
		}
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			p.add(s, t)
		}
	case sched.Updated:
		if p.template(e.Task) >= 0 {
			p.rebuild(s)
		}
	}
}

// rebuild does all from the beginning: a release came late, or an estimate was updated.
func (p *templates) rebuild(s *sched.State) {
	p.set, p.one, p.of, p.changed = p.set[:0], p.one[:0], p.of[:0], true
	clear(p.at)
	for t := range sched.TaskID(s.Known()) {
		if s.Phase(t) != sched.Unknown {
			p.add(s, t)
		}
	}
}

func (p *templates) add(s *sched.State, t sched.TaskID) {
	c := s.Class(t)
	if c.Period <= 0 {
		return
	}
	for len(p.of) <= int(t) {
		p.of = append(p.of, -1)
	}
	key := template{s.Table().TaskNames.At(int(t)), s.Task(t).Class}
	if i := strings.LastIndexByte(key.name, '#'); i >= 0 {
		key.name = key.name[:i]
	}
	i, ok := p.at[key]
	if !ok {
		if p.at == nil {
			p.at = map[template]int32{}
		}
		i = int32(len(p.set))
		key.name = strings.Clone(key.name)
		p.at[key] = i
		p.set = append(p.set, realtime.Task{Name: key.name, T: c.Period, D: c.RelDeadline})
		p.one = append(p.one, t)
		p.changed = true
	}
	p.of[t] = i
	if k := &p.set[i]; s.Estimate(t) > k.C {
		k.C, p.changed = s.Estimate(t), true
	}
}

// template returns the index of t's template, or -1.
func (p *templates) template(t sched.TaskID) int32 {
	if int(t) >= len(p.of) {
		return -1
	}
	return p.of[t]
}
