package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Window is the model of a scheduler that gathers facts before it decides (S14), as the live mode does, with the same code
// (sched.BatchWindow): when the first fact of a batch is there, w more is waited, and what has happened by then is decided together. A
// decision takes Cost (live: the kernel's step and the write to the disk); meanwhile facts wait for the next one. So a fact is told between
// Cost and Max + 2 Cost after it happened, and at most 1/(Min + Cost) decisions are taken in a second of load.
//
// What waits for the window: an arrival, whose wait has the cause Window until it is told; an end, whose room is held until then and
// counts as held. The work itself is not longer. A task that ends while the order to stop it is on its way has ended. One that ends in the
// same batch as the loss of its node has ended too, and what one has done and saved by the time of that decision it has done and saved.
type Window struct {
	Min  time.Duration `yaml:"min"`            // 10ms
	Max  time.Duration `yaml:"max"`            // 50ms; equal to Min: the window is fixed
	Cost time.Duration `yaml:"cost,omitempty"` // of a decision
}

// WindowUsage says how the text is written that ParseWindow reads.
const WindowUsage = "10ms-50ms (adaptive) or 20ms (fixed), and what a decision takes: 10ms-50ms,cost=2ms"

// ParseWindow reads 10ms-50ms,cost=2ms.
func ParseWindow(text string) (*Window, error) {
	span, rest, more := strings.Cut(text, ",")
	b, err := sched.ParseBatchWindow(span)
	if err != nil {
		return nil, err
	}
	w := &Window{Min: b.Min, Max: b.Max}
	if more {
		if err := parseFields("window", rest, WindowUsage, []field{{"cost", &w.Cost}}); err != nil {
			return nil, err
		}
	}
	return w, w.Check()
}

// String is how ParseWindow reads it.
func (w *Window) String() string {
	text := "0"
	if w.Max > 0 {
		text = sched.ShortDuration(w.Min)
	}
	if w.Max != w.Min {
		text += "-" + sched.ShortDuration(w.Max)
	}
	if w.Cost > 0 {
		text += ",cost=" + sched.ShortDuration(w.Cost)
	}
	return text
}

// Check reports what cannot be.
func (w *Window) Check() error {
	if w != nil && (w.Min < 0 || w.Max < w.Min || w.Cost < 0) {
		return fmt.Errorf("a decision window from %v to %v, at %v a decision: want 0 <= min <= max, cost >= 0", w.Min, w.Max, w.Cost)
	}
	if w != nil {
		return checkDelays(delay{"window", w.Max}, delay{"window: cost", w.Cost})
	}
	return nil
}

// Late is the longest time from what happens until it is told.
func (w *Window) Late() time.Duration {
	if w == nil {
		return 0
	}
	return w.Max + 2*w.Cost
}

type window struct {
	sched.BatchWindow
	cost  time.Duration
	free  sched.Time   // when the last decision was taken
	told  int64        // facts of the batches so far
	ends  []end        // gathered for the next batch
	endAt []sched.Time // by task: when its attempt really ends; Never if it was stopped before
}

func newWindow(c *Window, tasks int) *window {
	return &window{BatchWindow: sched.BatchWindow{Min: c.Min, Max: c.Max, Always: c.Min == c.Max}, cost: c.Cost, free: -sched.Never, endAt: make([]sched.Time, tasks)}
}

// settle gathers a batch whose first fact is there at an instant: it returns when the kernel decides, and up to when facts are in the batch.
// next is the first task that has not arrived.
func (w *window) settle(r *run, at sched.Time, next int) (now, cut sched.Time) {
	at = max(at, w.free)
	w.gather(r, at)
	cut = at.Add(w.Next(at, w.told+w.facts(r, at, next)))
	w.gather(r, cut)
	w.told += w.facts(r, cut, next)
	w.free = cut.Add(w.cost)
	return w.free, cut
}

// facts counts those of a batch up to an instant, to which ends have been gathered.
func (w *window) facts(r *run, until sched.Time, next int) int64 {
	n := len(r.stops) + len(w.ends)
	for t := next; t < len(r.tb.Tasks) && r.tb.Tasks[t].Submit <= until; t++ {
		if t == next || r.tb.Tasks[t].Job != r.tb.Tasks[t-1].Job {
			n++
		}
	}
	for i := 0; i < len(r.faults) && r.faults[i].At <= until; i++ {
		n++
	}
	return int64(n)
}

func (w *window) gather(r *run, until sched.Time) {
	for !r.ends.empty() && r.ends.next() <= until {
		w.ends = append(w.ends, r.ends.pop())
	}
}

// tell puts the gathered ends into the batch.
func (w *window) tell(r *run) {
	for _, e := range w.ends {
		if !r.cut || r.runs(e) {
			r.ended(e, r.fact())
		}
	}
	w.ends = w.ends[:0]
}

// over reports whether the attempt of a task that is ordered to stop has ended before; if not, it is stopped now. One that has lost a node has not: its
// work is booked as lost.
func (w *window) over(t sched.TaskID, now sched.Time, lost bool) bool {
	if w.endAt[t] < now && !lost { // at the same instant the order counts, as without a window
		return true
	}
	w.endAt[t] = sched.Never
	return false
}

// isOver reports whether an end, of an attempt that was ordered to stop, came before the order.
func (w *window) isOver(e end) bool { return w.endAt[e.task] == e.at }
