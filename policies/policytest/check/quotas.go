package check

import (
	"fmt"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Quotas checks, from the facts and orders alone, that no start takes a tenant or a queue beyond what its quota and what it may borrow allow, and
// no cohort beyond the sum of its quotas. Feed it every batch.
type Quotas struct {
	Table *sched.Table

	set      map[string]sched.Quota // "t" or "q" and the name
	live     map[sched.TaskID]holder
	problems []Violation
}

// holder is an attempt that holds what its task asks for: a gang all of it, until its last node is gone.
type holder struct {
	attempt int32
	on      []sched.NodeID // not lost
}

// Tap takes one batch.
func (q *Quotas) Tap(now sched.Time, in []sched.Event, out []sched.Command) {
	if q.set == nil {
		q.set, q.live = map[string]sched.Quota{}, map[sched.TaskID]holder{}
	}
	for _, e := range in {
		switch e.Kind {
		case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
			if a, ok := q.live[e.Task]; ok && a.attempt == e.Attempt {
				delete(q.live, e.Task)
			}
		case sched.NodeDown: // what ran there alone gets no report
			for t, a := range q.live {
				if a.on = slices.DeleteFunc(a.on, func(n sched.NodeID) bool { return n == e.Node }); len(a.on) == 0 {
					delete(q.live, t)
				} else {
					q.live[t] = a
				}
			}
		case sched.QuotaSet:
			if s := *e.More.Quota; s.Tenant != "" {
				q.set["t"+s.Tenant] = s
			} else {
				q.set["q"+s.Queue] = s
			}
		}
	}
	for _, c := range out {
		if c.Kind == sched.Start {
			a := holder{attempt: c.Attempt}
			for _, p := range c.On {
				a.on = append(a.on, p.Node)
			}
			q.live[c.Task] = a
			q.look(now, c.Task)
		}
	}
}

// look recounts everything that the start of a task may have overfilled.
func (q *Quotas) look(now sched.Time, t sched.TaskID) {
	class := q.Table.ClassOf(t)
	for _, name := range []string{"t" + q.Table.Tenants[class.Tenant], "q" + q.Table.Queues[class.Queue]} {
		s, ok := q.set[name]
		if !ok {
			continue
		}
		cpu, gpu := q.held(func(n string) bool { return n == name })
		over := func(what string, held, bound, borrow int64) {
			if s.Cohort != "" && borrow < 0 || bound < 0 {
				return
			}
			if s.Cohort != "" {
				bound += borrow
			}
			if held > bound {
				q.problems = append(q.problems, Violation{"quota", t, now, fmt.Sprintf("%s holds %d %s of %d", name[1:], held, what, bound)})
			}
		}
		over("milli-CPU", cpu, s.CPU, s.BorrowCPU)
		over("milli-GPU", gpu, s.GPUMilli, s.BorrowGPUMilli)
		if s.Cohort == "" {
			continue
		}
		var allCPU, allGPU int64
		for other, o := range q.set {
			if o.Cohort == s.Cohort && other[0] == name[0] {
				allCPU, allGPU = allCPU+max(o.CPU, 0), allGPU+max(o.GPUMilli, 0)
			}
		}
		cpu, _ = q.held(func(n string) bool {
			o, ok := q.set[n]
			return ok && o.Cohort == s.Cohort && n[0] == name[0] && o.CPU >= 0
		})
		_, gpu = q.held(func(n string) bool {
			o, ok := q.set[n]
			return ok && o.Cohort == s.Cohort && n[0] == name[0] && o.GPUMilli >= 0
		})
		if d := q.Table.DemandOf(t); s.CPU >= 0 && cpu > allCPU && d.CPUTotal() > 0 || s.GPUMilli >= 0 && gpu > allGPU && d.GPUTotal() > 0 {
			q.problems = append(q.problems, Violation{"quota", t, now, fmt.Sprintf("the cohort of %s holds %d milli-CPU of %d and %d milli-GPU of %d", name[1:], cpu, allCPU, gpu, allGPU)})
		}
	}
}

// held adds up what runs of the tenants and queues that are meant.
func (q *Quotas) held(meant func(name string) bool) (cpu, gpu int64) {
	for t := range q.live {
		class, d := q.Table.ClassOf(t), q.Table.DemandOf(t)
		if meant("t"+q.Table.Tenants[class.Tenant]) || meant("q"+q.Table.Queues[class.Queue]) {
			cpu += int64(d.Gang) * d.Need.CPU
			gpu += int64(d.Gang) * int64(d.Need.GPUs) * int64(d.Need.GPUMilli)
		}
	}
	return cpu, gpu
}

// Check returns what was wrong.
func (q *Quotas) Check() []Violation { return q.problems }
