package sched

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"
	"time"
)

// A snapshot is the kernel's own state between two Steps: what happened to every task, who holds what, what was changed by facts. The
// table, the nodes of Config and the policy are not in it: the driver has the first two, and a policy keeps nothing that does not follow
// from facts, except a Keeper, whose promises stand at the end. What can be counted again (the ledger, the numbers of tasks by phase, the use of quotas) is not stored but counted, so that
// a snapshot cannot contradict itself there.
//
// Form: a line that names the schema, then varints, then the CRC-32C of all that in four bytes, little end first.

// snapshotSchema is the first line of a snapshot; another form gets another number. keeperSchema is that of one that ends in what a Keeper keeps.
// The other two are the same with what was told of the cost of checkpoints, without which they are not written.
const (
	snapshotSchema = "schedlab/kernel/v2\n"
	keeperSchema   = "schedlab/kernel/v3\n"
	savingSchema   = "schedlab/kernel/v4\n"
	bothSchema     = "schedlab/kernel/v5\n"
)

// goneBit stands with the number of replicas whose node was lost, while the attempt stops on others.
const goneBit = 1 << 31

// maxText bounds a name in a snapshot.
const maxText = 1 << 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot writes the kernel's state to w. It must not be called during a Step. The size is some 20 bytes a known task.
func (k *Kernel) Snapshot(w io.Writer) error {
	e := newEncoder(w)
	keeper, keeps := k.pol.(Keeper)
	switch {
	case keeps && k.saving != nil:
		e.bytes(bothSchema)
	case k.saving != nil:
		e.bytes(savingSchema)
	case keeps:
		e.bytes(keeperSchema)
	default:
		e.bytes(snapshotSchema)
	}
	e.uint(uint64(k.given))
	e.uint(uint64(nodesPrint(k.room.specs[:k.given])))
	e.uint(uint64(k.room.Len() - k.given))
	for i := k.given; i < k.room.Len(); i++ {
		e.spec(&k.room.specs[i])
	}
	for i := range k.room.nodes {
		e.bool(k.room.nodes[i].up)
	}
	e.uint(uint64(len(k.rows)))
	e.uint(uint64(k.vetted.tasks))
	e.int(int64(k.now))
	e.int(int64(k.wake))
	e.int(k.late)
	e.int(k.refused)
	for t := range k.rows {
		e.row(k, TaskID(t))
	}
	e.uint(uint64(k.tasksPrint()))

	e.uint(uint64(len(k.runs) - 1 - len(k.free)))
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		r := &k.runs[i]
		e.uint(uint64(r.task))
		e.since(k.now, r.start)
		e.uint(uint64(k.attempt(r)))
		e.uint(uint64(r.kept))
		e.id(int32(r.claimant))
		on := k.on(r)
		e.uint(uint64(len(on)))
		for _, p := range on {
			e.uint(uint64(p.Node))
			replicas := uint64(p.Replicas)
			if k.gone(r.task, p.Node) {
				replicas |= goneBit
			}
			e.uint(replicas)
			e.uint(uint64(p.GPUs))
		}
	}
	e.uint(uint64(len(k.kept)))
	for _, d := range k.kept {
		e.uint(uint64(d))
	}
	e.uint(uint64(len(k.updated)))
	for _, t := range slices.Sorted(maps.Keys(k.updated)) {
		e.uint(uint64(t))
		e.uint(uint64(k.updated[t]))
	}
	e.uint(uint64(len(k.extra.list)))
	for _, x := range k.extra.list {
		e.uint(uint64(x[0]))
		e.uint(uint64(x[1]))
	}
	e.uint(uint64(len(k.profiles)))
	for i := range k.profiles {
		p := &k.profiles[i]
		switch { // 1: it is set; 2: others hold GPUs, and they stand at its end
		case !p.set:
			e.uint(0)
		case p.OtherGPUs == 0:
			e.uint(1)
		default:
			e.uint(2)
		}
		if p.set {
			e.int(int64(p.SampledAt))
			e.uint(uint64(p.OtherCPU))
			e.uint(uint64(p.OtherMem))
			e.float(p.GPULoad)
			e.int(int64(p.Latency))
			e.int(int64(p.Connections))
			if p.OtherGPUs != 0 {
				e.uint(uint64(p.OtherGPUs))
			}
		}
	}
	// 1: there are quotas; 2: some bound the number of tasks, and this stands with each; 3: some lend, likewise.
	tasks, lends := false, false
	if k.quotas == nil {
		e.uint(0)
	} else {
		for _, m := range []map[string]*quotaUse{k.quotas.tenant, k.quotas.queue} {
			for _, u := range m {
				tasks, lends = tasks || u.Quota.Tasks > 0, lends || u.Cohort != ""
			}
		}
		tasks = tasks || lends
		switch {
		case lends:
			e.uint(3)
		case tasks:
			e.uint(2)
		default:
			e.uint(1)
		}
		for _, m := range []map[string]*quotaUse{k.quotas.tenant, k.quotas.queue} {
			// What is not bounded has an entry only to count its use.
			names := slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(name string) bool { return !m[name].Bounds() })
			e.uint(uint64(len(names)))
			for _, name := range names {
				e.text(name)
				e.int(m[name].Quota.CPU)
				e.int(m[name].GPUMilli)
				if tasks {
					e.int(m[name].Quota.Tasks)
				}
				if lends {
					e.text(m[name].Cohort)
					e.int(m[name].BorrowCPU)
					e.int(m[name].BorrowGPUMilli)
					e.bool(m[name].Reclaim)
				}
			}
		}
	}
	e.uint(uint64(len(k.down)))
	for _, name := range slices.Sorted(maps.Keys(k.down)) {
		e.text(name)
	}
	e.uint(uint64(len(k.backoffs)))
	for _, b := range k.backoffs {
		e.int(int64(b.at))
		e.uint(uint64(b.t))
	}
	e.float(k.book.GPUSeconds)
	e.float(k.book.CPUSeconds)
	e.int(k.book.Preemptions)
	e.int(k.book.Restarts)
	for _, s := range k.book.CauseSeconds {
		e.float(s)
	}
	e.waits(&k.waits)
	if k.saving != nil {
		e.savings(k)
	}
	if keeps {
		kept := keeper.Keep(&k.State, nil)
		e.uint(uint64(len(kept)))
		e.bytes(string(kept))
	}
	return e.close()
}

