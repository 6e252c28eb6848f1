// Package scale decides how many replicas serve a queue: the rule of the Kubernetes HorizontalPodAutoscaler (HPA) as a pure function of a
// metric, the replicas there are, the time and what was decided before. It asks no clock and imports the standard library only, so that the
// simulator, the live pool and a recorded run scale alike; on a cluster the HPA itself does the same on an exported metric.
//
// # The rule
//
//	desired = ceil(current x metric / target)    metric: mean over the replicas; target: what one replica should see
//
// Nothing changes where metric/target lies within 1 +- Tolerance. Replicas that do not report count as being at target where the others ask
// for fewer, and at 0 where they ask for more; those not ready yet count as 0 where the others ask for more. Where that turns the direction
// round, or brings the ratio within the tolerance, nothing changes. Of several metrics the largest wish counts; one that is not known forbids
// to scale down, not up.
//
// What is desired is then held against the wishes of the last while (Behavior.Window): upward only as far as the smallest wish in the
// upward window, downward only as far as the largest in the downward window. Last come the rates (Behavior.Policies: so many replicas, or
// so many percent of those at the period's start, in a period), and Min and Max.
//
// Source: kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale, "Algorithm details" and "Configurable scaling behavior", and
// KEP-853 for the behavior's examples. Where the text leaves a choice the controller's behaviour is kept: a wish is within the window of w at t
// where it was made after t-w; percentages of a period are rounded up for growth, and so is what remains of a reduction rounded down. One thing
// differs: metrics are integers (of a unit of the caller's), and a ratio exactly on the tolerance's bound changes nothing in either direction.
package scale

import (
	"fmt"
	"slices"
	"time"
)

// Rules say how a queue scales. The zero value of a field means the default that stands beside it.
type Rules struct {
	Min, Max int // replicas; 2 and 10
	// Target is what one replica should see of the metric: tasks that wait, say; 1000.
	Target int64
	// ToleranceMilli is how far from 1 the ratio of metric and target must be before anything changes, in 1/1000; 100. Negative: none.
	ToleranceMilli int
	// Sync is the time between two decisions; 15 s.
	Sync time.Duration
	// Up and Down bound each direction. The zero Up has no window and may double, or add 4, in 15 s; the zero Down has a window of
	// 300 s and no other bound, as in Kubernetes.
	Up, Down Behavior
}

// Behavior bounds the changes in one direction.
type Behavior struct {
	Window   time.Duration // stabilization window; 0: the default of the direction; negative: none
	Policies []Policy      // none: the default of the direction
	Select   Select
}

// Policy allows so many replicas to come, or to go, within a period.
type Policy struct {
	Percent bool // Value is in percent of the replicas at the period's start
	Value   int
	Period  time.Duration
}

// Select says which of several policies counts.
type Select uint8

// The choices.
const (
	Most  Select = iota // the one that allows the largest change (Kubernetes: Max)
	Least               // the one that allows the smallest (Min)
	Off                 // no change in this direction (Disabled)
)

// Metric is what was measured of the replicas.
type Metric struct {
	Sum      int64 // over the replicas that report
	Reported int   // replicas that report and are ready
	Missing  int   // replicas that do not report
	Unready  int   // replicas that are not ready yet; what they report is not in Sum
	Unknown  bool  // the metric could not be had at all
}

// Total is the metric of a queue as a whole, as a backlog, which its replicas share.
func Total(sum int64, replicas int) Metric { return Metric{Sum: sum, Reported: replicas} }

// Filled returns the rules with their defaults filled in.
func (r Rules) Filled() Rules {
	set(&r.Min, 2)
	set(&r.Max, max(10, r.Min))
	set(&r.Target, 1000)
	set(&r.ToleranceMilli, 100)
	set(&r.Sync, 15*time.Second)
	r.ToleranceMilli = max(r.ToleranceMilli, 0)
	if len(r.Up.Policies) == 0 {
		r.Up.Policies = []Policy{{Percent: true, Value: 100, Period: 15 * time.Second}, {Value: 4, Period: 15 * time.Second}}
	}
	set(&r.Down.Window, 300*time.Second)
	if len(r.Down.Policies) == 0 {
		r.Down.Policies = []Policy{{Percent: true, Value: 100, Period: 15 * time.Second}}
	}
	r.Up.Window, r.Down.Window = max(r.Up.Window, 0), max(r.Down.Window, 0)
	return r
}

