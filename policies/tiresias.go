package policies

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// serviceSteps are steps of attained service, GPUs x time (see width), as times a task of each demand must have held its resources.
type serviceSteps struct {
	limits []time.Duration // service of a task of one GPU, ascending
	byDem  [][]time.Duration
}

// reset takes the limits out.
func (q *serviceSteps) reset() { q.limits, q.byDem = q.limits[:0], q.byDem[:0] }

// times returns the times held at which a task reaches the limits.
func (q *serviceSteps) times(s *sched.State, t sched.TaskID) []time.Duration {
	d := s.DemandID(t)
	for int(d) >= len(q.byDem) {
		w, n := width(&s.Table().Demands[len(q.byDem)]), len(q.byDem)
		if n < cap(q.byDem) {
			q.byDem = q.byDem[:n+1]
		} else {
			q.byDem = append(q.byDem, nil)
		}
		times := q.byDem[n][:0] // reused after a reset
		for _, l := range q.limits {
			times = append(times, sched.MulDiv(l, 1000, w, true))
		}
		q.byDem[n] = times
	}
	return q.byDem[d]
}

// of returns the number of limits that a task has reached, and the attained times of the last of them and of the next.
func (q *serviceSteps) of(s *sched.State, t sched.TaskID, attained time.Duration) (reached int, from, until time.Duration) {
	times := q.times(s, t)
	to := len(times)
	if to > 0 && attained < times[0] {
		return 0, 0, times[0]
	}
	for reached < to {
		if m := (reached + to) / 2; times[m] <= attained {
			reached = m + 1
		} else {
			to = m
		}
	}
	if reached > 0 {
		from = times[reached-1]
	}
	if until = math.MaxInt64; reached < len(times) {
		until = times[reached]
	}
	return reached, from, until
}

// byQueue ranks by the number of limits reached.
func byQueue(q *serviceSteps) Level {
	return func(s *sched.State, t sched.TaskID, attained time.Duration) (int64, time.Duration, time.Duration) {
		n, from, until := q.of(s, t, attained)
		return int64(n), from, until
	}
}

// queueLimits reads 3600/7200: GPU-seconds, ascending.
func queueLimits(text string) ([]time.Duration, error) {
	var out []time.Duration
	for _, part := range strings.Split(text, "/") {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil || !(f > 0 && f <= 1e9) || len(out) > 0 && f <= out[len(out)-1].Seconds() {
			return nil, fmt.Errorf("must be ascending GPU-seconds such as 3600/86400")
		}
		out = append(out, time.Duration(math.Round(f*1e9)))
	}
	return out, nil
}

var roundParam = Param{
	Name: "round", Default: "0s", Example: "60s", About: "decide only at multiples of it on the trace's axis; 0s: whenever something happens",
	Form: func(v string) error {
		if d, err := time.ParseDuration(v); err != nil || d < 0 {
			return fmt.Errorf("must be a duration such as 60s, or 0s")
		}
		return nil
	},
}

var twoDLASEntry = Entry{
	Name: "2d-las", Summary: "Tiresias: queues by attained GPU-time, FIFO within a queue, preemptive.", Placed: true, Starves: true,
	About: "A task stands in the queue that its attained GPUs x time has come to (cores x time without GPUs), lower queues first; what does not fit is passed over, " +
		"and running tasks of later queues are stopped where that makes room. In a queue what runs stays, then comes what was stopped there, the last first, then what came to " +
		"it, the first first (fifo=start); or all are in the order of submission and earlier tasks stop later ones (fifo=submit, as in the simulator of Pollux). With promote=f a waiting " +
		"task counts as new once its time waited is f times its time served, both since it was first ready, and its next attempt ranks by what that is served; the paper counts " +
		"both from the last promotion on. That needs stopped tasks to keep their work. Without it a task of the last queue may starve, as may one wider than what others leave.",
	Source: "Discretized 2D-LAS of Tiresias: Gu et al., NSDI 2019, sections 3.2 and 3.3; dlas-gpu of its simulator.",
	Params: []Param{
		{Name: "queues", Default: "3600", Example: "3600/86400", About: "attained GPU-seconds at which a task leaves each queue but the last", Form: func(v string) error {
			_, err := queueLimits(v)
			return err
		}},
		{Name: "fifo", Default: "start", Choices: []string{"start", "submit"}, About: "order in a queue: what runs stays and is followed by what ran, or by submission"},
		{Name: "promote", Default: "0", Example: "8", About: "PROMOTEKNOB: time waited over time served from which a task counts as new; 0: never", Form: func(v string) error {
			if f, err := strconv.ParseFloat(v, 64); err != nil || f != 0 && !(f >= 0.01 && f <= 1e6) {
				return fmt.Errorf("must be 0, or a number from 0.01 to 1e6")
			}
			return nil
		}},
		roundParam,
	},
	New: func(a Args) (sched.Policy, error) {
		limits, err := queueLimits(a.Text("queues"))
		if err != nil {
			return nil, fmt.Errorf("2d-las: queues %w", err)
		}
		return &Attained{
			Level: byQueue(&serviceSteps{limits: limits}), Strict: a.Text("fifo") == "submit", Queues: a.Text("fifo") == "start", Promote: a.Float("promote"), Round: a.Duration("round"), Place: a.Place,
		}, nil
	},
}
