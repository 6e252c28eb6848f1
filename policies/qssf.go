package policies

import (
	"cmp"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// QSSF is quasi-shortest-service-first of Helios (Hu et al., SC 2021, section 4.2): shortest job first by GPUs x predicted run time, so that no
// estimates by users are needed; tasks run to their end. The prediction is made when a task is first ready, from what had ended before.
//
// Where we differ: Helios blends a rolling estimate (jobs of the user with a like name, recent ones more) with gradient-boosted trees trained on
// months of logs. Here it is the mean time that done tasks have held, first of the same tenant and kind, else of the tenant, else of all, else,
// at the very beginning, the estimate; see predictor. A task without GPUs counts its cores.
type QSSF struct {
	List
	predictor predictor
	predicted []time.Duration // by TaskID; noPrediction: its estimate counts

	ended []sched.TaskID // done at the present instant: not learnt yet
	at    sched.Time     // of ended
	past  []sched.TaskID // tasks told by JobArrived that are done already: the policy comes to a run that has a past
	known []sched.TaskID // likewise, those that have been ready
}

const noPrediction time.Duration = -1

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
		for len(p.predicted) < s.Known() {
			p.predicted = append(p.predicted, noPrediction)
		}
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			switch o := s.Outcome(t); {
			case o.Phase == sched.Done:
				p.past = append(p.past, t)
			case o.Ready != sched.Never:
				p.known = append(p.known, t)
			}
		}
	case sched.Started:
	case sched.TaskReady:
		p.recall(s)
		if s.FirstReady(e.Task) == s.Now() {
			p.predict(s, e.Task, s.Now())
		}
	case sched.Finished:
		p.recall(s)
		p.learn(s, s.Now())
		p.ended, p.at = append(p.ended, e.Task), s.Now()
	default:
		p.recall(s)
	}
	p.List.Observe(s, e)
}

// learn teaches what had ended before a time.
func (p *QSSF) learn(s *sched.State, before sched.Time) {
	if len(p.ended) == 0 || p.at >= before {
		return
	}
	for _, t := range p.ended {
		p.predictor.learn(s, t, s.Outcome(t).Held)
	}
	p.ended = p.ended[:0]
}

// predict predicts for a task that is ready for the first time.
func (p *QSSF) predict(s *sched.State, t sched.TaskID, ready sched.Time) {
	p.learn(s, ready)
	run, from := p.predictor.predict(s, t)
	if from == unknown {
		run = noPrediction
	}
	p.predicted[t] = run
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
	learn := func(before sched.Time) {
		for ; i < len(p.past) && end(p.past[i]) < before; i++ {
			p.predictor.learn(s, p.past[i], s.Outcome(p.past[i]).Held)
		}
	}
	for _, t := range p.known {
		learn(s.FirstReady(t))
		p.predict(s, t, s.FirstReady(t))
	}
	learn(s.Now())
	for ; i < len(p.past); i++ {
		p.ended, p.at = append(p.ended, p.past[i]), s.Now()
	}
	p.past, p.known = p.past[:0], p.known[:0]
}

var qssfEntry = Entry{
	Name: "qssf", Summary: "Quasi-shortest-service-first: sjf by GPUs x run time as predicted from the past.", Placed: true, Starves: true,
	About: "A task's run time is predicted, when it is first ready, as the mean of the done tasks of its tenant and kind, else of its tenant, else of all, else by its " +
		"estimate. The least predicted GPU time (core time without GPUs) goes first; tasks run to their end. Long and large tasks may starve.",
	Source: "Hu, Sun, Yan, Wen & Zhang, Characterization and prediction of deep learning workloads in large-scale GPU datacenters (Helios), SC 2021, section 4.2.",
	Params: []Param{{Name: "samples", Default: "1", About: "done tasks that a level of the prediction needs"}, skipParam},
	New: func(a Args) (sched.Policy, error) {
		return NewQSSF(a.Place, a.Bool("skip"), int64(a.Float("samples"))), nil
	},
}
