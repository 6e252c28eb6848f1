package history

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// eventsScanned bounds how far back a filtered page of events is looked for.
const eventsScanned = 500_000

func (r *Record) eventsPage(q *EventsQuery) EventsPage {
	f, err := ParseFilter(q.Filter)
	p := EventsPage{}
	if err != nil {
		p.Err = err.Error()
		f = Filter{}
	}
	skipped, scanned := 0, 0
	i := r.cur.pos - 1
	if f.Empty() {
		skipped = min(max(q.Skip, 0), max(int(r.cur.pos)-q.Rows, 0))
		i -= int32(skipped)
	}
	for ; i >= 0; i-- {
		if scanned++; scanned > eventsScanned {
			p.More = true
			break
		}
		e := r.log.at(i)
		if !f.Empty() {
			if !f.event(r, e) {
				continue
			}
			if skipped < q.Skip {
				skipped++
				continue
			}
		}
		if len(p.Rows) == q.Rows {
			p.More = true
			break
		}
		p.Rows = append(p.Rows, r.eventRow(e))
	}
	p.Skip = skipped
	slices.Reverse(p.Rows)
	return p
}

func (f *Filter) event(r *Record, e *entry) bool {
	for i := range f.terms {
		q := &f.terms[i]
		ok := false
		switch {
		case q.field == "event":
			ok = q.is(r.what(e))
		case q.field == "state":
			ok = e.task != sched.Nobody && q.phase[sched.Phase(e.to)]
		case q.field == "" && strings.Contains(r.what(e), q.text):
			ok = true
		case e.task != sched.Nobody:
			ok = q.match(r, e.task, e.at)
		case e.kind == entNode:
			ok = (q.field == "" || q.field == "node") && q.is(r.nodes[e.arg].spec.Name)
		}
		if ok == q.not {
			return false
		}
	}
	return true
}

// what names an entry: a word or two.
func (r *Record) what(e *entry) string {
	switch e.kind {
	case entNode:
		return "node " + NodeState(e.to).String()
	case entWord:
		w, _, _ := strings.Cut(r.words[e.arg], " ")
		return w
	case entStopped:
		if e.flags&entEvicted == 0 {
			return "stopped"
		}
	}
	return entryNames[e.kind]
}

func (r *Record) eventRow(e *entry) EventRow {
	x := EventRow{At: e.at, What: r.what(e), Task: e.task, To: sched.Phase(e.to)}
	switch e.kind {
	case entNode:
		x.Name, x.To = r.nodes[e.arg].spec.Name, sched.Unknown
		return x
	case entWord:
		_, x.Note, _ = strings.Cut(r.words[e.arg], " ")
		return x
	}
	x.Name, x.Job = r.name(e.task), r.tb.JobName.At(int(r.tb.Tasks[e.task].Job))
	switch {
	case e.kind == entStart:
		a := r.atts.at(e.arg)
		if a.places > 0 {
			x.Note = "on " + r.placeName(r.places.at(a.place))
		}
		if a.places > 1 {
			x.Note += fmt.Sprintf(" and %d more", a.places-1)
		}
		if a.no > 1 {
			x.Note += fmt.Sprintf(", attempt %d", a.no)
		}
	case e.ended():
		a := r.atts.at(e.arg)
		x.Note = "after " + length(e.at.Sub(a.start))
		if a.kept > 0 {
			x.Note += ", keeps " + length(a.kept)
		}
		if e.kind != entFinish {
			x.Note += ", now " + sched.Phase(e.to).String()
		}
	case e.kind == entEdge:
		x.Note = "after " + r.name(sched.TaskID(e.arg))
	case e.kind == entSubmit:
		x.Note = sched.Phase(e.to).String()
	}
	return x
}

// length prints how long something took, to a hundredth of a second where it took a second.
func length(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(10 * time.Millisecond)
	}
	return d.String()
}
