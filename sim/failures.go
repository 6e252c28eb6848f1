package sim

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// lifetime is a Weibull distribution by its scale in ns and shape; the zero value never ends.
type lifetime struct{ scale, shape float64 }

// weibull returns the distribution of a mean, or where that is 0 of a scale.
func weibull(mean, scale time.Duration, shape float64) lifetime {
	if shape == 0 {
		shape = 1
	}
	if mean > 0 {
		return lifetime{float64(mean) / math.Gamma(1+1/shape), shape}
	}
	return lifetime{float64(scale), shape}
}

func (l lifetime) mean() float64 { return l.scale * math.Gamma(1+1/l.shape) }

// draw turns a number from [0, 1) into a time of at least 1 ns, by the inverse of the distribution function.
func (l lifetime) draw(u float64) time.Duration {
	x := -math.Log1p(-u)
	if l.shape != 1 {
		x = math.Pow(x, 1/l.shape)
	}
	return time.Duration(min(max(math.Ceil(l.scale*x), 1), 1<<61))
}

// Streams of random numbers, by what they are for.
const (
	nodeStream uint64 = iota + 1
	taskStream
	storageStream
	noiseStream
)

// mix is the finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014, figure 16).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hash makes one number of several.
func hash(parts ...uint64) uint64 {
	h := uint64(0)
	for _, p := range parts {
		h = mix(h + p + 0x9e3779b97f4a7c15)
	}
	return h
}

