package tui

import (
	"fmt"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// drawDetail draws all about a task on a sheet as long as it takes, and shows the part that is scrolled to.
func (m *model) drawDetail(a area, s *side) {
	d := s.frame.Task
	if f := m.cur().frame.Task; d != nil && f != nil && (d.Row.Name != f.Row.Name || d.Row.Job != f.Row.Job) {
		m.empty(a, "this run has another workload: there is no such task in it")
		return
	}
	if d == nil {
		m.empty(a, "this task is not submitted yet at this time")
		return
	}
	sheet := newCanvas(a.w, 400)
	b := sheet.all()
	y := m.drawFacts(b, s, d)
	y = m.drawTimeline(b, y+1, s, d)
	y = m.drawCauses(b, y+1, d)
	y = m.drawAttempts(b, y+1, s, d)
	chosen := 0
	y, chosen = m.drawNeighbours(b, y+1, s, d)
	off := s.offset[viewDetail]
	if s.cursor[viewDetail] > 0 {
		off = max(min(off, chosen-1), chosen-a.h+2)
	}
	off = max(min(off, y-a.h), 0)
	s.offset[viewDetail] = off
	for r := range min(a.h, sheet.h-off) {
		copy(a.c.cells[(a.y+r)*a.c.w+a.x:][:a.w], sheet.cells[(off+r)*sheet.w:][:a.w])
	}
	if y-off > a.h {
		a.right(a.w-9, a.h-1, 8, style{fg: faint}, m.theme.glyph("more ↓", "more v"))
	}
}

func (m *model) drawFacts(a area, s *side, d *history.TaskDetail) int {
	r := &d.Row
	l := lookOf(r.State, r.Evicted)
	x := a.text(1, 0, style{bold: true}, taskName(*r))
	x = a.text(x+2, 0, style{fg: l.col, bold: true}, m.theme.glyph(l.glyph, l.ascii)+" "+l.word)
	if r.Job != r.Name {
		a.fit(x+2, 0, a.w-x-3, style{fg: faint}, "job "+r.Job)
	}
	at := func(t sched.Time) string {
		if t == sched.Never {
			return "-"
		}
		return s.instant(t)
	}
	node := r.Node
	if r.More > 0 {
		node += fmt.Sprintf(" and %d more", r.More)
	}
	facts := [][2]string{
		{"node", node},
		{"tenant", r.Tenant},
		{"submitted", at(r.Submit)},
		{"ready", at(d.Ready)},
		{"first start", at(r.Start)},
		{"end", at(r.End)},
		{"waited", span(r.Wait)},
		{"ran", span(r.Run)},
		{"estimate", span(r.Estimate)},
		{"attempts", fmt.Sprintf("%d, %d retries allowed", r.Attempts, d.Retries)},
		{"queue, priority", strings.TrimPrefix(fmt.Sprintf("%s, %d", r.Queue, d.Priority), ", ")},
	}
	if r.Kind != "" {
		facts = append(facts, [2]string{"kind", r.Kind})
	}
	if r.Deadline != sched.Never {
		due := at(r.Deadline)
		switch {
		case r.End != sched.Never && r.End > r.Deadline || r.End == sched.Never && s.frame.At > r.Deadline:
			due += " late"
		case r.End != sched.Never:
			due += " met"
		}
		facts = append(facts, [2]string{"deadline", due})
	}
	a.fit(1, 1, 15, style{fg: faint}, "asks for")
	a.fit(17, 1, a.w-18, style{}, d.Demand)
	cols := max(min(a.w/44, 3), 1)
	if a.w >= 76 {
		cols = max(cols, 2)
	}
	w := (a.w - 1) / cols
	y := 2
	for i, kv := range facts {
		x, ly := 1+i%cols*w, 2+i/cols
		if kv[1] == "" {
			kv[1] = "-"
		}
		a.fit(x, ly, 15, style{fg: faint}, kv[0])
		a.fit(x+16, ly, w-17, style{}, kv[1])
		y = ly + 1
	}
	return y
}

// pieceLook is how a stretch of a task's life looks on its timeline.
func (m *model) pieceLook(p history.TimelinePiece) (string, style) {
	l := lookOf(p.Phase, p.Evicted)
	switch p.Phase {
	case sched.Running, sched.Stopping:
		return m.theme.glyph("█", ">"), style{fg: l.col}
	case sched.Blocked, sched.Unknown:
		return m.theme.glyph("░", "."), style{fg: colBlocked}
	case sched.Backoff:
		return m.theme.glyph("▚", "b"), style{fg: l.col}
	case sched.Held:
		return m.theme.glyph("▤", "h"), style{fg: l.col}
	}
	return m.theme.glyph("▒", l.ascii), style{fg: l.col}
}

func (m *model) drawTimeline(a area, y int, s *side, d *history.TaskDetail) int {
	a.line(y, style{fg: faint}, m.theme.rule(), "timeline")
	if len(d.Timeline) == 0 {
		return y + 1
	}
	from, to := d.Timeline[0].From, d.Timeline[len(d.Timeline)-1].To
	w := a.w - 2
	pos := func(t sched.Time) int {
		if to <= from {
			return 0
		}
		return int(float64(t-from) / float64(to-from) * float64(w))
	}
	seen := map[string]bool{}
	x := 1
	for _, p := range d.Timeline {
		g, st := m.pieceLook(p)
		for c := pos(p.From); c < max(pos(p.To), pos(p.From)+1) && c < w; c++ {
			a.text(1+c, y+1, st, g)
		}
		if word := lookOf(p.Phase, p.Evicted).word; !seen[word] && p.Phase != sched.Unknown && !p.Phase.Over() {
			seen[word] = true
			x = a.text(x, y+2, st, g) + 1
			x = a.text(x, y+2, style{fg: faint}, word) + 2
		}
	}
	label := s.instant(from) + " to " + s.instant(to)
	a.right(x, y+2, a.w-x-1, style{fg: faint}, label)
	return y + 3
}

var causeWords = [sched.NumCauses]string{
	sched.Dependency:   "its predecessors were not done",
	sched.NoRoom:       "no node had what it asks for",
	sched.Order:        "there was room, others came first",
	sched.Staging:      "its data was not there",
	sched.Preempted:    "stopped for others",
	sched.FailureDelay: "after a failure",
	sched.Window:       "waited for the next decision",
}

var causeColours = [sched.NumCauses]colour{
	sched.Dependency: colBlocked, sched.NoRoom: colQueued, sched.Order: colHeld, sched.Staging: accent, sched.Preempted: colPreempted,
	sched.FailureDelay: colFailed, sched.Window: faint,
}

func (m *model) drawCauses(a area, y int, d *history.TaskDetail) int {
	a.line(y, style{fg: faint}, m.theme.rule(), "why it waited")
	y++
	sum := 0.0
	for _, c := range d.Causes {
		sum += float64(c.Time)
	}
	if sum == 0 {
		a.text(1, y, style{fg: faint}, "it did not wait")
		return y + 1
	}
	for _, c := range d.Causes {
		part := float64(c.Time) / sum
		x := a.fit(1, y, 12, style{bold: true, fg: causeColours[c.Cause]}, c.Cause.String())
		x = a.right(x, y, 8, style{}, span(c.Time))
		x = a.right(x, y, 6, style{fg: faint}, share(part)) + 1
		g := min(max(a.w-x-36, 8), 40)
		if a.w < 72 { // for its words
			g = -1
		}
		m.theme.gauge(a, x, y, g, part, causeColours[c.Cause])
		a.fit(x+g+1, y, a.w-x-g-2, style{fg: faint}, causeWords[c.Cause])
		y++
	}
	var notes []string
	if d.Last != "" {
		notes = append(notes, "last predecessor done: "+d.Last)
	}
	if d.Overtaken > 0 {
		notes = append(notes, plural(d.Overtaken, "task was", "tasks were")+" ready later and started earlier")
	}
	if d.Ahead > 0 {
		notes = append(notes, plural(d.Ahead, "ready task has", "ready tasks have")+" waited longer")
	}
	for _, n := range notes {
		a.fit(1, y, a.w-2, style{}, n)
		y++
	}
	return y
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + more
}

func (m *model) drawAttempts(a area, y int, s *side, d *history.TaskDetail) int {
	title := "attempts"
	if d.Omitted > 0 {
		title += fmt.Sprintf(", the last %d of %d", len(d.Attempts), len(d.Attempts)+d.Omitted)
	}
	a.line(y, style{fg: faint}, m.theme.rule(), title)
	y++
	if len(d.Attempts) == 0 {
		a.text(1, y, style{fg: faint}, "none yet")
		return y + 1
	}
	const most = 8
	tw := width(s.instant(s.frame.End)) + 1
	first := max(len(d.Attempts)-most, 0)
	for _, t := range d.Attempts[first:] {
		l := looks[sched.Running]
		end, lasted := "", s.frame.At.Sub(t.Start)
		switch t.Outcome {
		case "finished":
			l = looks[sched.Done]
		case "stopped":
			l = evictedLook
		case "running":
		default:
			l = looks[sched.Failed]
		}
		if t.End != sched.Never {
			end, lasted = s.instant(t.End), t.End.Sub(t.Start)
		}
		x := a.right(1, y, 4, style{}, fmt.Sprint(t.No)) + 1
		x = a.fit(x, y, 12, style{fg: l.col, bold: true}, m.theme.glyph(l.glyph, l.ascii)+" "+t.Outcome) + 1
		x = a.right(x, y, tw-1, style{}, s.instant(t.Start))
		x = a.right(x, y, tw, style{fg: faint}, end)
		x = a.right(x, y, 8, style{}, span(lasted)) + 2
		on := strings.Join(t.On, ", ")
		if t.Kept > 0 {
			on += " keeps " + span(t.Kept)
		}
		a.fit(x, y, a.w-x-1, style{}, on)
		y++
	}
	return y
}

// drawNeighbours lists what it waits for and what waits for it. It returns the line of the chosen one.
func (m *model) drawNeighbours(a area, y int, s *side, d *history.TaskDetail) (int, int) {
	chosen := y
	k := 1
	list := func(title string, rows []history.TaskRow, total int) {
		if total == 0 {
			return
		}
		if total > len(rows) {
			title += fmt.Sprintf(", %d of %d", len(rows), total)
		}
		a.line(y, style{fg: faint}, m.theme.rule(), title)
		y++
		for i := range rows {
			r := &rows[i]
			l := lookOf(r.State, r.Evicted)
			x := a.fit(3, y, 12, style{fg: l.col, bold: true}, m.theme.glyph(l.glyph, l.ascii)+" "+l.word) + 1
			nw := min(max(a.w-51, 12), 48)
			x = a.fit(x, y, nw, style{}, taskName(*r)) + 1
			x = a.right(x, y, 8, style{fg: faint}, "w "+span(r.Wait))
			x = a.right(x, y, 9, style{fg: faint}, "r "+span(r.Run)) + 2
			a.fit(x, y, a.w-x-1, style{fg: faint}, r.Node)
			if k == s.cursor[viewDetail] {
				chosen = y
				m.selectLine(a, y)
			}
			y++
			k++
		}
	}
	list("waits for", d.Preds, d.NumPreds)
	list("waited for by", d.Succs, d.NumSuccs)
	return y, chosen
}
