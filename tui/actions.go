package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// actTimeout bounds how long an answer of the scheduler is waited for.
const actTimeout = 10 * time.Second

// actsAtAll reports whether the focused source can be acted upon, allowed or not.
func (m *model) actsAtAll() bool {
	_, ok := m.opt.Sources[m.focus].(Actor)
	return ok
}

func (m *model) canAct() bool { return m.actsAtAll() && !m.opt.ReadOnly }

func (m *model) whyNot() string {
	if m.actsAtAll() {
		return "read-only: nothing can be changed here"
	}
	return strings.ToLower(m.cur().info.Mode.String()) + ": what is recorded cannot be changed; actions are for the live mode"
}

// askFor asks before anything is done to the marked tasks, or else to the chosen one.
func (m *model) askFor(k ActionKind) {
	if !m.canAct() {
		m.say(m.whyNot(), true)
		return
	}
	s := m.cur()
	q := &question{}
	if len(s.marked) > 0 && m.view == viewTasks {
		ids := make([]sched.TaskID, 0, len(s.marked))
		for t := range s.marked {
			ids = append(ids, t)
		}
		slices.Sort(ids)
		names := map[sched.TaskID]history.TaskRow{}
		for _, r := range s.frame.List.Rows {
			names[r.ID] = r
		}
		for _, t := range ids {
			q.actions = append(q.actions, Action{Kind: k, Task: t, Name: names[t].Name, Job: names[t].Job})
		}
		q.text = fmt.Sprintf("%s %d marked tasks?", k, len(ids))
	} else {
		r, ok := m.selected()
		if !ok {
			m.say("choose a task first", true)
			return
		}
		q.actions = []Action{{Kind: k, Task: r.ID, Name: r.Name, Job: r.Job}}
		if m.view == viewTasks {
			s.pinned, s.moved = r.ID, false
		}
		q.text = fmt.Sprintf("%s %s?", k, fullName(r))
	}
	m.asking = q
}

// actOn is askFor for a task that is named.
func (m *model) actOn(k ActionKind, name string) {
	if name == "" {
		m.askFor(k)
		return
	}
	if !m.canAct() {
		m.say(m.whyNot(), true)
		return
	}
	if named, ok := m.opt.Sources[m.focus].(interface {
		TaskNamed(job, name string) (sched.TaskID, bool)
	}); ok {
		if t, ok := named.TaskNamed("", name); ok {
			m.asking = &question{text: fmt.Sprintf("%s %s?", k, name), actions: []Action{{Kind: k, Task: t, Name: name}}}
			return
		}
	}
	m.say(fmt.Sprintf("no task %q", name), true)
}

func (m model) onAnswer(key string) (tea.Model, tea.Cmd) {
	q := m.asking
	m.asking, m.stale = nil, true
	if key != "y" && key != "Y" {
		m.say("nothing was done", false)
		return m, nil
	}
	actor, ok := m.opt.Sources[m.focus].(Actor)
	if !ok || m.opt.ReadOnly {
		return m, nil
	}
	m.cur().marked = map[sched.TaskID]bool{}
	return m, func() tea.Msg {
		ctx, stop := context.WithTimeout(context.Background(), actTimeout)
		defer stop()
		var said string
		for _, a := range q.actions {
			s, err := actor.Act(ctx, a)
			if err != nil {
				return saidMsg{err: err}
			}
			said = s
		}
		if len(q.actions) > 1 {
			said = fmt.Sprintf("%s: %d tasks", q.actions[0].Kind, len(q.actions))
		}
		return saidMsg{text: said}
	}
}

func (m *model) showLogs() tea.Cmd {
	l, ok := m.opt.Sources[m.focus].(Logger)
	if !ok {
		m.say("a recording has no logs; the live mode has", true)
		return nil
	}
	r, ok := m.selected()
	if !ok {
		m.say("choose a task first", true)
		return nil
	}
	m.about(r.ID)
	read := func(refresh bool) textMsg {
		ctx, stop := context.WithTimeout(context.Background(), actTimeout)
		defer stop()
		lines, err := l.Logs(ctx, r.ID, 0, logLines)
		return textMsg{title: "logs of " + fullName(r), tab: "logs", lines: lines, err: err, refresh: refresh}
	}
	return func() tea.Msg {
		t := read(false)
		t.again = func() tea.Msg { return read(true) }
		return t
	}
}

// logLines is how much of a log is shown: its end.
const logLines = 2000

// showExplanation asks the scheduler why a task waits, or shows what the recording knows.
func (m *model) showExplanation() tea.Cmd {
	r, ok := m.selected()
	if !ok {
		m.say("choose a task first", true)
		return nil
	}
	s := m.cur()
	m.about(r.ID)
	e, ok := m.opt.Sources[m.focus].(Explainer)
	if !ok {
		m.go_(viewDetail)
		return nil
	}
	at := s.frame.At
	return func() tea.Msg {
		ctx, stop := context.WithTimeout(context.Background(), actTimeout)
		defer stop()
		lines, err := e.Explain(ctx, r.ID, at)
		return textMsg{title: "why " + fullName(r) + " is where it is", tab: "why", lines: lines, err: err}
	}
}
