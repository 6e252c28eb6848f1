package policytest

import (
	"cmp"
	"math"
	"slices"
)

// RefJob is a job of the reference simulators: rigid, on one pool of processors, times in any one unit.
type RefJob struct {
	Submit   int64
	Procs    int64
	Estimate int64 // at least Run
	Run      int64
}

// RefResult says when a job first started and when it finished; -1 if it can never start, for want of processors or behind such a job.
type RefResult struct{ Start, Finish int64 }

// The reference simulators are written from the plain definitions, share nothing with the kernel, and make no attempt to be fast: at
// every instant at which a job ends or arrives, first all ends and then all arrivals are taken in, and then the whole queue is looked
// at anew. They are checked against published results in the tests, and the real policies are checked against them.

// refState is the pool during a run of a non-preemptive reference simulator.
type refState struct {
	jobs    []RefJob
	free    int64
	now     int64
	queue   []int // arrived and waiting, by arrival, ties by index
	running []int
	out     []RefResult
}

func (s *refState) start(j int) {
	s.free -= s.jobs[j].Procs
	s.out[j] = RefResult{s.now, s.now + s.jobs[j].Run}
	s.running = append(s.running, j)
	s.queue = slices.DeleteFunc(s.queue, func(q int) bool { return q == j })
}

// refRun drives decide, which starts jobs from the queue.
func refRun(procs int64, jobs []RefJob, decide func(*refState)) []RefResult {
	s := &refState{jobs: jobs, free: procs, out: make([]RefResult, len(jobs))}
	order := make([]int, len(jobs))
	for j := range jobs {
		order[j] = j
		s.out[j] = RefResult{-1, -1}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(jobs[a].Submit, jobs[b].Submit) })
	for {
		next := int64(math.MaxInt64)
		for _, j := range s.running {
			next = min(next, s.out[j].Finish)
		}
		if len(order) > 0 {
			next = min(next, jobs[order[0]].Submit)
		}
		if next == math.MaxInt64 {
			return s.out
		}
		s.now = next
		s.running = slices.DeleteFunc(s.running, func(j int) bool {
			if s.out[j].Finish > s.now {
				return false
			}
			s.free += jobs[j].Procs
			return true
		})
		for len(order) > 0 && jobs[order[0]].Submit <= s.now {
			s.queue = append(s.queue, order[0])
			order = order[1:]
		}
		decide(s)
	}
}

// RefFCFS is strict first come, first served: the head of the line blocks.
func RefFCFS(procs int64, jobs []RefJob) []RefResult {
	return refRun(procs, jobs, func(s *refState) {
		for len(s.queue) > 0 && jobs[s.queue[0]].Procs <= s.free {
			s.start(s.queue[0])
		}
	})
}

// RefFJF takes the first job that fits, in order of arrival, and passes over the others.
func RefFJF(procs int64, jobs []RefJob) []RefResult {
	return refRun(procs, jobs, func(s *refState) {
		for _, j := range slices.Clone(s.queue) {
			if jobs[j].Procs <= s.free {
				s.start(j)
			}
		}
	})
}

// RefSJF starts the waiting job with the shortest estimate (ties: arrival, then index) and does not preempt; while that one does not
// fit, it blocks the others.
func RefSJF(procs int64, jobs []RefJob) []RefResult {
	return refRun(procs, jobs, func(s *refState) {
		for _, j := range byEstimate(jobs, s.queue) {
			if jobs[j].Procs > s.free {
				return
			}
			s.start(j)
		}
	})
}

func byEstimate(jobs []RefJob, queue []int) []int {
	list := slices.Clone(queue)
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(jobs[a].Estimate, jobs[b].Estimate) })
	return list
}

// RefEASY is aggressive (EASY) backfilling: only the head of the line has a reservation, at the shadow time, when by the
// estimates of the running jobs enough processors are free. A job behind it may start if it fits now and by its estimate ends by
// the shadow time, or takes no more than the processors that the head leaves over then. The line is looked through in order of
// arrival.
// Source: D. Lifka, The ANL/IBM SP Scheduling System, JSSPP 1995; A. Mu'alem and D. Feitelson, IEEE TPDS 12(6), 2001.
func RefEASY(procs int64, jobs []RefJob) []RefResult { return refEASY(procs, jobs, false) }

