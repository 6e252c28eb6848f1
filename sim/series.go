package sim

import (
	"math"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/metrics"
)

// Series are quantities over time in equal buckets, each the exact mean over its bucket.
type Series struct {
	From    sched.Time
	Width   time.Duration // of a bucket
	GPUs    []float64     // GPUs allocated, shares as fractions
	CPUs    []float64     // cores allocated on nodes that state a capacity
	Queued  []float64     // ready tasks that wait
	Running []float64     // tasks that hold resources
}

const maxBuckets = 1024

type sums struct{ gpu, cpu, queued, running float64 }

// seriesBuilder integrates step functions into at most maxBuckets buckets; when time outgrows them, their width doubles. What has come since `at` was
// last an edge is kept apart in integers, exactly, which are put into the bucket before they could overflow.
type seriesBuilder struct {
	at      sched.Time // integrated up to here
	edge    sched.Time // until then the integers serve
	part    struct{ gpu, cpu, queued, running int64 }
	from    sched.Time
	end     sched.Time // of the present bucket
	width   time.Duration
	safe    time.Duration // so long no integral overflows
	buckets []sums        // integrals, value x ns
}

// start begins the series. None of the values is ever above most.
func (b *seriesBuilder) start(from sched.Time, span time.Duration, most int64) {
	b.from, b.at = from, from
	b.width = max(span/(maxBuckets/2), time.Microsecond)
	b.end = from.Add(b.width)
	b.safe = time.Duration(math.MaxInt64 / max(most, 1))
	b.edge = min(b.end, from.Add(b.safe))
	b.buckets = append(make([]sums, 0, maxBuckets), sums{})
}

// mostOf returns what none of a run's values can exceed: milli-GPUs and milli-CPUs of the nodes, and tasks.
func mostOf(nodes []sched.NodeSpec, tasks int) int64 {
	gpus, cpus := int64(0), int64(0)
	for i := range nodes {
		gpus += int64(nodes[i].GPUs) * sched.Whole
		if cpu := nodes[i].CPU; cpu < sched.Unlimited {
			cpus += min(cpu, math.MaxInt64-cpus)
		}
	}
	return max(gpus, cpus, int64(tasks))
}

// until integrates the state's present values up to now. It is called before each Step, so that the state is that of the time since.
func (b *seriesBuilder) until(now sched.Time, s *sched.State) {
	if now > b.edge {
		b.cross(now, s)
		return
	}
	d := int64(now - b.at)
	if d <= 0 {
		return
	}
	room := s.Room()
	b.part.gpu += room.UsedGPUMilli() * d
	b.part.cpu += room.UsedCPU() * d
	b.part.queued += int64(s.Queued()) * d
	b.part.running += int64(s.Running()) * d
	b.at = now
}

// cross is until where now is beyond the edge.
func (b *seriesBuilder) cross(now sched.Time, s *sched.State) {
	b.flush()
	for b.at < now {
		to := min(now, b.end)
		if d := to.Sub(b.at); d > b.safe {
			room, last := s.Room(), &b.buckets[len(b.buckets)-1]
			last.gpu += float64(room.UsedGPUMilli()) * float64(d)
			last.cpu += float64(room.UsedCPU()) * float64(d)
			last.queued += float64(s.Queued()) * float64(d)
			last.running += float64(s.Running()) * float64(d)
			b.at = to
		} else {
			b.edge = to
			b.until(to, s)
		}
		if now > b.end {
			b.flush()
			b.turn()
		}
	}
	b.flush()
	b.edge = min(b.end, b.at.Add(b.safe))
}

// flush puts the integers into the bucket.
func (b *seriesBuilder) flush() {
	last := &b.buckets[len(b.buckets)-1]
	last.gpu += float64(b.part.gpu)
	last.cpu += float64(b.part.cpu)
	last.queued += float64(b.part.queued)
	last.running += float64(b.part.running)
	b.part.gpu, b.part.cpu, b.part.queued, b.part.running = 0, 0, 0, 0
}

// turn begins the next bucket.
func (b *seriesBuilder) turn() {
	if len(b.buckets) == maxBuckets {
		for i := range maxBuckets / 2 {
			x, y := b.buckets[2*i], b.buckets[2*i+1]
			b.buckets[i] = sums{x.gpu + y.gpu, x.cpu + y.cpu, x.queued + y.queued, x.running + y.running}
		}
		b.buckets = b.buckets[:maxBuckets/2]
		b.width *= 2
		if b.width > time.Duration(1)<<52 {
			b.end = sched.Never
			return
		}
	}
	b.buckets = append(b.buckets, sums{})
	b.end = b.end.Add(b.width)
}

func (b *seriesBuilder) done() Series {
	b.flush()
	s := Series{From: b.from, Width: b.width}
	for i, x := range b.buckets {
		d := float64(b.width)
		if i == len(b.buckets)-1 {
			d = float64(b.at - b.from.Add(time.Duration(i)*b.width))
		}
		if d <= 0 {
			break
		}
		s.GPUs = append(s.GPUs, x.gpu/d/sched.Whole)
		s.CPUs = append(s.CPUs, x.cpu/d/1000)
		s.Queued = append(s.Queued, x.queued/d)
		s.Running = append(s.Running, x.running/d)
	}
	return s
}

