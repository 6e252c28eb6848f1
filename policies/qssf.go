package policies

import (
	"cmp"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// QSSF is quasi-shortest-service-first of Helios (Hu et al., SC 2021, section 4.2): shortest job first by GPUs x predicted run time, so that no
// estimates by users are needed; tasks run to their end. The prediction is made from what had ended before the task was first ready.
//
// Where we differ: Helios blends a rolling estimate (jobs of the user with a like name, recent ones more) with gradient-boosted trees trained on
// months of logs. Here it is the mean time that done tasks have held, first of the same tenant and kind, else of the tenant, else of all, else,
// at the very beginning, the estimate; see predictor. A task without GPUs counts its cores.
//
// Make one with NewQSSF.
type QSSF struct {
	List
	predictor predictor
	predicted []time.Duration // by TaskID; noPrediction: its estimate counts
	done      []sched.TaskID  // what has been learnt, in the order of the ends

	past  []sched.TaskID // tasks told by JobArrived that are done already: the policy comes to a run that has a past
	known []sched.TaskID // likewise, those that have been ready
}

const (
	noPrediction time.Duration = -1
	notYet       time.Duration = -2 // it has not been ready
)

// NewQSSF returns the policy. A level of the prediction needs so many samples.
func NewQSSF(place Place, skip bool, samples int64) *QSSF {
	p := &QSSF{predictor: predictor{samples: samples}}
	p.List = List{Place: place, Skip: skip, Key: p.service}
	return p
}

// service is the predicted GPU time.
func (p *QSSF) service(s *sched.State, t sched.TaskID) int64 {
	d := s.Demand(t)
	size := d.GPUTotal()
	if size == 0 {
		size = d.CPUTotal()
	}
	run := p.predicted[t]
	if run == noPrediction {
		run = s.Estimate(t)
	}
	return int64(sched.MulDiv(max(run, 0), max(size, 1), sched.Whole, false))
}

// Observe learns from what ends, and keeps the lines.
func (p *QSSF) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		p.predicted = byTask(s, p.predicted, notYet)
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			switch {
			case s.Phase(t) == sched.Done:
				p.past = append(p.past, t)
			case s.FirstReady(t) != sched.Never:
				p.known = append(p.known, t)
			}
		}
	case sched.Started:
	case sched.TaskReady:
		p.recall(s)
		if p.predicted[e.Task] == notYet {
			p.predict(s, e.Task)
		}
	case sched.TaskBlocked: // by an edge that came with it: it has not been ready yet
		p.recall(s)
		p.predicted[e.Task] = notYet
	case sched.Finished:
		p.recall(s)
		p.learn(s, e.Task)
	default:
		p.recall(s)
	}
	p.List.observe(s, &e)
}

func (p *QSSF) learn(s *sched.State, t sched.TaskID) {
	p.predictor.learn(s, t, s.Attained(t))
	p.done = append(roomForAll(s, p.done), t)
}

// predict predicts from what had ended before t was first ready, whenever that is told: it may have been held since, or a decision window
// may have been open. So the prediction follows from the State.
func (p *QSSF) predict(s *sched.State, t sched.TaskID) {
	ready := s.FirstReady(t)
	i := len(p.done)
	for ; i > 0; i-- {
		o := s.Outcome(p.done[i-1])
		if o.End < ready {
			break
		}
		p.predictor.forget(s, p.done[i-1], o.Held)
	}
	run, from := p.predictor.predict(s, t)
	if from == unknown {
		run = noPrediction
	}
	p.predicted[t] = run
	for _, u := range p.done[i:] {
		p.predictor.learn(s, u, s.Attained(u))
	}
}

// recall goes through the past of a run to which the policy has come late, in its order.
func (p *QSSF) recall(s *sched.State) {
	if len(p.past)+len(p.known) == 0 {
		return
	}
	end := func(t sched.TaskID) sched.Time { return s.Outcome(t).End }
	slices.SortStableFunc(p.past, func(a, b sched.TaskID) int { return cmp.Compare(end(a), end(b)) })
	slices.SortStableFunc(p.known, func(a, b sched.TaskID) int { return cmp.Compare(s.FirstReady(a), s.FirstReady(b)) })
	i := 0
	for _, t := range p.known {
		for ; i < len(p.past) && end(p.past[i]) < s.FirstReady(t); i++ {
			p.learn(s, p.past[i])
		}
		p.predict(s, t)
	}
	for _, t := range p.past[i:] {
		p.learn(s, t)
	}
	p.past, p.known = p.past[:0], p.known[:0]
}

var qssfEntry = Entry{
	Name: "qssf", Summary: "Quasi-shortest-service-first: sjf by GPUs x run time as predicted from the past.", Placed: true, Starves: true,
	About: "A task's run time is predicted as the mean of the tasks done before it was first ready: those of its tenant and kind, else of its tenant, else of all, else by its " +
		"estimate. The least predicted GPU time (core time without GPUs) goes first; tasks run to their end. Long and large tasks may starve.",
	Source: "Hu, Sun, Yan, Wen & Zhang, Characterization and prediction of deep learning workloads in large-scale GPU datacenters (Helios), SC 2021, section 4.2.",
	Params: []Param{{Name: "samples", Default: "1", Form: counting(1_000_000), Example: "10", About: "done tasks that a level of the prediction needs"}, skipParam},
	New: func(a Args) (sched.Policy, error) {
		p := NewQSSF(a.Place, a.Bool("skip"), int64(a.Float("samples")))
		p.alone = true
		return p, nil
	},
}
