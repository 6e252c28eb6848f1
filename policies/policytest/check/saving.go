package check

import (
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Saving says how the work of running tasks is saved: after every Every of work, and not where the work ends, a task is held up for Cost; every attempt
// but the first is held up for Restart before it works. What was saved when an attempt ends is kept, and nothing else.
type Saving struct {
	Every           time.Duration // 0: by Rule
	Rule            string        // "young", "daly": the optimum for the rate of failures; else only when a task is stopped
	NodeMTBF, MTBF  time.Duration // mean times between failures of a node, and of an attempt by itself; 0: never
	Cost, Restart   time.Duration
	Lose            bool // a task that is stopped does not save first
	Wait            bool // a checkpoint waits while the storage is down; else it holds the task up and saves nothing
	Outages         []Outage
	LostGPUSeconds  float64 // what the books under test say that is lost, which the attempts must add up to; negative: not compared
	lost            float64
	notToBeCompared bool
}

// Outage is a time in which the storage of checkpoints is down; To is Never if it does not come back.
type Outage struct{ From, To sched.Time }

// interval works the optimum out from the formulas as they are printed.
func (v *Saving) interval(on []sched.Placement) float64 {
	if v.Every > 0 {
		return float64(v.Every)
	}
	var nodes []sched.NodeID
	for _, p := range on {
		if !slices.Contains(nodes, p.Node) {
			nodes = append(nodes, p.Node)
		}
	}
	rate := 0.0
	if v.NodeMTBF > 0 {
		rate += float64(len(nodes)) / float64(v.NodeMTBF)
	}
	if v.MTBF > 0 {
		rate += 1 / float64(v.MTBF)
	}
	c := float64(v.Cost)
	switch {
	case rate == 0 || v.Rule != "young" && v.Rule != "daly":
		return 0
	case v.Rule == "young":
		return math.Round(math.Sqrt(2 * c / rate))
	case c*rate >= 2:
		return 1 / rate
	}
	return math.Round(math.Sqrt(2*c/rate)*(1+math.Sqrt(c*rate/2)/3+c*rate/18) - c)
}

// free reports whether the storage is up from a to b.
func (v *Saving) free(a, b float64) bool {
	for _, o := range v.Outages {
		if float64(o.From) < b && a < float64(o.To) || float64(o.From) <= a && a < float64(o.To) {
			return false
		}
	}
	return true
}

// back returns when the storage has next been up for so long.
func (v *Saving) back(a, d float64) float64 {
	for again := true; again; {
		again = false
		for _, o := range v.Outages {
			if !v.free(a, a+d) && a < float64(o.To) && float64(o.From) <= a+d {
				a, again = float64(o.To), true
			}
		}
	}
	return a
}

// attempt is what an attempt has come to at an instant.
type attempt struct {
	done, saved float64 // ns on its nodes
	busy        bool    // it is being saved
	until       float64 // when that is over
	good        bool    // and whether it will have saved
}

// walk follows an attempt checkpoint by checkpoint, from when it works, up to an instant; end is when it ends if nothing comes between.
func (v *Saving) walk(works, left, every, at float64) (now attempt, end float64) {
	t := works
	for {
		if every <= 0 || left-now.done <= every {
			end = t + left - now.done
			if at > t {
				now.done += min(at-t, left-now.done)
			}
			return now, end
		}
		begins := t + every
		if at < begins {
			now.done += max(at-t, 0)
			return now, math.Inf(1)
		}
		now.done += every
		ends, good := begins+float64(v.Cost), true
		if v.Wait {
			ends = v.back(begins, float64(v.Cost)) + float64(v.Cost)
		} else {
			good = v.free(begins, ends)
		}
		if at < ends {
			now.busy, now.until, now.good = true, ends, good
			return now, math.Inf(1)
		}
		if t = ends; good {
			now.saved = now.done
		}
	}
}

// saved checks the service of a task whose work is saved.
func (k *checker) saved(t sched.TaskID, spans []*Span, o sched.Outcome, outcome func(sched.TaskID) sched.Outcome) {
	c, v := &k.c, k.c.Saving
	if c.Late > 0 {
		k.savedLate(t, spans, outcome)
		return
	}
	run, kept, gpus := float64(c.Run[t]), 0.0, float64(c.Table.DemandOf(t).GPUTotal())/sched.Whole/1e9
	rounding := 0.0
	useful, lost := 0.0, 0.0 // ns held for what is kept, and in vain
	for i, s := range spans {
		if s.How == Open || s.End < s.Start {
			v.notToBeCompared = true
			return
		}
		lo, hi := c.duration(c.Run[t], c.by(t, c.Run[t], c.RunOn[t]), s.On)
		staging := c.staging(t, s.Start, s.On, func(p sched.TaskID) (sched.Time, sched.NodeID) {
			q := outcome(p)
			return q.End, q.Node
		})
		begins := float64(s.Start) + float64(staging)
		works := begins
		if i > 0 {
			if spans[i-1].How == Halted {
				works += float64(c.Overhead)
			}
			if kept > 0 {
				works = v.back(works, float64(v.Restart))
			}
			works += float64(v.Restart)
		}
		every, end := v.interval(s.On), float64(s.End)
		if v.Every == 0 && every > 0 {
			rounding += 2 * float64(hi) / every // the optimum may be rounded otherwise, at every checkpoint
		}
		// What is kept is in whole ns of the reference node, rounded down, and what is left on these nodes is rounded up.
		toDo := func(whole time.Duration) float64 {
			if run <= 0 {
				return float64(whole)
			}
			return math.Ceil(float64(whole)*((run-kept)/run) - 1e-4)
		}
		slack := 4.0*float64(i+1) + rounding
		if run > 0 {
			slack *= max(float64(hi)/run, 1)
		}
		if s.How == Complete {
			ok, first := false, 0.0
			for _, whole := range []time.Duration{lo, hi} {
				for _, off := range []float64{0, -slack, slack} { // a checkpoint more or less if the work ends at one
					_, e := v.walk(works, max(toDo(whole)+off, 0), every, math.Inf(1))
					if ok = ok || math.Abs(e-end) <= slack; first == 0 {
						first = e
					}
				}
			}
			if !ok {
				k.bad("service", t, s.End, "attempt %d finished at %s, and with %s kept before and %s between checkpoints its work ends at %s",
					s.Attempt, stamp(s.End), time.Duration(kept), time.Duration(every), stamp(sched.Time(first)))
			}
			left := toDo(hi)
			useful += left
			lost += max(end-begins-left, 0)
			break
		}
		if s.How != Halted && s.How != Broken && s.How != Lost {
			k.bad("service", t, s.End, "attempt %d was %s, which no model does", s.Attempt, s.How)
			v.notToBeCompared = true
			return
		}
		over := end
		for _, g := range s.Gone {
			if g != sched.Never {
				over = min(over, float64(g)) // a gang is over with its first node
			}
		}
		left := toDo(hi)
		now, _ := v.walk(works, left, every, over)
		got := now.saved
		if s.How == Halted {
			asked := float64(s.asked)
			was, _ := v.walk(works, left, every, asked)
			want, good := asked, false
			switch {
			case v.Lose || was.done == was.saved:
			case was.busy:
				want, good = was.until, was.good
			case v.Wait:
				want, good = v.back(asked, float64(v.Cost))+float64(v.Cost), true
			case v.free(asked, asked):
				want = asked + float64(v.Cost)
				good = v.free(asked, want)
			}
			if got = was.saved; good {
				got = was.done
			}
			if math.Abs(end-want) > slack {
				k.bad("service", t, s.End, "attempt %d, asked to stop at %s, stopped at %s, and its work is saved at %s", s.Attempt, stamp(s.asked), stamp(s.End), stamp(sched.Time(want)))
			}
			lost += max(end-begins-got, 0)
		} else {
			lost += over - float64(s.Start) - got
		}
		useful += got
		if hi > 0 {
			kept = min(math.Floor(kept+got*run/float64(hi)+1e-4), run)
		} else if works <= over {
			kept = run
		}
	}
	if o.Phase != sched.Done {
		lost += useful // and served nobody
	}
	v.lost += lost * gpus
}

// savedLate checks what can be told where facts are told late: nothing is done that there was no time for, with as much kept of each attempt as it
// may have saved by the time that its end was told; and a first attempt that completes ends when its work does, and is told in time.
func (k *checker) savedLate(t sched.TaskID, spans []*Span, outcome func(sched.TaskID) sched.Outcome) {
	c, v := &k.c, k.c.Saving
	v.notToBeCompared = true
	always := *v
	always.Outages = nil
	run, kept := float64(c.Run[t]), 0.0 // of 1
	for i, s := range spans {
		if s.How == Open || s.End < s.Start || run <= 0 {
			return
		}
		lo, hi := c.duration(c.Run[t], c.by(t, c.Run[t], c.RunOn[t]), s.On)
		works := float64(s.Start) + float64(c.staging(t, s.Start, s.On, func(p sched.TaskID) (sched.Time, sched.NodeID) {
			q := outcome(p)
			return q.End, q.Node
		}))
		if i > 0 {
			works += float64(v.Restart)
		}
		every, end, slack := v.interval(s.On), float64(s.End), 4.0*float64(i+1)*max(float64(hi)/run, 1)
		if v.Every == 0 && every > 0 {
			slack += 2 * float64(hi) / every
		}
		if s.How == Complete {
			left := float64(lo) * (1 - kept)
			_, least := always.walk(works, max(left-slack, 0), every, math.Inf(1))
			_, most := v.walk(works, float64(hi)+slack, every, math.Inf(1))
			if end < least-slack || i == 0 && len(v.Outages) == 0 && end > most+slack+float64(c.Late) {
				k.bad("service", t, s.End, "attempt %d finished at %s, and its work ends from %s on, told %s later at most", s.Attempt, stamp(s.End), stamp(sched.Time(least)), c.Late)
			}
			return
		}
		// With more kept than it had, an attempt might have been done before a checkpoint: what it saved is bounded as if it had no end.
		now, _ := always.walk(works, math.Inf(1), every, end)
		got := now.saved
		if s.How == Halted || s.asked != 0 { // it may have saved before the loss that was told with it
			got = now.done
		}
		kept = min(kept+got/float64(max(lo, 1)), 1)
	}
}

// lostWork holds the lost work of the books under test against the sum over what was seen.
func (k *checker) lostWork() {
	v := k.c.Saving
	if v == nil || v.notToBeCompared || v.LostGPUSeconds < 0 {
		return
	}
	if math.Abs(v.LostGPUSeconds-v.lost) > 1e-6+1e-6*math.Abs(v.lost) {
		k.bad("lost-work", sched.Nobody, sched.Never, "%.9g GPU-seconds are said to be lost, and the attempts add up to %.9g", v.LostGPUSeconds, v.lost)
	}
}

// NodeFaults returns which nodes were lost and came back, as the facts told.
func (r *Recorder) NodeFaults() []Fault { return r.faults }

// Outages returns when the storage of checkpoints was down, as the facts told.
func (r *Recorder) Outages() []Outage { return r.outages }
