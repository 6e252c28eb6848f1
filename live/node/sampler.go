// Package node samples this machine: CPU, memory, network, connections and GPUs, in the form of SPEC's node profile and as the fact that the
// kernel takes in. It makes no traffic and asks nobody: all is read from /proc and /sys and from the GPU driver, in tens of microseconds and,
// after the first sample, without allocating.
package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/live/device"
)

// Options say what to sample. The zero value is this machine without GPUs.
type Options struct {
	ID     string        // the node's name; "" is the host's
	Root   string        // where /proc and /sys lie; "" is "/"
	Driver device.Driver // of the GPUs; nil if there are none. The caller closes it
	CPU    float64       // cores, where fewer than the machine has may be used (a container's limit); 0 is all
	Mem    int64         // bytes, likewise
	Now    func() time.Time
}

// Reading is what was seen at one moment. The slices belong to the Sampler and are valid until the next Sample.
type Reading struct {
	At          time.Time
	CPU         float64 // cores that may be used
	CPUUsed     float64 // cores in use since the reading before; of the first one, since boot
	Mem         int64   // bytes
	MemUsed     int64   // bytes that no new program could have
	Load        float64 // of the last minute: threads that run, are ready, or wait for a disk
	NetMbps     float64 // of the links together; 0 if they do not tell
	RxMbps      float64 // received since the reading before, 0 of the first one
	TxMbps      float64
	Connections int32         // TCP, established
	Latency     time.Duration // of the network: the median over the kernel's estimates for its TCP connections to other machines; 0 if there are none
	Storage     time.Duration // of an operation of the disks, since the last reading that saw any; of the first one, since boot; 0 if unknown
	OtherCPU    float64       // cores that others than our attempts use, a mean that forgets in 10 s
	OtherMem    int64         // bytes, likewise, of this moment
	Cards       []device.GPU
	GPUs        []device.Sample
	Others      []Occupancy // of each GPU by others; empty if there are none
}

// Own is what our own attempts use, so that the rest can be told to be others'. The zero value has no attempts.
type Own struct {
	CPUTime time.Duration        // used so far by all attempts, those that have ended included: it never falls
	Mem     int64                // bytes in use now, without caches that can be given back
	PID     func(pid int32) bool // whether a process is ours; nil: none is
}

// Occupancy is what processes of others hold of one GPU.
type Occupancy struct {
	VRAM      int64 // bytes; those of processes of unknown size not counted
	Processes int32
	Unsized   bool // a process holds an unknown amount
}

// Sampler samples one machine. It is for one goroutine.
type Sampler struct {
	o     Options
	files struct{ stat, mem, load, net, snmp, disks *os.File }
	buf   []byte
	links []string // interfaces that count; empty: all but lo
	disks []string
	mbps  float64
	last  struct {
		at       time.Time
		cpu      cpuTicks
		rx, tx   uint64
		ops, ms  uint64
		own      time.Duration
		measured time.Time // of latency
	}
	rtt rttProbe
	r   Reading
	add struct { // what addLink sums up; a field, so that the call needs no closure
		rx, tx uint64
	}
	addLink func(name []byte, rx, tx uint64)
	isDisk  func(name []byte) bool
}

// latencyEvery is how often the connections are asked for their latency: the one part whose cost grows with the machine's use.
const latencyEvery = 10 * time.Second

// Open prepares the sampling. It fails where this machine has no /proc.
func Open(o Options) (*Sampler, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ID == "" {
		var err error
		if o.ID, err = os.Hostname(); err != nil || o.ID == "" {
			o.ID = "localhost"
		}
	}
	s := &Sampler{o: o, buf: make([]byte, 16<<10)}
	for _, f := range []struct {
		to   **os.File
		path string
		must bool
	}{
		{&s.files.stat, "proc/stat", true},
		{&s.files.mem, "proc/meminfo", true},
		{&s.files.load, "proc/loadavg", false},
		{&s.files.net, "proc/net/dev", false},
		{&s.files.snmp, "proc/net/snmp", false},
		{&s.files.disks, "proc/diskstats", false},
	} {
		file, err := os.Open(filepath.Join(o.Root, f.path))
		if err != nil {
			if !f.must {
				continue
			}
			_ = s.Close()
			return nil, fmt.Errorf("this machine cannot be sampled: %w", err)
		}
		*f.to = file
	}
	s.findLinks()
	s.findDisks()
	s.addLink = func(name []byte, rx, tx uint64) {
		if s.counts(name) {
			s.add.rx += rx
			s.add.tx += tx
		}
	}
	if o.Driver != nil {
		s.r.Cards = o.Driver.List()
	}
	s.isDisk = func(name []byte) bool { return has(s.disks, name) }
	if o.Root == "/" {
		s.rtt = newRTTProbe()
	}
	return s, nil
}

// findLinks finds the interfaces with hardware below them (a bridge or a container's pair would count the same bytes again) and their speed.
func (s *Sampler) findLinks() {
	folder := filepath.Join(s.o.Root, "sys/class/net")
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if _, err := os.Stat(filepath.Join(path, "device")); err != nil {
			continue
		}
		s.links = append(s.links, e.Name())
		b, err := os.ReadFile(filepath.Join(path, "speed")) // an error where the link is down
		if v, perr := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && perr == nil && v > 0 && v < 1e8 {
			s.mbps += float64(v)
		}
	}
}