func set[T int | int64 | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Check says what is wrong with the rules, defaults filled in.
func (r Rules) Check() error {
	f := r.Filled()
	switch {
	case f.Min < 0 || f.Max < 1 || f.Min > f.Max:
		return fmt.Errorf("replicas from %d to %d: want 0 <= min <= max, max >= 1", f.Min, f.Max)
	case f.Target < 0:
		return fmt.Errorf("target %d: want more than 0", f.Target)
	case f.Sync < 0:
		return fmt.Errorf("sync %v: want more than 0", f.Sync)
	}
	for _, b := range []Behavior{f.Up, f.Down} {
		for _, p := range b.Policies {
			if p.Value <= 0 || p.Period <= 0 {
				return fmt.Errorf("scaling policy %+v: want a value and a period of more than 0", p)
			}
		}
	}
	return nil
}

// Desired returns how many replicas the metrics ask for, before any window, rate and bound, and whether they could be had. The rules must be Filled.
func (r *Rules) Desired(current int, ms ...Metric) (desired int, ok bool) {
	unknown := false
	for _, m := range ms {
		d, known := r.desired(current, m)
		if !known {
			unknown = true
			continue
		}
		desired, ok = max(desired, d), true
	}
	if !ok || unknown && desired < current {
		return current, false
	}
	return desired, true
}

func (r *Rules) desired(current int, m Metric) (int, bool) {
	if m.Unknown || m.Reported <= 0 {
		return current, false
	}
	n := int64(m.Reported)
	up, down := m.Sum > n*r.Target, m.Sum < n*r.Target
	if m.Missing == 0 && !(up && m.Unready > 0) {
		if r.within(m.Sum, n) {
			return current, true
		}
		return ceilDiv(m.Sum, r.Target), true
	}
	sum := m.Sum
	if m.Missing > 0 && (up || down) {
		n += int64(m.Missing)
		if down {
			sum += int64(m.Missing) * r.Target
		}
	}
	if up {
		n += int64(m.Unready)
	}
	if r.within(sum, n) || up && sum < n*r.Target || down && sum > n*r.Target {
		return current, true
	}
	d := ceilDiv(sum, r.Target)
	if down && d > current || up && d < current {
		return current, true
	}
	return d, true
}

// within reports whether sum/n is the target, within the tolerance.
func (r *Rules) within(sum, n int64) bool {
	off := sum - n*r.Target
	return max(off, -off)*1000 <= int64(r.ToleranceMilli)*n*r.Target
}

func ceilDiv(a, b int64) int { return int((a + b - 1) / b) }

// Controller scales one queue. Its state is what it wished and did within the windows; Keep and Recall carry it over.
type Controller struct {
	Rules Rules // filled in by New

	wishes []mark // in the order of time; those that no window reaches are gone
	steps  []mark // changes of the replicas, upward > 0
	last   []mark // the decision before and what there was then; empty before the first
}

// mark is a number at a time. Times are nanoseconds on the caller's axis.
type mark struct {
	at int64
	n  int
}

// New returns a controller, with the defaults filled in.
func New(r Rules) (*Controller, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return &Controller{Rules: r.Filled()}, nil
}

// Step returns how many replicas the queue should have from now on. current is how many it was told to have: what the Step before said, or less where
// the pool could not give it; the rates count what was given. now is in ns on an axis of the caller's and does not fall. It is meant
// to be called once in Rules.Sync.
func (c *Controller) Step(now int64, current int, ms ...Metric) int {
	r := &c.Rules
	if len(c.last) > 0 && c.last[0].n != current {
		longest := int64(0)
		for _, ps := range [][]Policy{r.Up.Policies, r.Down.Policies} {
			for _, p := range ps {
				longest = max(longest, int64(p.Period))
			}
		}
		c.steps = append(dropOld(c.steps, now-longest), mark{c.last[0].at, current - c.last[0].n})
	}
	c.last = append(c.last[:0], mark{now, current})
	switch {
	case current == 0 && r.Min > 0:
		return 0 // switched off by hand
	case current > r.Max:
		return r.Max
	case current < r.Min:
		return r.Min
	}
	if len(c.wishes) == 0 {
		c.wishes = append(c.wishes, mark{now, current})
	}
	wish, ok := r.Desired(current, ms...)
	if !ok {
		return current
	}
	return c.rated(now, current, c.steady(now, current, wish))
}

// steady holds a wish against those of the windows, and notes it.
func (c *Controller) steady(now int64, current, wish int) int {
	up, down := wish, wish // what may be grown to and shrunk to
	upFrom, downFrom := now-int64(c.Rules.Up.Window), now-int64(c.Rules.Down.Window)
	c.wishes = dropOld(c.wishes, min(upFrom, downFrom))
	for _, w := range c.wishes {
		if w.at > upFrom {
			up = min(up, w.n)
		}
		if w.at > downFrom {
			down = max(down, w.n)
		}
	}
	c.wishes = append(c.wishes, mark{now, wish})
	return min(max(current, up), down)
}

// rated bounds a change by the policies, and by Min and Max.
func (c *Controller) rated(now int64, current, wish int) int {
	r := &c.Rules
	switch {
	case wish > current:
		return min(wish, r.Max, max(current, c.limit(now, current, &r.Up, 1)))
	case wish < current:
		return max(wish, r.Min, min(current, c.limit(now, current, &r.Down, -1)))
	}
	return wish
}

// limit returns the farthest that the policies of one direction (1 or -1) allow to go.
func (c *Controller) limit(now int64, current int, b *Behavior, dir int) int {
	if b.Select == Off {
		return current
	}
	var limit int
	for i, p := range b.Policies {
		from := current
		for _, s := range c.steps {
			if s.at > now-int64(p.Period) {
				from -= s.n
			}
		}
		to := from + dir*p.Value
		if p.Percent && dir > 0 {
			to = ceilDiv(int64(from)*int64(100+p.Value), 100)
		} else if p.Percent {
			to = int(int64(from) * max(int64(100-p.Value), 0) / 100)
		}
		if i == 0 || dir*(to-limit) > 0 == (b.Select == Most) {
			limit = to
		}
	}
	return limit
}

func dropOld(ms []mark, upTo int64) []mark {
	i := 0
	for i < len(ms) && ms[i].at <= upTo {
		i++
	}
	return slices.Delete(ms, 0, i)
}
