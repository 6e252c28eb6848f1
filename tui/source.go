// Package tui is the terminal UI: it watches, scrubs, compares and explains runs of policies.
//
// # Recordings
//
// All that it shows comes from a Source, and a Source is a recording (package tui/history): all facts and orders of a run so far, from which the state
// at any instant can be had. The view has a clock of its own, which moves over the recording at the speed that the user chose, stops, and goes back. So
// simulation, replay and live are one thing to it:
//
//	simulation  runs ahead in the background and feeds its recording batch by batch; the view's clock follows behind
//	replay      a journal read into a recording, then closed
//	live        the daemon's facts as they come; the recording's end is now
//
// An adapter (in cmd/schedlab) makes a history.Record, feeds it from a goroutine of its own, and hands it over as a Source:
//
//	rec := history.New(table, nodes)
//	go func() { ...; rec.Batch(now, facts, orders); ...; rec.Close(err) }()
//	tui.Run(ctx, tui.Options{Sources: []tui.Source{tui.Recording{Record: rec, About: tui.Info{Mode: tui.Sim, Policy: "fifo"}}}})
//
// The UI asks a Source at most 30 times a second, from a goroutine of its own and one question at a time, for what is on the screen and no more
// (history.Query), and gets copies (history.Frame). It never holds a kernel's state.
//
// # What a Source may do besides
//
// A Source that also is an Actor can hold, release, preempt and cancel tasks and change the policy; a Logger shows what a task printed; an Explainer
// says in words why a task waits. The UI offers what the Source has, and nothing that changes anything in read-only mode.
package tui

import (
	"context"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// Source is a recording that may still grow. Its methods may be called from any goroutine.
type Source interface {
	// Info says what is recorded. It may change while the UI runs (a live policy is replaced).
	Info() Info
	// Look answers what is on the screen, in copies that the caller owns.
	Look(q history.Query) history.Frame
}

// Mode says where a recording comes from.
type Mode uint8

// The modes.
const (
	Sim Mode = iota
	Replay
	Live
)

func (m Mode) String() string { return [...]string{"SIM", "REPLAY", "LIVE"}[m] }

// Info says what is recorded.
type Info struct {
	Mode       Mode
	Title      string     // trace, journal or address
	Policy     string     // as it prints itself, parameters included
	Cluster    string     // in words; "" if there are none
	Epoch      time.Time  // what time of day 0 is; zero = not known, and times are shown on the trace's own axis
	LowerBound sched.Time // of the makespan, as a length in ns; 0 = not known. See README.md: lower bound
	Policies   []string   // names that `:policy` completes
	Note       string     // a line of warning
}

// Recording is a Source without further abilities: a record, and what it is of.
type Recording struct {
	*history.Record
	About Info
}

// Info returns About.
func (r Recording) Info() Info { return r.About }

// ActionKind is what a user can do to a task or to the scheduler.
type ActionKind uint8

// The actions.
const (
	Hold ActionKind = iota
	Release
	Preempt
	Cancel
	SetPolicy
)

func (k ActionKind) String() string {
	return [...]string{"hold", "release", "preempt", "cancel", "set policy"}[k]
}

// Action is one of them.
type Action struct {
	Kind   ActionKind
	Task   sched.TaskID // all but SetPolicy
	Name   string       // the task's name, as the recording has it
	Job    string       // the name of its job
	Policy string       // SetPolicy
}

// Actor is a Source whose tasks can be acted upon. Act returns when the scheduler has answered; its words are shown.
type Actor interface {
	Act(ctx context.Context, a Action) (said string, err error)
}

// Logger is a Source that has what a task printed: the last lines of an attempt (0 = the last one).
type Logger interface {
	Logs(ctx context.Context, t sched.TaskID, attempt int32, lines int) ([]string, error)
}

// Explainer is a Source that can say in words why a task stands where it does at an instant.
type Explainer interface {
	Explain(ctx context.Context, t sched.TaskID, at sched.Time) ([]string, error)
}
