package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/graph"
	"github.com/schedlab/schedlab/traces/journal"
	"github.com/schedlab/schedlab/tui"
)

// shadow is a kernel beside a recording that decides again what was decided, for the books of waiting that facts and orders alone do not have. Where
// it cannot be made, or decides otherwise, there is none from then on.
type shadow struct {
	k     *sched.Kernel
	build func(string) (sched.Policy, error)
	waits *waitLog
	in    []sched.Event
}

func newShadow(c sched.Config, policy string, build func(string) (sched.Policy, error), waits *waitLog) *shadow {
	s := &shadow{build: build, waits: waits}
	p, err := build(policy)
	if err != nil {
		return s
	}
	c.Policy, c.WaitParts = p, true
	if s.k, err = sched.New(c); err != nil {
		s.k = nil
	}
	return s
}

// step tells a batch to the kernel. The name of a policy stands in Detail.Name.
func (s *shadow) step(now sched.Time, in []sched.Event, out []sched.Command) {
	if s.k == nil {
		return
	}
	s.in = append(s.in[:0], in...)
	for i := range s.in {
		e := &s.in[i]
		if e.Kind != sched.PolicySet || e.More == nil || e.More.Policy != nil {
			continue
		}
		p, err := s.build(e.More.Name)
		if err != nil {
			s.k = nil
			return
		}
		e.More = &sched.Detail{Policy: p, Name: e.More.Name}
	}
	got := s.k.Step(now, s.in)
	if !slices.EqualFunc(got, out, func(a, b sched.Command) bool {
		return a.Kind == b.Kind && a.Task == b.Task && a.Attempt == b.Attempt && slices.Equal(a.On, b.On)
	}) {
		s.k = nil
		return
	}
	s.waits.add(s.k.WaitParts())
}

// ReplaySettings are what the driver wrote into a journal's header.
type ReplaySettings struct {
	Start   sched.Time
	Horizon sched.Time // where the run was cut; 0 if it was not
	Build   func(string) (sched.Policy, error)
}

// Replay begins to read a journal into a recording, which it returns, and closes the journal at its end. The tasks are all read before it returns.
func Replay(ctx context.Context, j *journal.Reader, info tui.Info, set ReplaySettings) (*Run, error) {
	h := j.Header()
	info.Mode, info.Policy = tui.Replay, h.Policy
	if info.Cluster == "" {
		info.Cluster = cluster.Format(h.Nodes)
	}
	r := newRun(info)
	tb, err := j.Table()
	if err != nil {
		return nil, err
	}
	r.begin(tb, h.Nodes)
	sh := newShadow(sched.Config{Table: tb, Nodes: h.Nodes, Start: set.Start}, h.Policy, set.Build, r.waits)
	rec := r.rec
	go r.guarded(func() error {
		defer j.Close()
		runs := newRunTimes(tb, h.Nodes)
		for n := 0; ; n++ {
			b, err := j.Next()
			if errors.Is(err, journal.ErrTruncated) {
				r.change(func(i *tui.Info) {
					i.Note = fmt.Sprintf("the journal was cut short; this is up to its last whole frame, %d batches", n)
				})
				return nil
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if n&1023 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			rec.Batch(b.Now, b.In, b.Out)
			sh.step(b.Now, b.In, b.Out)
			runs.take(b.Now, b.In, b.Out)
			for i := range b.In {
				if e := &b.In[i]; e.Kind == sched.PolicySet && e.More != nil {
					r.change(func(i *tui.Info) { i.Policy = e.More.Name })
				}
			}
		}
		if set.Horizon != 0 {
			rec.Cut(set.Horizon)
		}
		if run := runs.all(); run != nil {
			if b, err := graph.LowerBound(tb, run, nil, h.Nodes); err == nil {
				r.bound(sched.Time(b.Makespan))
			}
		}
		return nil
	})
	return r, nil
}

// runTimes are the true run times that a recording shows, at reference speed.
type runTimes struct {
	tb      *sched.Table
	nodes   []sched.NodeSpec
	run     []time.Duration
	started []sched.Time
	on      []sched.NodeID
	ended   int
	uneven  bool
}

func newRunTimes(tb *sched.Table, nodes []sched.NodeSpec) *runTimes {
	n := len(tb.Tasks)
	return &runTimes{tb: tb, nodes: nodes, run: make([]time.Duration, n), started: make([]sched.Time, n), on: make([]sched.NodeID, n), uneven: tb.Uneven()}
}

func (r *runTimes) take(now sched.Time, in []sched.Event, out []sched.Command) {
	for i := range in {
		e := &in[i]
		if e.Kind != sched.Finished || e.Task < 0 || int(e.Task) >= len(r.run) {
			continue
		}
		r.ended++
		if r.run[e.Task] = e.Done; e.Done == 0 {
			r.run[e.Task] = now.Sub(r.started[e.Task])
			if n := int(r.on[e.Task]); n < len(r.nodes) {
				if s := r.nodes[n].SpeedMilli; s != 0 && s != sched.Whole {
					r.run[e.Task] = sched.MulDiv(r.run[e.Task], s, sched.Whole, false)
				}
			}
		}
	}
	for i := range out {
		if c := &out[i]; c.Kind == sched.Start && int(c.Task) < len(r.run) && len(c.On) > 0 {
			r.started[c.Task], r.on[c.Task] = now, c.On[0].Node
		}
	}
}

// all returns the run times of all tasks; nil where some are not known, or where they depend on the node in a way that a journal does not tell.
func (r *runTimes) all() []time.Duration {
	if r.uneven || r.ended < len(r.run) {
		return nil
	}
	return r.run
}
