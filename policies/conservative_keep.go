package policies

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/schedlab/schedlab/policies/sched"
)

// What Conservative keeps in a snapshot.

// Keep writes the promises, which do not follow from the State.
func (p *Conservative) Keep(_ *sched.State, out []byte) []byte {
	promised := 0
	for _, w := range p.line {
		if p.bookings[w.slot].from < sched.Never {
			promised++
		}
	}
	out = binary.AppendUvarint(out, uint64(promised))
	for _, w := range p.line {
		b := &p.bookings[w.slot]
		if b.from == sched.Never {
			continue
		}
		out = binary.AppendUvarint(out, uint64(b.task))
		out = binary.AppendVarint(out, int64(b.from))
		out = binary.AppendUvarint(out, uint64(len(b.on)))
		for _, on := range b.on {
			out = binary.AppendUvarint(out, uint64(on.Node))
			out = binary.AppendUvarint(out, uint64(on.Replicas))
			out = binary.AppendUvarint(out, uint64(on.GPUs))
		}
	}
	return out
}

// Recall takes the promises of Keep over.
func (p *Conservative) Recall(s *sched.State, in []byte) error {
	p.begins(s)
	p.fresh = p.fresh[:0]
	bad := false
	below := func(limit uint64) uint64 {
		v, n := binary.Uvarint(in)
		if n <= 0 || v >= limit {
			in, bad = nil, true
			return 0
		}
		in = in[n:]
		return v
	}
	for range below(uint64(len(p.line) + 1)) {
		t := sched.TaskID(below(uint64(len(p.slot))))
		from, n := binary.Varint(in)
		if bad || n <= 0 || p.slot[t] == 0 || p.bookings[p.slot[t]].running || sched.Time(from) < s.Now() {
			return fmt.Errorf("no promise can be read for task %d", t)
		}
		in = in[n:]
		b := &p.bookings[p.slot[t]]
		on, left := p.on[:0], s.Demand(t).Gang
		for range below(math.MaxInt32) {
			q := sched.Placement{Node: sched.NodeID(below(uint64(len(p.table.nodes)))), Replicas: int32(below(uint64(left) + 1)), GPUs: sched.Devices(below(math.MaxUint64))}
			if devs := len(p.table.devs[q.Node]); bad || q.Replicas < 1 || devs > 0 && bits.Len64(uint64(q.GPUs)) > devs {
				return fmt.Errorf("no promise can be read for task %d", t)
			}
			left -= q.Replicas
			on = append(on, q)
		}
		if p.on = on[:0]; left > 0 || b.from < sched.Never {
			return fmt.Errorf("task %d is promised too little, or twice", t)
		}
		p.book(s, b, sched.Time(from), on)
	}
	if bad || len(in) > 0 {
		return errors.New("the promises end too early or too late")
	}
	for n := range p.table.nodes {
		p.freed.add(sched.NodeID(n), s.Now(), sched.Never)
	}
	return nil
}