// findDisks finds the disks themselves, not their parts nor what is built upon them.
func (s *Sampler) findDisks() {
	folder := filepath.Join(s.o.Root, "sys/block")
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(folder, e.Name(), "device")); err == nil {
			s.disks = append(s.disks, e.Name())
		}
	}
}

func (s *Sampler) counts(name []byte) bool {
	if len(s.links) == 0 {
		return string(name) != "lo"
	}
	return has(s.links, name)
}

func has(list []string, name []byte) bool {
	for _, l := range list {
		if l == string(name) {
			return true
		}
	}
	return false
}

// read returns what the kernel writes into a file now. nil where it cannot be read.
func (s *Sampler) read(f *os.File) []byte {
	if f == nil {
		return nil
	}
	for {
		n, err := f.ReadAt(s.buf, 0) // to the end of the file, or of the buffer
		switch {
		case err == io.EOF:
			return s.buf[:n]
		case err != nil || len(s.buf) >= 4<<20:
			return nil
		}
		s.buf = make([]byte, 2*len(s.buf))
	}
}

// Sample reads the machine. What cannot be read keeps its last value. own is what our attempts use at this moment.
func (s *Sampler) Sample(own Own) *Reading {
	now := s.o.Now()
	r, l := &s.r, &s.last
	elapsed := now.Sub(l.at).Seconds()
	first := l.at.IsZero()
	r.At = now
	if c, ok := parseStat(s.read(s.files.stat)); ok {
		r.CPU = float64(c.cpus)
		if s.o.CPU > 0 {
			r.CPU = min(r.CPU, s.o.CPU)
		}
		// A CPU that went away took its ticks along: then both go back, and there is nothing to tell.
		if c.total > l.cpu.total && c.busy >= l.cpu.busy {
			share := float64(c.busy-l.cpu.busy) / float64(c.total-l.cpu.total)
			r.CPUUsed = min(share*float64(c.cpus), r.CPU)
		}
		l.cpu = c
	}
	if total, available, ok := parseMeminfo(s.read(s.files.mem)); ok {
		r.Mem, r.MemUsed = total, total-available
		if s.o.Mem > 0 {
			r.Mem = min(r.Mem, s.o.Mem)
			r.MemUsed = min(r.MemUsed, r.Mem)
		}
	}
	if centi, ok := parseLoad(s.read(s.files.load)); ok {
		r.Load = float64(centi) / 100
	}
	s.add.rx, s.add.tx = 0, 0
	if parseNetDev(s.read(s.files.net), s.addLink) {
		// An interface that went away, or a counter of 32 bits that overflowed, says nothing.
		if !first && elapsed > 0 && s.add.rx >= l.rx && s.add.tx >= l.tx {
			r.RxMbps = float64(s.add.rx-l.rx) * 8 / 1e6 / elapsed
			r.TxMbps = float64(s.add.tx-l.tx) * 8 / 1e6 / elapsed
		}
		l.rx, l.tx = s.add.rx, s.add.tx
	}
	r.NetMbps = s.mbps
	if n, ok := parseEstablished(s.read(s.files.snmp)); ok {
		r.Connections = int32(n)
	}
	if len(s.disks) > 0 {
		if ops, ms, ok := parseDisks(s.read(s.files.disks), s.isDisk); ok {
			if ops > l.ops && ms >= l.ms {
				r.Storage = time.Duration(float64(ms-l.ms) / float64(ops-l.ops) * 1e6)
			}
			l.ops, l.ms = ops, ms
		}
	}
	if first || now.Sub(l.measured) >= latencyEvery {
		l.measured = now
		if d, ok := s.rtt.median(); ok {
			r.Latency = d
		}
	}
	if s.o.Driver != nil {
		r.GPUs = s.o.Driver.Sample(r.GPUs)
	}
	s.others(own, elapsed, first)
	l.at, l.own = now, own.CPUTime
	return r
}

// forgets is the time in which the mean of others' CPU forgets two thirds of what was.
const forgets = 10 // s

// others tells apart what is not ours.
func (s *Sampler) others(own Own, elapsed float64, first bool) {
	r := &s.r
	switch {
	case first:
		r.OtherCPU = r.CPUUsed // since boot, and so is all of it
	case elapsed > 0:
		// Taken over the same time as CPUUsed: else the start of each job would look like the end of another's.
		ours := max(own.CPUTime-s.last.own, 0).Seconds() / elapsed
		r.OtherCPU += (max(r.CPUUsed-ours, 0) - r.OtherCPU) * -math.Expm1(-elapsed/forgets)
	}
	r.OtherMem = max(r.MemUsed-max(own.Mem, 0), 0)
	r.Others = r.Others[:0]
	for i := range r.GPUs {
		var o Occupancy
		for _, p := range r.GPUs[i].Processes {
			if own.PID != nil && own.PID(p.PID) {
				continue
			}
			o.Processes++
			if p.VRAM == device.Unknown {
				o.Unsized = true
			} else {
				o.VRAM += p.VRAM
			}
		}
		r.Others = append(r.Others, o)
	}
}

// ID returns the node's name.
func (s *Sampler) ID() string { return s.o.ID }

// Close frees the files. It does not close the GPU driver.
func (s *Sampler) Close() error {
	var errs []error
	for _, f := range []*os.File{s.files.stat, s.files.mem, s.files.load, s.files.net, s.files.snmp, s.files.disks} {
		if f != nil {
			if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, s.rtt.close())...)
}
