// Package timeline keeps what is free on a node from now on: a free profile over time ("skyline"), into which list schedulers insert tasks.
package timeline

import (
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Amount is an amount of a node's resources: milli-CPU, bytes of RAM, whole GPUs.
type Amount struct{ CPU, Mem, GPUs int64 }

// Plus returns a + k x b.
func (a Amount) Plus(k int64, b Amount) Amount {
	return Amount{a.CPU + k*b.CPU, a.Mem + k*b.Mem, a.GPUs + k*b.GPUs}
}

// Holds reports whether b fits into a. What is not asked for need not be there, even where a is overdrawn.
func (a Amount) Holds(b Amount) bool {
	return (b.CPU == 0 || a.CPU >= b.CPU) && (b.Mem == 0 || a.Mem >= b.Mem) && (b.GPUs == 0 || a.GPUs >= b.GPUs)
}

// Times returns how often b fits into a, at most limit.
func (a Amount) Times(b Amount, limit int64) int64 {
	k := limit
	if b.CPU > 0 {
		k = min(k, a.CPU/b.CPU)
	}
	if b.Mem > 0 {
		k = min(k, a.Mem/b.Mem)
	}
	if b.GPUs > 0 {
		k = min(k, a.GPUs/b.GPUs)
	}
	return max(k, 0)
}

type segment struct {
	from sched.Time
	free Amount
}

// Line is the profile of one node. Make one with Reset.
type Line struct {
	seg  []segment // by time; the last one has no end
	past int       // segments before it are over
}

// Reset makes all of free free from that time on.
func (l *Line) Reset(from sched.Time, free Amount) {
	l.seg = append(l.seg[:0], segment{from, free})
	l.past = 0
}

// CopyFrom makes l equal to src, reusing its memory.
func (l *Line) CopyFrom(src *Line) {
	l.seg = append(l.seg[:0], src.seg[src.past:]...)
	l.past = 0
}

// Forget drops what is over by now.
func (l *Line) Forget(now sched.Time) {
	for l.past+1 < len(l.seg) && l.seg[l.past+1].from <= now {
		l.past++
	}
	if l.past > 16 && l.past > len(l.seg)/2 {
		l.seg = l.seg[:copy(l.seg, l.seg[l.past:])]
		l.past = 0
	}
}

// Take books an amount from one time until another, whether it is free or not.
func (l *Line) Take(from, to sched.Time, a Amount) { l.add(from, to, -1, a) }

// Give undoes Take.
func (l *Line) Give(from, to sched.Time, a Amount) { l.add(from, to, 1, a) }

func (l *Line) add(from, to sched.Time, sign int64, a Amount) {
	if from = max(from, l.seg[l.past].from); from >= to {
		return
	}
	i := l.split(from)
	j := len(l.seg)
	if to != sched.Never {
		j = l.split(to)
	}
	for ; i < j; i++ {
		l.seg[i].free = l.seg[i].free.Plus(sign, a)
	}
}

// split lets a segment begin at that time, which is not before the first, and returns its index.
func (l *Line) split(at sched.Time) int {
	i := len(l.seg)
	for i > l.past && l.seg[i-1].from >= at {
		i--
	}
	if i < len(l.seg) && l.seg[i].from == at {
		return i
	}
	l.seg = append(l.seg, segment{})
	copy(l.seg[i+1:], l.seg[i:])
	l.seg[i] = segment{at, l.seg[i-1].free}
	return i
}

// Earliest returns the first time from ready on at which the amount is free for so long; false if it never is.
func (l *Line) Earliest(ready sched.Time, d time.Duration, a Amount) (sched.Time, bool) {
	n, i := len(l.seg), l.past
	for i+1 < n && l.seg[i+1].from <= ready {
		i++
	}
	for {
		for i < n && !l.seg[i].free.Holds(a) {
			i++
		}
		if i == n {
			return 0, false
		}
		start := max(ready, l.seg[i].from)
		end := start.Add(d)
		for i++; i < n && l.seg[i].from < end && l.seg[i].free.Holds(a); i++ {
		}
		if i == n || l.seg[i].from >= end {
			return start, true
		}
	}
}

// Times returns how often the amount is free all the time from start on for so long, at most limit.
func (l *Line) Times(start sched.Time, d time.Duration, a Amount, limit int64) int64 {
	i := l.past
	for i+1 < len(l.seg) && l.seg[i+1].from <= start {
		i++
	}
	end := start.Add(d)
	limit = l.seg[i].free.Times(a, limit)
	for i++; i < len(l.seg) && l.seg[i].from < end && limit > 0; i++ {
		limit = l.seg[i].free.Times(a, limit)
	}
	return limit
}

// Changes appends the times after t at which what is free changes.
func (l *Line) Changes(t sched.Time, buf []sched.Time) []sched.Time {
	for _, s := range l.seg[l.past:] {
		if s.from > t {
			buf = append(buf, s.from)
		}
	}
	return buf
}
