package tui

import (
	"fmt"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/schedlab/schedlab/policies/sched"
)

// dagOf opens the DAG of the largest job, at its first task.
func dagOf(t *testing.T, o Options, w, h int) *session {
	t.Helper()
	s := newSession(t, o, w, h).at(0.4)
	s.keys("3")
	s.typedAfter(":", "sort job")
	best, most := sched.Nobody, 0
	for _, r := range s.m.cur().frame.List.Rows {
		s.m.showDAG(r.ID)
		s.keys("g")
		if n := s.m.cur().frame.DAG.Tasks; n > most {
			best, most = s.m.cur().frame.DAG.Rows[0].Task.ID, n
		}
		s.keys("3")
	}
	if most < 8 {
		t.Fatalf("the largest job has %d tasks", most)
	}
	s.m.showDAG(best)
	return s.keys("g")
}

func TestABranchOfTheDAGIsFolded(t *testing.T) {
	s := dagOf(t, Options{Sources: exampleSources(t)[:1]}, 120, 40)
	page := func() (total int, names string) {
		var b strings.Builder
		for _, r := range s.m.cur().frame.DAG.Rows {
			b.WriteString(r.Task.Name + " ")
		}
		return s.m.cur().frame.DAG.Total, b.String()
	}
	all, before := page()
	root := *s.m.dagRow()
	if root.Below == 0 || int(root.Below) >= all {
		t.Fatalf("the first of %d tasks has %d below it", all, root.Below)
	}
	s.keys("z")
	total, _ := page()
	if r := s.m.dagRow(); total != all-int(root.Below) || r == nil || r.Task.ID != root.Task.ID || !r.Folded {
		t.Fatalf("z left %d of %d rows, %d were below; the cursor is on %+v", total, all, root.Below, r)
	}
	wants(t, s, "▸", fmt.Sprintf("%s [%d/%d done]", root.Task.Name, s.m.dagRow().Done, root.Below))
	s.keys("z")
	if n, after := page(); n != all || after != before {
		t.Fatalf("z twice shows %s, it was %s", after, before)
	}
	// All, and back; the cursor stays on its branch.
	s.keys("down", "down")
	deep := *s.m.dagRow()
	s.keys("Z")
	if n, _ := page(); n >= all {
		t.Fatalf("Z shows %d of %d", n, all)
	}
	for _, r := range s.m.cur().frame.DAG.Rows {
		if r.Depth != 0 || r.Below > 0 != r.Folded {
			t.Fatalf("all is folded, and yet %+v", r)
		}
	}
	if r := s.m.dagRow(); r == nil || r.Task.ID != root.Task.ID {
		t.Fatalf("the cursor was below %s and is on %+v", root.Task.Name, r)
	}
	s.keys("Z")
	if n, after := page(); n != all || after != before {
		t.Fatalf("Z twice shows %s, it was %s", after, before)
	}
	// As in other trees: left goes up and folds, right unfolds and goes down.
	s.m.seekDAG(deep.Task.ID)
	s.tick()
	s.tick()
	if r := s.m.dagRow(); r == nil || r.Task.ID != deep.Task.ID || deep.Depth < 2 {
		t.Fatalf("the cursor is to go to %+v and is on %+v", deep, r)
	}
	s.keys("left")
	for i := 0; s.m.dagRow().Task.ID != root.Task.ID || !s.m.dagRow().Folded; i++ {
		if i > 10 {
			t.Fatalf("left does not lead to the root but to %+v", s.m.dagRow())
		}
		s.keys("left")
	}
	s.keys("right", "right")
	if r := s.m.dagRow(); r.Parent != root.Task.ID {
		t.Fatalf("right twice leads to %+v", r)
	}
	s.keys("G")
	for s.m.dagRow().Below > 0 {
		s.keys("up")
	}
	s.keys("z")
	wants(t, s, "nothing stands below")
	s.keys("1", "z")
	wants(t, s, "press t on a task")
}

func TestAClickOnANodeFoldsItsBranch(t *testing.T) {
	s := dagOf(t, Options{Sources: exampleSources(t)[:1]}, 120, 40)
	all, below := s.m.cur().frame.DAG.Total, int(s.m.dagRow().Below)
	click := func(x, y int) {
		s.screen() // where things are
		s.send(tea.MouseMsg{X: x, Y: y, Button: tea.MouseButtonLeft, Action: tea.MouseActionPress})
		s.tick()
		s.tick()
	}
	click(3, bodyTop+2)
	if n := s.m.cur().frame.DAG.Total; n != all-below {
		t.Fatalf("a click on the node left %d of %d rows, %d were below", n, all, below)
	}
	click(3, bodyTop+2)
	if n := s.m.cur().frame.DAG.Total; n != all {
		t.Fatalf("a second click shows %d of %d rows", n, all)
	}
	third := s.m.cur().frame.DAG.Rows[2].Task.Name
	before, _, _ := strings.Cut(strings.Split(s.screen(), "\n")[bodyTop+4], third)
	click(width(before), bodyTop+4)
	if n := s.m.cur().frame.DAG.Total; n != all || s.m.cur().cursor[viewDAG] != 2 {
		t.Fatalf("a click on the third name shows %d of %d rows, the cursor is on %d", n, all, s.m.cur().cursor[viewDAG])
	}
}

func TestTheDAGOpensOnTheTaskItIsAskedFor(t *testing.T) {
	s := exampleSession(t, 100, 30).at(0.6)
	s.keys("3", "G", "up", "up")
	want, _ := s.m.selected()
	s.keys("t")
	if r := s.m.dagRow(); r == nil || r.Task.ID != want.ID {
		t.Fatalf("t on %s leads to %+v", want.Name, r)
	}
	// Folded away, its branch is what the cursor is on.
	s.keys("Z", "esc", "t")
	if r := s.m.dagRow(); r == nil || r.Depth != 0 || r.Task.ID != want.ID && !r.Folded {
		t.Fatalf("folded, t on %s leads to %+v", want.Name, r)
	}
}
