package main

import (
	"math"
	"math/rand/v2"
)

// record is what a simulator must at least keep of a task, 64 bytes.
type record struct {
	run, start, end int64 // ns
	_               [40]byte
}

type entry struct {
	at int64
	id int32
}

// floor measures user CPU in ns of one pop and one push on a binary heap of 8000 running tasks and the touching of the tasks' records: Ew in
// trace order, E at random. Median of 3.
func floor() (ew, e float64) {
	const running, iterations = 8000, 10_000_000
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]record, 10_000_000)
	for i := range records {
		records[i].run = int64(600e9*math.Exp(1.5*rng.NormFloat64())) + 1
	}
	loop := func(random bool) float64 {
		var q []entry
		push := func(at int64, id int32) {
			q = append(q, entry{at, id})
			i := len(q) - 1
			for i > 0 && q[(i-1)/2].at > at {
				q[i] = q[(i-1)/2]
				i = (i - 1) / 2
			}
			q[i] = entry{at, id}
		}
		pop := func() entry {
			top, last := q[0], q[len(q)-1]
			q = q[:len(q)-1]
			i := 0
			for {
				c := 2*i + 1
				if c >= len(q) {
					break
				}
				if c+1 < len(q) && q[c+1].at < q[c].at {
					c++
				}
				if last.at <= q[c].at {
					break
				}
				q[i] = q[c]
				i = c
			}
			if len(q) > 0 {
				q[i] = last
			}
			return top
		}
		for i := range running {
			push(records[i].run, int32(i))
		}
		state := uint64(88172645463325252)
		before := userNS()
		for i := range iterations {
			done := pop()
			records[done.id].end = done.at
			next := int32(i % len(records))
			if random { // xorshift64
				state ^= state << 13
				state ^= state >> 7
				state ^= state << 17
				next = int32((state >> 32) * uint64(len(records)) >> 32)
			}
			r := &records[next]
			r.start = done.at
			push(done.at+r.run, next)
		}
		return (userNS() - before) / iterations
	}
	of3 := func(random bool) float64 { return median([]float64{loop(random), loop(random), loop(random)}) }
	return of3(false), of3(true)
}