// fragMeter averages the cluster's fragmentation (FGD) over time: exactly where a run is small, so that looks, at the nodes for each state of the cluster,
// last for it. Else, or when they are used up, it takes samples, at most maxSamples; what is found stands for all of the time since the last one,
// and the interval doubles as time grows.
type fragMeter struct {
	mix      *metrics.FragMix
	next     sched.Time
	last     sched.Time
	first    sched.Time
	every    time.Duration // between samples
	samples  int
	looks    int // left; each is at one node
	integral float64
	milli    []int32
	nodes    []nodeFrag // by node: what it had when it was last looked at
	known    []nodeFrag // a table of what was worked out, by a hash of the key
}

// nodeFrag is the fragmentation of nodes of one type with so much free CPU and so many free GPUs, none of them booked in part.
type nodeFrag struct {
	cpu   int64
	gpus  int32
	kind  int32 // number of the node's GPU type, from 1; 0: an empty entry
	value float64
}

const (
	maxSamples = 512
	maxLooks   = 1 << 18 // some ms, and tenths of a second where all nodes share GPUs
)

func (f *fragMeter) start(mix *metrics.FragMix, at sched.Time, span time.Duration, tasks, nodes int) {
	f.mix, f.first, f.last, f.next, f.every = mix, at, at, at, max(span/(maxSamples/2), time.Second)
	if 2*tasks*nodes <= maxLooks { // a start and an end each
		f.looks = maxLooks
	}
	if mix == nil {
		f.next = sched.Never
	}
}

// until is called before each Step, when the state is that since the last one.
func (f *fragMeter) until(now sched.Time, s *sched.State) {
	if now >= f.next && now != f.last {
		f.sample(now, s)
	}
}

// finish takes in the time up to the end: nothing runs any more then, or the horizon is there.
func (f *fragMeter) finish(end sched.Time, s *sched.State) {
	if f.mix != nil && end > f.last {
		f.sample(end, s)
	}
}

func (f *fragMeter) sample(now sched.Time, s *sched.State) {
	value, room := 0.0, s.Room()
	for len(f.nodes) < room.Len() {
		f.nodes = append(f.nodes, nodeFrag{})
	}
	for i := range f.nodes {
		n := sched.NodeID(i)
		if !room.Up(n) {
			continue
		}
		at, cpu, gpus := &f.nodes[i], room.FreeCPU(n), room.FreeGPUs(n)
		if at.kind == 0 || at.cpu != cpu || at.gpus != gpus || room.Shared(n) {
			f.look(room, n, at)
		}
		value += at.value
	}
	f.integral += value * float64(now-f.last)
	f.last = now
	if f.looks -= room.Len(); f.looks > 0 {
		return
	}
	if f.samples++; f.samples == maxSamples {
		f.samples /= 2
		f.every *= 2
	}
	f.next = now.Add(f.every)
}

// look works out the fragmentation of a node, or finds it where one like it has been looked at.
func (f *fragMeter) look(room *sched.Room, n sched.NodeID, at *nodeFrag) {
	spec := room.Spec(n)
	*at = nodeFrag{cpu: room.FreeCPU(n), gpus: room.FreeGPUs(n), kind: int32(1 + max(room.TypeOf(n), 0))}
	switch {
	case spec.GPUs == 0:
		return
	case spec.GPUs > sched.MaxDevices:
		at.value = f.mix.PoolFrag(at.cpu, int64(at.gpus), spec.GPUType)
		return
	case at.gpus < 0 || room.Shared(n): // free parts are as many as there are ways to share
		at.value = f.nodeFrag(room, n, spec)
		at.kind = 0
		return
	}
	if f.known == nil {
		f.known = make([]nodeFrag, 1<<12)
	}
	hash := uint64(at.cpu)*0x9e3779b97f4a7c15 ^ (uint64(at.gpus)<<8|uint64(at.kind))*0xc2b2ae3d27d4eb4f
	k := &f.known[hash>>(64-12)]
	if k.kind != at.kind || k.cpu != at.cpu || k.gpus != at.gpus {
		*k = *at
		k.value = f.nodeFrag(room, n, spec)
	}
	at.value = k.value
}

func (f *fragMeter) nodeFrag(room *sched.Room, n sched.NodeID, spec *sched.NodeSpec) float64 {
	f.milli = f.milli[:0]
	for _, booked := range room.BookedMilli(n) {
		f.milli = append(f.milli, max(sched.Whole-booked, 0))
	}
	return f.mix.NodeFrag(room.FreeCPU(n), f.milli, spec.GPUType)
}

func (f *fragMeter) mean() float64 {
	if f.mix == nil || f.last == f.first {
		return math.NaN()
	}
	return f.integral / float64(f.last-f.first)
}