// Restore returns a kernel that goes on from a snapshot. The table must hold the tasks that had arrived, unchanged, and Nodes must be those
// that the first kernel started with; Start is ignored, and the wait profile goes on only where Waits asks for it. The policy, which must be
// new, is told the present as facts before Restore returns. Restore may read r past the snapshot's end. What is not a whole, sound
// snapshot of this table and these nodes is an error.
func Restore(r io.Reader, c Config) (*Kernel, error) {
	k, err := empty(c)
	if err != nil {
		return nil, err
	}
	d := &decoder{r: bufio.NewReader(r)}
	d.snapshot(k)
	if d.err == nil {
		d.sum()
	}
	if d.err == nil {
		d.err = k.sound()
	}
	if d.err != nil {
		return nil, fmt.Errorf("kernel snapshot: %w", d.err)
	}
	k.tellPresent()
	if keeper, ok := k.pol.(Keeper); ok && d.keeps {
		if err := keeper.Recall(&k.State, d.kept); err != nil {
			return nil, fmt.Errorf("kernel snapshot: %w", err)
		}
	}
	return k, nil
}

func nodesPrint(specs []NodeSpec) uint32 {
	e := newEncoder(io.Discard)
	for i := range specs {
		e.spec(&specs[i])
	}
	return e.done()
}

// tasksPrint is a checksum of what the table says of the tasks that have arrived.
func (k *Kernel) tasksPrint() uint32 {
	e := newEncoder(io.Discard)
	for t := range k.rows {
		if k.rows[t].phase != Unknown {
			task := &k.tb.Tasks[t]
			e.int(int64(task.Submit))
			e.uint(uint64(task.Job))
			e.uint(uint64(task.Class))
		}
	}
	return e.done()
}

type encoder struct {
	w   *bufio.Writer
	out io.Writer
	crc uint32
	buf [binary.MaxVarintLen64]byte
}

