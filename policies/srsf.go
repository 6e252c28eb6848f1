package policies

import (
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// RemainingService is the key of SRSF: the estimated work left times what the task holds, GPUs x time (see width). It falls while a task runs, the
// faster the more it holds, and stands still while it waits.
func RemainingService(s *sched.State, t sched.TaskID) int64 {
	return int64(sched.MulDiv(s.Remaining(t), width(s.Demand(t)), sched.Whole, false))
}

// width is what a whole gang holds in 1/1000: GPUs, or cores where it asks for none, or 1 where it asks for neither. Service is width x time.
func width(d *sched.Demand) int64 {
	if g := d.GPUTotal(); g > 0 {
		return g
	}
	if c := d.CPUTotal(); c > 0 {
		return c
	}
	return 1000
}

// sinking is how RemainingService falls while a task runs at reference speed: by the width of its demand. Classes are widths, keys the ends.
type sinking struct{ widthClasses }

func (m *sinking) class(s *sched.State, d sched.DemandID) int { return m.of(s, d) }

func (m *sinking) key(s *sched.State, t sched.TaskID) int64 {
	return int64(s.StartedAt(t).Add(s.LeftAtStart(t)))
}

func (m *sinking) rank(s *sched.State, class int32, _ sched.TaskID, end int64) (rank int64, until sched.Time) {
	left := sched.Time(end).Sub(s.Now())
	if left <= 0 {
		return 0, sched.Never
	}
	if n := m.wholes[class]; n > 0 && left < 1<<52 {
		return int64(left) * n, s.Now() + 1
	}
	return int64(sched.MulDiv(left, m.widths[class], sched.Whole, false)), s.Now() + 1
}

func (m *sinking) since(_ *sched.State, _ int32, _ sched.TaskID, end, _ int64) int64 { return end }

func (m *sinking) above(s *sched.State, class int, rank int64) int64 {
	left := sched.MulDiv(time.Duration(rank+1), sched.Whole, m.widths[class], true)
	return int64(s.Now().Add(left))
}

func (m *sinking) sinks(class int) int64 { return m.wholes[class] }

func (*sinking) cells() []cell { return nil }

func (*sinking) bounds(*sched.State, int, sched.TaskID) [][2]time.Duration { return nil }

var srsfEntry = Entry{
	Name: "srsf", Summary: "Shortest remaining service first: estimated work left x GPUs, preemptive.", Placed: true, Starves: true,
	About: "The least work left x GPUs first; a running task with more left is stopped where that makes room. Service of tasks without GPUs is in cores x time. " +
		"Long and wide tasks may starve. With victims=lost or saved it counts what a stop costs. With repack=true nothing is kept out by where others run: Muri's rule, which takes migration to be free.",
	Source: "Shortest remaining service first of Tiresias (Gu et al., NSDI 2019, section 3) and Muri (Zhao et al., SIGCOMM 2022).",
	Params: []Param{preemptParam, skipParam, repackParam, victimsParam},
	New: repacking(RemainingService, func(a Args) (sched.Policy, error) {
		if !a.Bool(preemptParam.Name) {
			return keyed(RemainingService)(a)
		}
		return &Preemptive{Key: RemainingService, Sinks: true, Place: a.Place, Skip: a.Bool("skip"), Loss: lossOf(a, true)}, nil
	}),
}