// RefEASYSJBF is RefEASY with the jobs behind the head looked through by estimate, shortest first.
// Source: D. Tsafrir, Y. Etsion and D. Feitelson, IEEE TPDS 18(6), 2007.
func RefEASYSJBF(procs int64, jobs []RefJob) []RefResult { return refEASY(procs, jobs, true) }

// RefEASYPerfect is RefEASY with every estimate equal to the run time.
func RefEASYPerfect(procs int64, jobs []RefJob) []RefResult {
	perfect := slices.Clone(jobs)
	for j := range perfect {
		perfect[j].Estimate = perfect[j].Run
	}
	return refEASY(procs, perfect, false)
}

func refEASY(procs int64, jobs []RefJob, shortest bool) []RefResult {
	return refRun(procs, jobs, func(s *refState) {
		for len(s.queue) > 0 && jobs[s.queue[0]].Procs <= s.free {
			s.start(s.queue[0])
		}
		if len(s.queue) == 0 {
			return
		}
		head := s.queue[0]
		expected := func(j int) int64 { return s.out[j].Start + jobs[j].Estimate }
		ends := slices.Clone(s.running)
		slices.SortStableFunc(ends, func(a, b int) int { return cmp.Compare(expected(a), expected(b)) })
		// What is free at the shadow time includes all that ends at that very instant.
		shadow, at := int64(math.MaxInt64), s.free
		for _, j := range ends {
			if expected(j) > shadow {
				break
			}
			at += jobs[j].Procs
			if at >= jobs[head].Procs {
				shadow = expected(j)
			}
		}
		extra := at - jobs[head].Procs
		if shadow == math.MaxInt64 {
			extra = 0 // the head can never start
		}
		tail := slices.Clone(s.queue[1:])
		if shortest {
			tail = byEstimate(jobs, tail)
		}
		for _, j := range tail {
			early := s.now+jobs[j].Estimate <= shadow
			if jobs[j].Procs > s.free || (!early && jobs[j].Procs > extra) {
				continue
			}
			if !early {
				extra -= jobs[j].Procs
			}
			s.start(j)
		}
	})
}

// RefSRTF is preemptive and greedy: whenever a job arrives or ends, the jobs in the system are taken by remaining time
// (ties: submission, then index), each runs if it fits beside those before it, and the others are stopped at no cost and keep
// their work. It is Tiresias' "shortest" (J. Gu et al., NSDI 2019, its simulator) with the run time known.
func RefSRTF(procs int64, jobs []RefJob) []RefResult {
	out := make([]RefResult, len(jobs))
	left := make([]int64, len(jobs))
	order := make([]int, len(jobs))
	for j := range jobs {
		order[j], left[j], out[j] = j, jobs[j].Run, RefResult{-1, -1}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(jobs[a].Submit, jobs[b].Submit) })
	var now int64
	var in, running []int
	for {
		next := int64(math.MaxInt64)
		for _, j := range running {
			next = min(next, now+left[j])
		}
		if len(order) > 0 {
			next = min(next, jobs[order[0]].Submit)
		}
		if next == math.MaxInt64 {
			return out
		}
		for _, j := range running {
			left[j] -= next - now
			if left[j] == 0 {
				out[j].Finish = next
			}
		}
		now = next
		in = slices.DeleteFunc(in, func(j int) bool { return out[j].Finish >= 0 })
		for len(order) > 0 && jobs[order[0]].Submit <= now {
			in = append(in, order[0])
			order = order[1:]
		}
		slices.SortFunc(in, func(a, b int) int {
			return cmp.Or(cmp.Compare(left[a], left[b]), cmp.Compare(jobs[a].Submit, jobs[b].Submit), cmp.Compare(a, b))
		})
		free := procs
		running = running[:0]
		for _, j := range in {
			if jobs[j].Procs > free {
				continue
			}
			free -= jobs[j].Procs
			running = append(running, j)
			if out[j].Start < 0 {
				out[j].Start = now
			}
		}
	}
}