func newEncoder(w io.Writer) *encoder {
	e := &encoder{out: w}
	e.w = bufio.NewWriterSize(e, 1<<15)
	return e
}

// Write passes bytes on and sums them.
func (e *encoder) Write(p []byte) (int, error) {
	e.crc = crc32.Update(e.crc, castagnoli, p)
	return e.out.Write(p)
}

// done returns the checksum of all that was written.
func (e *encoder) done() uint32 {
	_ = e.w.Flush() // close reports its error
	return e.crc
}

func (e *encoder) close() error {
	if err := e.w.Flush(); err != nil {
		return err
	}
	_, err := e.out.Write(binary.LittleEndian.AppendUint32(nil, e.crc))
	return err
}

func (e *encoder) bytes(s string) { _, _ = e.w.WriteString(s) } // bufio keeps the error for Flush

func (e *encoder) uint(v uint64) {
	_, _ = e.w.Write(e.buf[:binary.PutUvarint(e.buf[:], v)])
}

func (e *encoder) int(v int64) {
	_, _ = e.w.Write(e.buf[:binary.PutVarint(e.buf[:], v)])
}

// id writes an ID from -1 on.
func (e *encoder) id(v int32) { e.uint(uint64(v + 1)) }

func (e *encoder) float(f float64) { e.uint(math.Float64bits(f)) }

func (e *encoder) bool(b bool) {
	if b {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) text(s string) {
	s = s[:min(len(s), maxText)]
	e.uint(uint64(len(s)))
	e.bytes(s)
}

// since writes an instant by its distance from now, which is short for most.
func (e *encoder) since(now, at Time) { e.int(int64(now - at)) }

func (e *encoder) spec(n *NodeSpec) {
	e.text(n.Name)
	e.int(n.CPU)
	e.int(n.Mem)
	e.uint(uint64(n.GPUs))
	e.text(n.GPUType)
	e.int(n.VRAM)
	e.int(n.SpeedMilli)
	e.int(int64(n.StorageLatency))
	e.float(n.StorageMBps)
	e.float(n.NetworkMbps)
	e.int(int64(n.NetworkLatency))
	e.uint(uint64(len(n.Labels)))
	for _, l := range n.Labels {
		e.text(l.Key)
		e.text(l.Value)
	}
	e.uint(uint64(len(n.Taints)))
	for _, t := range n.Taints {
		e.text(t.Key)
		e.text(t.Value)
		e.text(t.Effect)
	}
}

// row writes a task's state. Instants that are Never, as most are for most tasks, are one bit.
func (e *encoder) row(k *Kernel, t TaskID) {
	rw := &k.rows[t]
	e.uint(uint64(rw.phase))
	if rw.phase == Unknown {
		return
	}
	mark := Never // since when it has been ready, or is over
	if rw.phase == Ready || rw.phase.Over() {
		mark = k.ReadySince(t)
	}
	times := [...]Time{rw.ready, rw.first, mark}
	mask := uint64(0)
	for i, at := range times {
		if at != Never {
			mask |= 1 << i
		}
	}
	e.uint(uint64(rw.cause) | uint64(rw.flags&^(flagHeld|flagAgain))<<4 | mask<<8)
	e.uint(uint64(rw.fails))
	e.uint(uint64(rw.attempt))
	e.uint(uint64(k.WaitsFor(t)))
	e.id(int32(k.nodeOf(rw)))
	e.since(k.now, rw.since)
	for _, at := range times {
		if at != Never {
			e.since(k.now, at)
		}
	}
	e.uint(uint64(k.heldOf(t, rw)))
}

func (e *encoder) waits(w *waits) {
	e.bool(w.rows != nil)
	if w.rows == nil {
		return
	}
	e.id(int32(w.head))
	keys := slices.SortedFunc(maps.Keys(w.rows), waitKey.compare)
	e.uint(uint64(len(keys)))
	for _, key := range keys {
		e.uint(uint64(key.class))
		e.id(int32(key.blocker))
		e.uint(uint64(key.cause))
		e.uint(uint64(key.lack))
		e.float(w.rows[key].ns)
		e.int(w.rows[key].tasks)
	}
	e.uint(uint64(len(w.lacking)))
	for _, t := range slices.Sorted(maps.Keys(w.lacking)) {
		e.uint(uint64(t))
		e.uint(uint64(w.lacking[t]))
	}
	e.uint(uint64(len(w.last)))
	for _, t := range slices.Sorted(maps.Keys(w.last)) {
		e.uint(uint64(t))
		e.uint(uint64(w.last[t]))
	}
}

// savings writes what was told of the cost of the checkpoints of tasks that are not over.
func (e *encoder) savings(k *Kernel) {
	n := 0
	for t := range k.saving {
		if k.saving[t].attempt > 0 && !k.Phase(TaskID(t)).Over() {
			n++
		}
	}
	e.uint(uint64(k.restored))
	e.uint(uint64(n))
	for t := range k.saving {
		if s := &k.saving[t]; s.attempt > 0 && !k.Phase(TaskID(t)).Over() {
			e.uint(uint64(t))
			e.uint(uint64(s.attempt))
			e.uint(uint64(s.cost))
			e.uint(uint64(s.paid))
			e.since(k.now, s.at)
		}
	}
}

func (d *decoder) savings(k *Kernel) {
	k.saving = make([]saving, len(k.rows))
	k.restored = time.Duration(d.length("time"))
	d.many("checkpoints", len(k.rows), func(int) {
		t := d.below(len(k.rows), "task")
		s := saving{attempt: int32(d.upTo(math.MaxInt32/2, "attempts")), cost: time.Duration(d.length("cost")), paid: time.Duration(d.length("time")), at: d.since(k.now)}
		if d.err == nil {
			k.saving[t] = s
		}
	})
}

// decoder reads what encoder wrote. The first error stays; after it all values are 0, so that no loop runs on.
type decoder struct {
	r   *bufio.Reader
	crc uint32
	at  int64
	buf []byte // read and not summed yet
	err error

	keeps bool   // there is something of a Keeper
	kept  []byte // that
	saves bool   // there is something of the cost of checkpoints
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("byte %d: %w", d.at, fmt.Errorf(format, args...))
	}
}

