package traces

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// maxReleases bounds what Expand makes.
const maxReleases = 1_000_000

// series is a periodic task, or a recurring job with all its tasks.
type series struct {
	at     sched.Time // first submit
	period time.Duration
	cron   *cron
	tasks  int32
	made   int32      // releases so far
	next   sched.Time // of release number made
	order  int32
}

// step moves next to the release after it; false if there is none that can be said.
func (s *series) step() bool {
	s.made++
	if s.cron == nil {
		s.next = s.next.Add(s.period)
		return s.next < sched.Time(maxDuration)
	}
	second := int64(s.next) / 1e9
	if int64(s.next) < second*1e9 {
		second--
	}
	after, ok := s.cron.next(second)
	s.next = sched.Time(after) * 1e9
	return ok && after < int64(maxDuration/time.Second)
}

type seriesHeap []*series

func (h seriesHeap) Len() int { return len(h) }
func (h seriesHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].next, h[j].next), cmp.Compare(h[i].order, h[j].order)) < 0
}
func (h seriesHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *seriesHeap) Push(x any)   { *h = append(*h, x.(*series)) }
func (h *seriesHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// Expand turns periodic tasks and recurring jobs into releases: a periodic task is released at submit + k x period, each release a
// task of its own called ID#k (k from 1) with its own deadline (the task's, otherwise the period); a recurring job is released as a
// whole, every Every after its submit or at the times of its cron line. Tasks of one job with the same period that depend on each
// other are linked release by release. All releases before the horizon are made, and the first of each in any case.
//
// Horizon 0 is the default: two hyperperiods after the first submit (a cron line counts as a week). At most 1,000,000 releases are
// made in order of time; a note says where that cut. Without anything periodic, Expand returns w.
func (w *Workload) Expand(horizon sched.Time) (*Workload, error) {
	if w.Expanded || len(w.Every) == 0 && !slices.ContainsFunc(w.Classes, func(c sched.Class) bool { return c.Period > 0 }) {
		return w, nil
	}
	var of []*series // per task; nil if it does not recur
	jobSeries := map[sched.JobID]*series{}
	var queue seriesHeap
	total := len(w.Tasks)
	for i := range w.Tasks {
		t := sched.TaskID(i)
		job, class := w.Tasks[t].Job, w.ClassOf(t)
		rec, every := w.Every[job]
		switch {
		case !every && class.Period == 0:
			continue
		case every && class.Period > 0:
			return nil, fmt.Errorf("%s: task %s is periodic and its job recurs; say one of period_s and every", w.Source, w.TaskNames.At(i))
		}
		if of == nil {
			of = make([]*series, len(w.Tasks))
		}
		s := jobSeries[job]
		if !every || s == nil {
			s = &series{at: w.Tasks[t].Submit, period: class.Period, next: w.Tasks[t].Submit, order: int32(len(queue))}
			if every {
				s.period = rec.Every
				if rec.Cron != "" {
					var err error
					if s.cron, err = parseCron(rec.Cron); err != nil {
						return nil, fmt.Errorf("%s: job %s: every: %w", w.Source, w.JobName.At(int(job)), err)
					}
				}
				jobSeries[job] = s
			}
			queue = append(queue, s)
		}
		s.tasks++
		of[t] = s
	}
	if of == nil {
		return w, nil
	}
	first, _ := w.span()
	if horizon == 0 {
		horizon = first.Add(defaultHorizon(queue))
	}

	cut := false
	for i := 0; i < len(queue); { // the first release of each is there already
		if queue[i].step() {
			i++
		} else {
			queue = append(queue[:i], queue[i+1:]...)
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 && queue[0].next < horizon {
		if total += int(queue[0].tasks); total > max(maxReleases, len(w.Tasks)) {
			cut = true
			break
		}
		if queue[0].step() {
			heap.Fix(&queue, 0)
		} else {
			heap.Pop(&queue)
		}
	}
	made := make([]int32, len(w.Tasks)) // per task, so that edges can shorten it
	for t, s := range of {
		if s != nil {
			made[t] = s.made
		}
	}
	order, _ := topological(w.Table)
	for _, t := range order {
		for _, p := range w.Preds(t) {
			x, y := of[p], of[t]
			if x == nil && y == nil || x == y {
				continue
			}
			if x == nil || y == nil || x.period != y.period || x.cron != nil || y.cron != nil {
				return nil, fmt.Errorf("%s: task %s depends on %s, which does not recur with it", w.Source, w.TaskNames.At(int(t)), w.TaskNames.At(int(p)))
			}
			made[t] = min(made[t], made[p]) // a release whose predecessor lies beyond the horizon is left out
		}
	}

	b := NewBuilder(w.Source, w.Format)
	b.Grow(total)
	var r, release Row
	var times []sched.Time // of a cron series
	err := inInputOrder(w, func(t sched.TaskID) error {
		w.RowOf(t, &r)
		if w.MissingEstimates > 0 && r.Estimate == r.Run {
			r.Estimate = -1
		}
		if r.Job == r.ID {
			r.Job = ""
		}
		r.Every, r.Cron = 0, ""
		preds := w.Preds(t)
		s := of[t]
		if s == nil {
			for i, p := range preds {
				if w.Tasks[p].Job != w.Tasks[t].Job {
					r.After[i] = w.JobName.At(int(w.Tasks[p].Job)) + "/" + r.After[i]
				}
			}
			return b.Add(&r)
		}
		if s.cron != nil {
			times = times[:0]
			for c := (series{at: s.at, next: s.at, cron: s.cron}); len(times) < int(s.made); c.step() {
				times = append(times, c.next)
			}
		}
		submit, after := r.Submit, append([]string(nil), r.After...)
		if r.Deadline == 0 {
			r.Deadline = r.Period
		}
		for k := range made[t] {
			release = r
			shift := time.Duration(k) * s.period
			if s.cron != nil {
				shift = times[k].Sub(times[0])
			}
			release.Submit = submit.Add(shift)
			tag := "#" + strconv.Itoa(int(k)+1)
			release.ID = r.ID + tag
			if r.Job != "" {
				release.Job = r.Job + tag
			}
			release.After = release.After[:0]
			for i, p := range preds {
				id := after[i] + tag
				if w.Tasks[p].Job != w.Tasks[t].Job {
					id = w.JobName.At(int(w.Tasks[p].Job)) + tag + "/" + id
				}
				release.After = append(release.After, id)
			}
			if err := b.Add(&release); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out, err := b.Build()
	if err != nil {
		return nil, err
	}
	out.Recorded, out.Cluster, out.Expanded = w.Recorded, w.Cluster, true
	out.Notes = append(append([]Note(nil), w.Notes...), out.Notes...)
	if cut {
		out.Notes = append(out.Notes, Note{
			Reason: fmt.Sprintf("releases from %g s on are left out: more than %d before the horizon", queue[0].next.Seconds(), maxReleases), Count: 1, Dropped: true,
		})
	}
	return out, nil
}

// defaultHorizon returns two hyperperiods (the least common multiple of the periods), bounded by what a time can say.
func defaultHorizon(all []*series) time.Duration {
	hyper := int64(1)
	for _, s := range all {
		p := int64(s.period)
		if s.cron != nil {
			p = int64(7 * 24 * time.Hour)
		}
		a, z := hyper, p
		for z != 0 {
			a, z = z, a%z
		}
		if hyper > int64(maxDuration)/2/(p/a) {
			return maxDuration
		}
		hyper *= p / a
	}
	return time.Duration(2 * hyper)
}
