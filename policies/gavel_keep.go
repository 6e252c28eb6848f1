package policies

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// What Gavel keeps in a snapshot.

// Keep appends the round, and shares and virtual times of the jobs by TaskID.
func (p *Gavel) Keep(_ *sched.State, b []byte) []byte {
	flags := int64(0)
	for i, f := range []bool{p.begun, p.dirty, p.again} {
		if f {
			flags |= 1 << i
		}
	}
	for _, v := range []int64{flags, p.number, int64(p.at), int64(len(p.types)), int64(len(p.jobs))} {
		b = binary.AppendVarint(b, v)
	}
	ids := make([]sched.TaskID, 0, len(p.jobs))
	for _, j := range p.jobs {
		ids = append(ids, j.task)
	}
	slices.Sort(ids)
	k := len(p.types)
	for _, t := range ids {
		i := p.slot[t]
		j := &p.jobs[i]
		shared := int64(0)
		if j.shared {
			shared = 1
		}
		if j.listed {
			shared |= 2
		}
		b = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(b, int64(t)), shared), int64(j.want))
		for y := range k {
			b = binary.AppendVarint(binary.AppendVarint(b, p.x[int(i)*k+y]), p.v[int(i)*k+y])
		}
	}
	return b
}

// Recall takes back what Keep wrote.
func (p *Gavel) Recall(s *sched.State, b []byte) error {
	p.survey(s)
	short := false
	next := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			short = true
			return 0
		}
		b = b[n:]
		return v
	}
	flags, number, at, types, jobs := next(), next(), next(), next(), next()
	if types != int64(len(p.types)) || jobs != int64(len(p.jobs)) {
		return errors.New("it is of other jobs or GPU types")
	}
	p.fresh, p.listed = p.fresh[:0], false
	for range jobs {
		t, shared, want := next(), next(), next()
		i := int32(-1)
		if t >= 0 && t < int64(len(p.slot)) {
			i = p.slot[t]
		}
		if short || i < 0 || want < -1 || want >= types {
			return errors.New("it is cut short, or of other jobs")
		}
		j := &p.jobs[i]
		j.shared, j.listed, j.want = shared&1 != 0, shared&2 != 0, int16(want)
		for y := range types {
			x, v := next(), next()
			if x < 0 || x > micro || v > 1<<61 || v < -1<<61 {
				return errors.New("a share or a virtual time is out of range")
			}
			p.x[int64(i)*types+y], p.v[int64(i)*types+y] = x, v
		}
		if !j.shared && !j.wide && s.Phase(j.task) == sched.Ready && p.Objective != "fifo" {
			p.fresh = append(p.fresh, j.task)
		}
	}
	if short || len(b) > 0 {
		return errors.New("it is cut short, or longer than what it says")
	}
	p.begun, p.dirty, p.again, p.number, p.at = flags&1 != 0, flags&2 != 0, flags&4 != 0, number, sched.Time(at)
	return nil
}
