package node

import (
	"math"
	"time"

	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

// Profile writes the reading as SPEC's node profile. epoch is the instant of sched.Time 0; the zero time leaves the sample's time out.
func (r *Reading) Profile(id string, epoch time.Time) cluster.Profile {
	cpu := r.CPU
	p := cluster.Profile{
		NodeID: id, CPUCapacity: &cpu, CPUUsage: round(r.CPUUsed, 3),
		Memory:      &cluster.Amount{Capacity: gb(r.Mem), Used: gb(r.MemUsed)},
		NetworkMbps: r.NetMbps, NetworkRxMbps: round(r.RxMbps, 3), NetworkTxMbps: round(r.TxMbps, 3), Load: r.Load,
		StorageLatencyMS: round(r.Storage.Seconds()*1e3, 3), NetworkLatencyMS: round(r.Latency.Seconds()*1e3, 3),
		ActiveConnections: r.Connections,
	}
	if !epoch.IsZero() {
		p.SampledAtSeconds = r.At.Sub(epoch).Seconds()
	}
	if len(r.Cards) == 0 {
		return p
	}
	p.GPUType, p.GPUCount = device.ModelOf(r.Cards), int32(len(r.Cards))
	if vram := device.VRAMOf(r.Cards); vram > 0 {
		p.GPUMemory = &cluster.Amount{Capacity: gb(vram)}
	}
	told := false
	known := 0
	for i := range r.GPUs {
		g := &r.GPUs[i]
		out := cluster.ProfileGPU{Index: g.Index}
		if g.Utilization != device.Unknown {
			u := g.Utilization
			out.Utilization, told = &u, true
		}
		if g.Used != device.Unknown {
			out.MemoryUsedGB, told = gb(g.Used), true
			known++
			if p.GPUMemory != nil {
				p.GPUMemory.Used += gb(g.Used)
			}
		}
		if g.TempC != device.Unknown {
			out.TemperatureC = round(g.TempC, 1)
		}
		if g.PowerW != device.Unknown {
			out.PowerW = round(g.PowerW, 1)
		}
		if g.State != device.OK {
			out.State, told = g.State.String(), true
		}
		if i < len(r.Others) {
			out.OthersMemoryGB, out.OthersProcesses = gb(r.Others[i].VRAM), r.Others[i].Processes
		}
		p.GPUs = append(p.GPUs, out)
	}
	if known > 0 && p.GPUMemory != nil {
		p.GPUMemory.Used = round(p.GPUMemory.Used/float64(known), 3)
	}
	if !told { // a declared set: nothing is known but that it is there
		p.GPUs = nil
	}
	return p
}

func gb(bytes int64) float64 { return round(float64(bytes)/cluster.GB, 3) }

func round(f float64, places int) float64 {
	p := math.Pow10(places)
	return math.Round(f*p) / p
}

// noise is the share of the CPUs below which others' use is not told. A running system always uses a little, and a task that asks
// for all CPUs of a node would never start.
const noise = 0.05

// Fact is the reading as the kernel takes it in: what others use lowers the room, and the GPUs' load serves the scores. A GPU's load is its
// utilization, or the share of its memory that others hold if that is more; all of it where they hold an unknown amount, or it is lost.
func (r *Reading) Fact(epoch time.Time) sched.Profile {
	p := sched.Profile{
		SampledAt: sched.Time(r.At.Sub(epoch)), OtherMem: r.OtherMem, Latency: r.Latency, Connections: r.Connections,
	}
	if r.OtherCPU >= noise*r.CPU {
		p.OtherCPU = int64(math.Round(r.OtherCPU * 1000))
	}
	sum := 0.0
	for i := range r.GPUs {
		g := &r.GPUs[i]
		load := max(g.Utilization, 0)
		if i < len(r.Others) {
			o := &r.Others[i]
			if o.VRAM > 0 && i < len(r.Cards) && r.Cards[i].VRAM > 0 {
				load = max(load, float64(o.VRAM)/float64(r.Cards[i].VRAM))
			}
			if o.Unsized {
				load = 1
			}
		}
		if g.State == device.Lost {
			load = 1
		}
		sum += min(load, 1)
	}
	if len(r.GPUs) > 0 {
		// Rounded, so that a recorded fact is the same number on every machine.
		p.GPULoad = round(sum/float64(len(r.GPUs)), 3)
	}
	return p
}

// heldShare is the share of a GPU's memory below which others do not hold it: a desktop always has a little.
const heldShare = 0.05

// Held returns the GPUs that others hold: more than a little of the memory, or nobody knows how much. Of a GPU of unknown memory any use holds it.
func (r *Reading) Held() (set sched.Devices) {
	for i := range min(len(r.Others), len(r.Cards)) {
		o, at := &r.Others[i], r.GPUs[i].Index
		if o.Processes > 0 && at >= 0 && at < sched.MaxDevices && (o.Unsized || float64(o.VRAM) >= heldShare*float64(r.Cards[i].VRAM)) {
			set |= 1 << at
		}
	}
	return set
}

// Change decides which readings become facts: the first, and then those that differ from the last one told by a step or more. The zero
// value is ready to use.
type Change struct {
	Step    float64       // share of the capacity; 0 is 5 %
	Refresh time.Duration // tell a GPU load above 0 again when the last fact is this old, for scores use fresh ones only; 0: never

	told sched.Profile
	any  bool
}

// Tell reports whether p shall be told on a node of the given capacity (milli-CPU, bytes), and if so remembers it as told. A use of CPU or
// memory differs by its share of the capacity, and from none at once; the GPUs that others hold by each; the GPU load by its own; latency and connections by their share of what
// was told, at least of 20 ms and of 100 connections.
func (c *Change) Tell(p sched.Profile, cpu, mem int64) bool {
	step := c.Step
	if step <= 0 {
		step = 0.05
	}
	t := &c.told
	far := func(a, b int64, of float64) bool { return math.Abs(float64(a)-float64(b)) >= step*max(of, 1) }
	tell := !c.any ||
		p.OtherGPUs != t.OtherGPUs ||
		(p.OtherCPU == 0) != (t.OtherCPU == 0) ||
		far(p.OtherCPU, t.OtherCPU, float64(cpu)) ||
		far(p.OtherMem, t.OtherMem, float64(mem)) ||
		math.Abs(p.GPULoad-t.GPULoad) >= step ||
		far(int64(p.Latency), int64(t.Latency), max(float64(t.Latency), 20e6)) ||
		far(int64(p.Connections), int64(t.Connections), max(float64(t.Connections), 100)) ||
		c.Refresh > 0 && p.GPULoad > 0 && p.SampledAt.Sub(t.SampledAt) >= c.Refresh
	if tell {
		c.told, c.any = p, true
	}
	return tell
}