// ReadByte reads one byte of what the checksum covers.
func (d *decoder) ReadByte() (byte, error) {
	b, err := d.r.ReadByte()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	d.at++
	if d.buf = append(d.buf, b); len(d.buf) == 4096 {
		d.flush()
	}
	return b, nil
}

func (d *decoder) flush() {
	d.crc = crc32.Update(d.crc, castagnoli, d.buf)
	d.buf = d.buf[:0]
}

// sum reads the checksum and compares.
func (d *decoder) sum() {
	d.flush()
	var b [4]byte
	if _, err := io.ReadFull(d.r, b[:]); err != nil {
		d.fail("no checksum: %w", io.ErrUnexpectedEOF)
	} else if binary.LittleEndian.Uint32(b[:]) != d.crc {
		d.fail("the checksum does not agree")
	}
}

func (d *decoder) uint() uint64 {
	if d.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(d)
	if err != nil {
		d.fail("%w", err)
		return 0
	}
	return v
}

func (d *decoder) int() int64 {
	u := d.uint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

// below reads a number that must be below limit.
func (d *decoder) below(limit int, what string) int {
	v := d.uint()
	if d.err == nil && v >= uint64(max(limit, 0)) {
		d.fail("%s %d, where %d is the end", what, v, limit)
		return 0
	}
	return int(v)
}

// upTo reads a number from 0 to limit.
func (d *decoder) upTo(limit int, what string) int { return d.below(limit+1, what) }

// id reads an ID from -1 to limit-1.
func (d *decoder) id(limit int, what string) int32 { return int32(d.below(limit+1, what)) - 1 }

// length reads a duration or an amount, which must not be negative.
func (d *decoder) length(what string) int64 {
	v := d.uint()
	if v > math.MaxInt64 {
		d.fail("negative %s", what)
		return 0
	}
	return int64(v)
}

func (d *decoder) float() float64 { return math.Float64frombits(d.uint()) }

func (d *decoder) bool() bool { return d.below(2, "flag") == 1 }

func (d *decoder) text() string { return string(d.some(d.upTo(maxText, "length of a name"))) }

// some reads so many bytes.
func (d *decoder) some(n int) []byte {
	b := make([]byte, 0, 16)
	for ; n > 0 && d.err == nil; n-- {
		c, err := d.ReadByte()
		if err != nil {
			d.fail("%w", err)
			return nil
		}
		b = append(b, c)
	}
	return b
}

func (d *decoder) since(now Time) Time { return now - Time(d.int()) }

// many calls one n times, n read first, and stops at an error. Nothing is allocated by a number that was only read.
func (d *decoder) many(what string, limit int, one func(i int)) {
	n := d.upTo(limit, "number of "+what)
	for i := 0; i < n && d.err == nil; i++ {
		one(i)
	}
}

func (d *decoder) spec() NodeSpec {
	n := NodeSpec{Name: d.text(), CPU: d.int(), Mem: d.int()}
	n.GPUs = int32(d.upTo(math.MaxInt32, "GPUs"))
	n.GPUType = d.text()
	n.VRAM, n.SpeedMilli = d.int(), d.int()
	n.StorageLatency = time.Duration(d.int())
	n.StorageMBps, n.NetworkMbps = d.float(), d.float()
	n.NetworkLatency = time.Duration(d.int())
	d.many("labels", maxText, func(int) { n.Labels = append(n.Labels, Label{d.text(), d.text()}) })
	d.many("taints", maxText, func(int) { n.Taints = append(n.Taints, Taint{d.text(), d.text(), d.text()}) })
	return n
}

// snapshot fills an empty kernel. Counts and the ledger are worked out by sound.
func (d *decoder) snapshot(k *Kernel) {
	var schema [len(snapshotSchema)]byte
	for i := range schema {
		schema[i], _ = d.ReadByte() // the end is no schema
	}
	switch string(schema[:]) {
	case snapshotSchema:
	case keeperSchema:
		d.keeps = true
	case savingSchema:
		d.saves = true
	case bothSchema:
		d.keeps, d.saves = true, true
	default:
		d.fail("this is no snapshot of the schema %q", snapshotSchema[:len(snapshotSchema)-1])
		return
	}
	if n := d.uint(); d.err == nil && n != uint64(k.given) {
		d.fail("the kernel started with %d nodes, not %d", n, k.given)
	}
	if d.uint() != uint64(nodesPrint(k.room.specs[:k.given])) {
		d.fail("the kernel started with other nodes")
	}
	d.many("nodes", math.MaxInt32, func(int) {
		spec := d.spec()
		if err := spec.check(); err != nil {
			d.fail("%w", err)
		}
		if d.err == nil {
			k.room.add(spec)
		}
	})
	for i := 0; i < k.room.Len() && d.err == nil; i++ {
		k.room.setUp(NodeID(i), d.bool())
	}
	known := d.upTo(len(k.tb.Tasks), "tasks")
	k.vetted.tasks = d.upTo(len(k.tb.Tasks), "tasks looked at")
	if d.err == nil {
		if err := k.vet(0, max(known, k.vetted.tasks)); err != nil {
			d.fail("%w", err)
		}
	}
	k.now, k.wake = Time(d.int()), Time(d.int())
	k.late, k.refused = d.int(), d.int()
	for i := 0; i < known && d.err == nil; i++ {
		k.rows = append(k.rows, row{})
		d.row(k, TaskID(i))
	}
	if d.uint() != uint64(k.tasksPrint()) {
		d.fail("the table says otherwise of the tasks that had arrived")
	}
	holds := make([]bool, len(k.rows))
	d.many("runs", known, func(int) { d.run(k, holds) })
	for t := range k.rows {
		if k.rows[t].phase.holds() && !holds[t] {
			d.fail("task %d is %v, and holds no room", t, k.rows[t].phase)
			return
		}
	}
	d.many("tasks with kept work", len(k.tb.Tasks), func(int) { k.kept = append(k.kept, time.Duration(d.length("work"))) })
	d.many("estimates", known, func(int) {
		t := TaskID(d.below(known, "task"))
		if k.updated == nil {
			k.updated = map[TaskID]time.Duration{}
		}
		k.updated[t] = time.Duration(d.length("estimate"))
	})
	d.many("edges", math.MaxInt32, func(int) {
		from, to := TaskID(d.below(known, "task")), TaskID(d.below(known, "task"))
		if d.err == nil && (k.rows[from].phase == Unknown || k.rows[to].phase == Unknown) {
			d.fail("an edge of a task that has not arrived")
		}
		if d.err == nil {
			k.extra.add(from, to)
		}
	})
	d.many("profiles", k.room.Len(), func(int) {
		var p nodeProfile
		kind := d.upTo(2, "profile")
		if p.set = kind > 0; p.set {
			p.SampledAt = Time(d.int())
			p.OtherCPU, p.OtherMem = min(d.length("use"), Unlimited), min(d.length("use"), Unlimited)
			p.GPULoad = d.float()
			p.Latency = time.Duration(d.int())
			p.Connections = int32(d.int())
			if kind == 2 {
				p.OtherGPUs = Devices(d.uint()) & k.room.nodes[len(k.profiles)].all()
			}
		}
		k.profiles = append(k.profiles, p)
	})
	if has := d.upTo(3, "quotas"); has > 0 {
		k.quotas = &quotas{tenant: map[string]*quotaUse{}, queue: map[string]*quotaUse{}}
		for i, m := range []map[string]*quotaUse{k.quotas.tenant, k.quotas.queue} {
			d.many("quotas", math.MaxInt32, func(int) {
				name := d.text()
				q := Quota{Tenant: name, CPU: d.int(), GPUMilli: d.int()}
				if i == 1 {
					q.Tenant, q.Queue = "", name
				}
				if has >= 2 {
					q.Tasks = d.int()
				}
				if has == 3 {
					q.Cohort, q.BorrowCPU, q.BorrowGPUMilli, q.Reclaim = d.text(), d.int(), d.int(), d.bool()
				}
				k.quotas.of(m, name).Quota = q
			})
		}
	}
	d.many("dependencies", math.MaxInt32, func(int) {
		if k.down == nil {
			k.down = map[string]bool{}
		}
		k.down[d.text()] = true
	})
	d.many("backoffs", math.MaxInt32, func(i int) {
		k.backoffs = append(k.backoffs, backoffEntry{Time(d.int()), TaskID(d.below(known, "task"))})
		if i > 0 && k.backoffs.less(i, (i-1)/2) {
			d.fail("the backoffs are no heap")
		}
	})
	b := &k.book
	b.GPUSeconds, b.CPUSeconds, b.Preemptions, b.Restarts = d.float(), d.float(), d.int(), d.int()
	for i := range b.CauseSeconds {
		b.CauseSeconds[i] = d.float()
	}
	d.waits(k)
	if d.saves {
		d.savings(k)
	}
	if d.keeps {
		d.kept = d.some(d.upTo(math.MaxInt32, "length of what the policy keeps"))
	}
}

func (d *decoder) row(k *Kernel, t TaskID) {
	rw := &k.rows[t]
	*rw = row{class: k.tb.Tasks[t].Class, at: int32(NoNode), ready: Never, first: Never}
	rw.phase = Phase(d.upTo(int(Rejected), "phase"))
	if rw.phase == Unknown {
		return
	}
	bits := d.below(1<<11, "flags")
	rw.cause, rw.flags = Cause(bits&15), uint8(bits>>4&15)
	if rw.cause >= NumCauses {
		d.fail("cause %d", rw.cause)
	}
	rw.fails = uint8(d.upTo(255, "failures"))
	rw.attempt = int32(d.upTo(math.MaxInt32/2, "attempts"))
	k.setWaits(t, int32(d.upTo(math.MaxInt32/2, "predecessors")))
	rw.at = d.id(k.room.Len(), "node")
	rw.since = d.since(k.now)
	mark := Never
	for i, at := range []*Time{&rw.ready, &rw.first, &mark} {
		if bits>>8>>i&1 != 0 {
			*at = d.since(k.now)
		}
	}
	switch {
	case rw.phase == Ready:
		k.setReadySince(t, rw, mark)
	case rw.phase.Over():
		rw.since = mark
	}
	ended := rw.attempt
	if rw.phase == Running || rw.phase == Stopping {
		ended--
	}
	if held := time.Duration(d.length("time")); held != k.heldOf(t, rw) || ended > 1 || ended > 0 && !rw.phase.Over() {
		k.addHeld(t, rw, held)
	}
}

// run reads what a task that holds room has; holds says which tasks were read before.
func (d *decoder) run(k *Kernel, holds []bool) {
	t := TaskID(d.below(len(k.rows), "task"))
	start, est, kept := d.since(k.now), time.Duration(d.length("estimate")), time.Duration(d.length("work"))
	claimant := TaskID(d.id(len(k.rows), "task"))
	if d.err != nil {
		return
	}
	rw := &k.rows[t]
	if !rw.phase.holds() || holds[t] {
		d.fail("task %d holds room and is %v", t, rw.phase)
		return
	}
	holds[t] = true
	was := NodeID(rw.at)
	rw.at = k.slot()
	k.link(rw.at)
	r := &k.runs[rw.at]
	*r = run{task: t, demand: k.DemandID(t), claimant: claimant, start: start, est: est, kept: kept, was: was}
	on := k.placed[:0]
	left := int64(k.Demand(t).Gang)
	d.many("placements", math.MaxInt32, func(int) {
		p := Placement{Node: NodeID(d.below(k.room.Len(), "node"))}
		replicas := d.upTo(goneBit|math.MaxInt32, "replicas")
		p.Replicas, p.GPUs = int32(replicas&math.MaxInt32), Devices(d.uint())
		if replicas&goneBit != 0 && d.err == nil {
			if rw.phase != Stopping {
				d.fail("task %d has lost a node and is %v", t, rw.phase)
			}
			k.setGone(t, p.Node)
		}
		if left -= int64(p.Replicas); p.Replicas < 1 || left < 0 {
			d.fail("task %d holds more than its gang", t)
		}
		on = append(on, p)
	})
	k.placed = on[:0]
	k.put(r, on)
	if left != 0 {
		d.fail("task %d holds less than its gang", t)
	}
}

func (d *decoder) waits(k *Kernel) {
	if !d.bool() {
		return
	}
	w := waits{rows: map[waitKey]*waitSum{}, lacking: map[TaskID]Resource{}, last: map[TaskID]TaskID{}}
	w.head = TaskID(d.id(len(k.rows), "task"))
	d.many("wait rows", math.MaxInt32, func(int) {
		key := waitKey{class: ClassID(d.below(len(k.tb.Classes), "class")), blocker: TaskID(d.id(len(k.rows), "task"))}
		key.cause = Cause(d.below(int(NumCauses), "cause"))
		key.lack = Resource(d.below(len(resourceNames), "resource"))
		w.rows[key] = &waitSum{d.float(), d.int()}
	})
	d.many("lacking tasks", len(k.rows), func(int) {
		t := TaskID(d.below(len(k.rows), "task"))
		w.lacking[t] = Resource(d.below(len(resourceNames), "resource"))
	})
	d.many("last predecessors", len(k.rows), func(int) {
		t := TaskID(d.below(len(k.rows), "task"))
		w.last[t] = TaskID(d.below(len(k.rows), "task"))
	})
	if k.waits.rows != nil {
		w.keeps = k.waits.keeps
		k.waits = w
	}
}

// sound works out what a snapshot does not say and looks whether what it says can be: a snapshot made by hand must not break the kernel
// later.
func (k *Kernel) sound() error {
	backoff := map[TaskID]bool{}
	for _, b := range k.backoffs {
		backoff[b.t] = true
	}
	for t := range k.rows {
		rw := &k.rows[t]
		switch rw.phase {
		case Unknown:
			continue
		case Ready:
			k.ready++
		case Blocked:
			k.blocked++
		case Running, Stopping:
			k.running++
		case Claiming:
			k.claims++
		}
		if !rw.phase.Over() {
			k.open++
		} else if k.over++; rw.attempt > 0 {
			k.lastEnd = max(k.lastEnd, rw.since)
		}
		if rw.phase.Over() && rw.phase != Done {
			k.undone++
		}
		if rw.phase == Backoff && !backoff[TaskID(t)] {
			return fmt.Errorf("task %d waits for a backoff without end", t)
		}
		all, open := 0, 0
		for p := range k.Preds(TaskID(t)) {
			all++
			if k.Phase(p) != Done {
				open++
			}
		}
		waits := k.WaitsFor(TaskID(t))
		if waits > all || !rw.phase.Over() && waits != open || rw.phase == Blocked && open == 0 || rw.phase != Blocked && rw.phase != Held && !rw.phase.Over() && open > 0 {
			return fmt.Errorf("task %d is %v and waits for %d predecessors of %d", t, rw.phase, waits, all)
		}
	}
	if !k.acyclic() {
		return errors.New("a cycle of dependencies")
	}
	return k.bookRuns()
}

// bookRuns fills the ledger: what runs must fit the nodes, and what is claimed what they have without the victims.
func (k *Kernel) bookRuns() error {
	var last Time
	var claims, victims []int32
	for i, first := k.ring[0].next, true; i != 0; i = k.ring[i].next {
		r := &k.runs[i]
		if c := r.claimant; c != Nobody {
			if k.rows[r.task].phase != Stopping || k.rows[c].phase != Claiming {
				return fmt.Errorf("task %d is a victim of task %d", r.task, c)
			}
			k.runs[k.rows[c].at].wait++
			victims = append(victims, i)
		}
		if k.rows[r.task].phase == Claiming {
			claims = append(claims, i)
		} else {
			if r.start > k.now || !first && r.start < last {
				return fmt.Errorf("task %d is out of the order of start", r.task)
			}
			first, last = false, r.start
			if k.tb.EdgeBytes != nil || k.tb.Data != nil {
				k.stage(r.task, i)
			}
		}
	}
	// All that runs was placed on nodes that were up, by what they have alone.
	var down []NodeID
	for i := range k.room.nodes {
		if !k.room.Up(NodeID(i)) {
			down = append(down, NodeID(i))
			k.room.setUp(NodeID(i), true)
		}
	}
	book := func(i int32) error {
		r := &k.runs[i]
		d := k.DemandID(r.task)
		for _, p := range k.on(r) {
			if !k.room.fits(d, p) {
				return fmt.Errorf("task %d does not fit where it is on %s", r.task, k.room.specs[p.Node].Name)
			}
			k.room.Take(&k.tb.Demands[d].Need, p)
		}
		return nil
	}
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		if k.rows[k.runs[i].task].phase != Claiming {
			if err := book(i); err != nil {
				return err
			}
		}
	}
	for _, v := range victims {
		k.bookAll(k.runs[v].task, -1)
	}
	for _, c := range claims {
		if k.runs[c].wait == 0 {
			return fmt.Errorf("task %d claims and has no victims", k.runs[c].task)
		}
		if err := book(c); err != nil {
			return err
		}
	}
	for _, v := range victims {
		k.bookAll(k.runs[v].task, 1)
	}
	for _, n := range down {
		k.room.setUp(n, false)
	}
	for i := range k.profiles {
		k.room.occupy(NodeID(i), k.profiles[i].OtherCPU, k.profiles[i].OtherMem)
		k.room.occupyGPUs(NodeID(i), k.profiles[i].OtherGPUs, 0)
	}
	if k.quotas != nil {
		for i := k.ring[0].next; i != 0; i = k.ring[i].next {
			k.quotas.take(k.tb, k.runs[i].task, k.Demand(k.runs[i].task))
		}
		k.regroup()
	}
	return nil
}

// acyclic reports whether no dependencies of the tasks that have arrived, given or added, go round.
func (k *Kernel) acyclic() bool {
	if k.tb.SuccOff == nil && k.extra.list == nil {
		return true
	}
	left := make([]int32, len(k.rows))
	var queue []TaskID
	known := 0
	for t := range k.rows {
		if k.rows[t].phase == Unknown {
			continue
		}
		known++
		for p := range k.Preds(TaskID(t)) {
			if k.Phase(p) != Unknown {
				left[t]++
			}
		}
		if left[t] == 0 {
			queue = append(queue, TaskID(t))
		}
	}
	seen := 0
	for ; seen < len(queue); seen++ {
		for u := range k.Succs(queue[seen]) {
			if k.Phase(u) != Unknown {
				if left[u]--; left[u] == 0 {
					queue = append(queue, u)
				}
			}
		}
	}
	return seen == known
}
