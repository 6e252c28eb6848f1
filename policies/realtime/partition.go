package realtime

import (
	"cmp"
	"errors"
	"math/bits"
	"slices"
)

// Test is what a processor's tasks must pass.
type Test uint8

// The tests.
const (
	ByResponse Test = iota // exact response times
	ByBound                // Liu and Layland's utilization bound; sets that it says nothing about are tested exactly
)

// Partition assigns every task to one of m processors, numbered from 0, or to none (-1): in the order of falling utilization (ties to the task
// that stands first), each to the first processor whose tasks still pass the test with it, under priorities in the order o. allowed, if not
// nil, says where a task may go. Tasks of different processors do not meet, so each processor's are analyzed alone.
//
// Source: S. Dhall and C. L. Liu, On a real-time scheduling problem, Operations Research 26(1), 1978 (rate-monotonic first fit); first fit by falling
// utilization: Y. Oh and S. Son, Real-Time Systems 9(3), 1995.
func (s Set) Partition(m int, o Order, test Test, allowed func(task, processor int) bool) ([]int, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	on := make([]int, len(s))
	for i := range on {
		on[i] = -1
	}
	list := s.all()
	slices.SortStableFunc(list, func(a, b int) int { return compareLoad(&s[b], &s[a]) })
	tasks := make([][]int, m) // of each processor, in the order of s, so that ties are broken as everywhere
	load := make([]float64, m)
	var with Set
	for _, i := range list {
		own := float64(s[i].C) / float64(s[i].T)
		for p := range m {
			if load[p]+own > 1+1e-9 || allowed != nil && !allowed(i, p) { // more than full passes no test
				continue
			}
			at, _ := slices.BinarySearch(tasks[p], i)
			with = with[:0]
			for _, j := range tasks[p][:at] {
				with = append(with, s[j])
			}
			with = append(with, s[i])
			for _, j := range tasks[p][at:] {
				with = append(with, s[j])
			}
			ok, err := with.passes(o, test)
			if err != nil && !errors.Is(err, ErrSteps) && !errors.Is(err, ErrRange) {
				return nil, err
			}
			if ok && err == nil {
				on[i], load[p] = p, load[p]+own
				tasks[p] = slices.Insert(tasks[p], at, i)
				break
			}
		}
	}
	return on, nil
}

// passes applies a test to the tasks of one processor.
func (s Set) passes(o Order, test Test) (bool, error) {
	ranks := s.Ranks(o)
	if test == ByBound && s.BoundsApply(ranks) {
		return s.PassesLiuLayland(), nil
	}
	return s.Schedulable(ranks)
}

// compareLoad compares C/T of two tasks exactly.
func compareLoad(a, b *Task) int {
	h1, l1 := bits.Mul64(uint64(a.C), uint64(b.T))
	h2, l2 := bits.Mul64(uint64(b.C), uint64(a.T))
	return cmp.Or(cmp.Compare(h1, h2), cmp.Compare(l1, l2))
}