// uniform makes a number in [0, 1) of a hash.
func uniform(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// breaking is the state of random failures.
type breaking struct {
	seed       uint64
	node, task lifetime
	repair     time.Duration
	repairs    lifetime
	streams    []*rand.Rand // by node
	turns      heapOf[turn] // the next loss or return of each node
}

// turn is the next loss or return of a node.
type turn struct {
	node sched.NodeID
	up   bool
}

func newBreaking(f *Failures, seed uint64, nodes int, first sched.Time) *breaking {
	b := &breaking{seed: seed, repair: f.Repair}
	if f.MTBF > 0 || f.Scale > 0 {
		b.node = weibull(f.MTBF, f.Scale, f.Shape)
		if f.RepairShape > 0 {
			b.repairs = weibull(f.Repair, 0, f.RepairShape)
		}
		for n := range nodes {
			b.streams = append(b.streams, rand.New(rand.NewPCG(hash(seed, nodeStream), uint64(n))))
			b.turns.push(first.Add(b.node.draw(b.streams[n].Float64())), int64(n), turn{sched.NodeID(n), false})
		}
	}
	if f.TaskMTBF > 0 || f.TaskScale > 0 {
		b.task = weibull(f.TaskMTBF, f.TaskScale, f.TaskShape)
	}
	return b
}

// pop takes the next turn and schedules the one after it.
func (b *breaking) pop() turn {
	at, t := b.turns[0].at, b.turns[0].what
	d := b.repair
	if t.up {
		d = b.node.draw(b.streams[t.node].Float64())
	} else if b.repairs.shape > 0 {
		d = b.repairs.draw(b.streams[t.node].Float64())
	}
	b.turns.replace(at.Add(d), int64(t.node), turn{t.node, !t.up})
	return t
}

// fails returns after which time of holding an attempt fails by itself; the longest time if it does not.
func (b *breaking) fails(t sched.TaskID, attempt int32) time.Duration {
	if b.task.shape == 0 {
		return time.Duration(sched.Never)
	}
	return b.task.draw(uniform(hash(b.seed, taskStream, uint64(t), uint64(attempt))))
}

// rate returns the failures a ns that an attempt on so many nodes expects, in the long run.
func (b *breaking) rate(nodes int) float64 {
	rate := 0.0
	if b.node.shape > 0 {
		rate = float64(nodes) / b.node.mean()
	}
	if b.task.shape > 0 {
		rate += 1 / b.task.mean()
	}
	return rate
}

// outages are the times at which the storage of checkpoints is down: it is up and down in turn, exponentially, made as far as they are asked for.
type outages struct {
	up, down lifetime
	rng      *rand.Rand
	list     []outage
	told     int // turns that were told to the kernel: two an outage
}

type outage struct{ from, to sched.Time }

func newOutages(f *Failures, seed uint64, first sched.Time) *outages {
	o := &outages{up: weibull(f.StorageMTBF, 0, 1), down: weibull(f.StorageRepair, 0, 1), rng: rand.New(rand.NewPCG(hash(seed, storageStream), 0))}
	o.list = append(o.list, o.after(first))
	return o
}

// after makes the outage that comes after the storage is up at a time.
func (o *outages) after(up sched.Time) outage {
	from := up.Add(o.up.draw(o.rng.Float64()))
	return outage{from, from.Add(o.down.draw(o.rng.Float64()))}
}

// next returns the first outage that ends after a time, from the i-th on, and its place.
func (o *outages) next(at sched.Time) outage {
	for o.list[len(o.list)-1].to <= at {
		o.list = append(o.list, o.after(o.list[len(o.list)-1].to))
	}
	lo, hi := 0, len(o.list)-1
	for lo < hi {
		if m := (lo + hi) / 2; o.list[m].to <= at {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return o.list[lo]
}

// clear returns the first time from at on from which the storage is up for d.
func (o *outages) clear(at sched.Time, d time.Duration) sched.Time {
	for {
		x := o.next(at)
		if x.from > at && x.from >= at.Add(d) {
			return at
		}
		at = x.to
	}
}

// turn returns when the storage is next lost or comes back, by what has been told.
func (o *outages) turn() (at sched.Time, up bool) {
	for len(o.list) <= o.told/2 {
		o.list = append(o.list, o.after(o.list[len(o.list)-1].to))
	}
	if x := o.list[o.told/2]; o.told%2 == 0 {
		return x.from, false
	} else {
		return x.to, true
	}
}

// ReadFaults reads a trace of failures, CSV with a header: `node,down_s,up_s`, a node's name and when it was lost and came back, in seconds on the
// trace's axis (no up_s: it did not come back); or `task,attempt,after_s`, a task's number from 0 in the order of the workload, and for how long which
// attempt, from 1, held its room before it failed. Errors name the line.
func ReadFaults(r io.Reader, nodes []sched.NodeSpec) ([]Fault, error) {
	byName := make(map[string]sched.NodeID, len(nodes))
	for i := range nodes {
		byName[nodes[i].Name] = sched.NodeID(i)
	}
	in := csv.NewReader(bufio.NewReader(r))
	in.TrimLeadingSpace, in.Comment, in.FieldsPerRecord = true, '#', 3
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("a trace of failures begins with node,down_s,up_s or task,attempt,after_s: %w", err)
	}
	kind := strings.Join(head, ",")
	if kind != "node,down_s,up_s" && kind != "task,attempt,after_s" {
		return nil, fmt.Errorf("line 1: a trace of failures begins with node,down_s,up_s or task,attempt,after_s, not %s", kind)
	}
	var out []Fault
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := in.FieldPos(0)
		if kind == "task,attempt,after_s" {
			task, err1 := strconv.ParseInt(row[0], 10, 32)
			attempt, err2 := strconv.ParseInt(row[1], 10, 32)
			after, err3 := readSeconds(row[2])
			if err := errors.Join(err1, err2, err3); err != nil || task < 0 || attempt < 1 || after < 0 {
				return nil, fmt.Errorf("line %d: a task's number from 0, an attempt from 1 and seconds are wanted, not %s", line, strings.Join(row, ","))
			}
			out = append(out, Fault{Task: sched.TaskID(task), Attempt: int32(attempt), After: time.Duration(after)})
			continue
		}
		n, ok := byName[row[0]]
		if !ok {
			return nil, fmt.Errorf("line %d: the cluster has no node %q (the first is %q)", line, row[0], nodes[0].Name)
		}
		down, err := readSeconds(row[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: down_s %q is no number of seconds", line, row[1])
		}
		out = append(out, Fault{At: down, Node: n})
		if row[2] == "" {
			continue
		}
		up, err := readSeconds(row[2])
		if err != nil || up < down {
			return nil, fmt.Errorf("line %d: up_s %q is no number of seconds from down_s on", line, row[2])
		}
		out = append(out, Fault{At: up, Node: n, Up: true})
	}
}

func readSeconds(s string) (sched.Time, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, err
	}
	t, ok := sched.Seconds(f)
	if !ok {
		return 0, fmt.Errorf("%s seconds do not fit", s)
	}
	return t, nil
}
