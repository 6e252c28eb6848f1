package metrics

import (
	"encoding/binary"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// TasksHeader is the first line of the tasks CSV.
const TasksHeader = "task,job,submit_s,ready_s,start_s,end_s,wait_s,node,gpus,attempts,state"

// WriteTasks writes one CSV line a task in the order of the input, as a stream. outcomes fills in what became of the tasks from one on. Times are seconds on the
// trace's axis, exact, and empty where the thing never happened; start is the first start. node and gpus are those of the last attempt, as
// placed returns them (nil, or an empty answer: the outcome's node alone). state is the outcome's phase.
//
//	node  node-001*2;node-002   name*replicas, *1 left out
//	gpus  0-3;0+2               the devices on each of these nodes, in the same order; empty where no node tells GPUs apart
//	gpus  0:500                 a share: device:milli on each device of the set
//	gpus  #16                   16 GPUs of a node with more than sched.MaxDevices, which does not tell them apart
func WriteTasks(w io.Writer, wl *traces.Workload, nodes []sched.NodeSpec, outcomes func(from sched.TaskID, outcomes []sched.Outcome),
	placed func(sched.TaskID) []sched.Placement,
) error {
	buf := make([]byte, 0, fullBuffer+4096)
	buf = append(append(buf, TasksHeader...), '\n')
	var one [1]sched.Placement
	at := inputOrder(wl)
	names := make([]snippet, len(nodes))
	for i := range nodes {
		if name := nodes[i].Name + ","; len(name) <= len(names[i].text) && !strings.ContainsAny(nodes[i].Name, ",\"\r\n") {
			names[i] = snippetOf(name)
		}
	}
	var devices [256]snippet // of the small sets
	for set := range devices {
		devices[set] = snippetOf(string(AppendDevices(nil, sched.Devices(set))) + ",")
	}
	var states [sched.Rejected + 1]snippet
	for ph := range states {
		states[ph] = snippetOf("," + sched.Phase(ph).String() + "\n")
	}
	// Usually a task is called by its number, and so is its job.
	plain := wl.TaskNames.Len() == 0 && wl.JobName.Len() == 0
	var next [64]sched.Outcome // what has just been written is not read at once
	for i := range wl.Tasks {
		t, o := sched.TaskID(i), &next[i%len(next)]
		if at != nil {
			t = at[i]
			outcomes(t, next[i%len(next):][:1])
		} else if i%len(next) == 0 {
			outcomes(t, next[:min(len(next), len(wl.Tasks)-i)])
		}
		if len(buf) >= fullBuffer {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		task := &wl.Tasks[t]
		numbered := plain && int(task.Job) == int(t) && t < 1e9-1
		if !numbered {
			buf = append(appendName(buf, &wl.TaskNames, int(t)), ',')
			buf = append(appendName(buf, &wl.JobName, int(task.Job)), ',')
		}

		// The rest, but for what it says of placements in words, is put into room that is there.
		buf = slices.Grow(buf, room)
		b, n := (*line)(buf[len(buf):cap(buf)]), 0
		if numbered {
			n = putWhole(b, 0, uint64(t)+1)
			b[n&most] = ','
			n++
			n = putAgain(b, n, 0)
		}
		submit := n
		n = putSeconds(b, n, int64(task.Submit))
		ready := n
		if o.Ready == task.Submit && o.Ready != sched.Never {
			n = putAgain(b, n, submit)
		} else {
			n = putTime(b, n, o.Ready)
		}
		if o.Start == o.Ready {
			n = putAgain(b, n, ready)
		} else {
			n = putTime(b, n, o.Start)
		}
		n = putTime(b, n, o.End)
		if o.Phase.Over() && o.Ready != sched.Never && o.End != sched.Never {
			n = putSeconds(b, n, int64(o.Wait()))
		} else {
			n = putTime(b, n, sched.Never)
		}
		var on []sched.Placement
		if placed != nil {
			on = placed(t)
		}
		if len(on) == 0 && o.Node != sched.NoNode && o.Start != sched.Never {
			one[0] = sched.Placement{Node: o.Node, Replicas: 1}
			on = one[:]
		}
		need := &wl.DemandOf(t).Need
		if len(on) == 1 && on[0].Replicas <= 1 && names[on[0].Node].n > 0 && uint64(on[0].GPUs) < uint64(len(devices)) &&
			(need.GPUs == 0 || need.GPUMilli == sched.Whole && nodes[on[0].Node].GPUs <= sched.MaxDevices) {
			n = names[on[0].Node].put(b, n)
			n = devices[on[0].GPUs].put(b, n)
		} else {
			buf = append(appendNodes(buf[:len(buf)+n], nodes, on), ',')
			buf = append(appendGPUs(buf, nodes, on, need), ',')
			buf = slices.Grow(buf, room)
			b, n = (*line)(buf[len(buf):cap(buf)]), 0
		}
		if few := o.Attempts; few >= 0 && few < 10 { // as most
			b[n&most] = '0' + byte(few)
			n++
		} else {
			n += len(strconv.AppendInt(b[n&most:n&most], int64(few), 10))
		}
		n = states[o.Phase].put(b, n)
		buf = buf[:len(buf)+n]
	}
	_, err := w.Write(buf)
	return err
}

const (
	fullBuffer = 64 << 10
	most       = 255           // bytes of a row that are put: two names, five times, a node, a set of devices, the attempts and a state
	room       = most + 1 + 32 // and what is written beyond the last of them, to be overwritten
)

// line is room for a row. Its places are masked, so that the compiler sees that they are inside.
type line [room]byte

// snippet is a short text that is copied without a loop.
type snippet struct {
	text [31]byte
	n    uint8
}

func snippetOf(s string) snippet {
	x := snippet{n: uint8(len(s))}
	copy(x.text[:], s)
	return x
}

func (s *snippet) put(b *line, n int) int {
	to := b[n&most:]
	le := binary.LittleEndian
	le.PutUint64(to, le.Uint64(s.text[:]))
	le.PutUint64(to[8:], le.Uint64(s.text[8:]))
	if s.n > 16 {
		le.PutUint64(to[16:], le.Uint64(s.text[16:]))
		copy(to[24:31], s.text[24:])
	}
	return n + int(s.n)
}

// putAgain repeats the cell that begins at from and ends at n, of at most 24 bytes.
func putAgain(b *line, n, from int) int {
	cell, to := b[from&most:], b[n&most:]
	le := binary.LittleEndian
	x, y, z := le.Uint64(cell), le.Uint64(cell[8:]), le.Uint64(cell[16:])
	le.PutUint64(to, x)
	le.PutUint64(to[8:], y)
	le.PutUint64(to[16:], z)
	return n + n - from
}

// lead and three have the text of the numbers below 1000, the first digit in the lowest byte: lead without zeros at the front and with its
// length in the highest byte, three with three digits and in the highest byte how many there are up to the last that is not 0. What
// is beyond 1000 is there for the bounds' sake.
var lead, three = func() (lead, three [1024]uint32) {
	for v := range uint32(1000) {
		text := '0' + v/100 | ('0'+v/10%10)<<8 | ('0'+v%10)<<16
		switch {
		case v < 10:
			lead[v] = text>>16 | 1<<24
		case v < 100:
			lead[v] = text>>8 | 2<<24
		default:
			lead[v] = text | 3<<24
		}
		switch {
		case v%10 > 0:
			three[v] = text | 3<<24
		case v%100 > 0:
			three[v] = text | 2<<24
		default:
			three[v] = text | 1<<24
		}
	}
	return lead, three
}()

// putWhole puts v < 1e9 at n, and returns where it ends. It writes up to 10 bytes.
func putWhole(b *line, n int, v uint64) int {
	to := b[n&most:]
	le := binary.LittleEndian
	if v < 1000 {
		x := lead[v&1023]
		le.PutUint32(to, x)
		return n + int(x>>24)
	}
	high := v / 1000
	last := three[(v-1000*high)&1023]
	if high < 1000 {
		x := lead[high&1023]
		k := x >> 24 & 3
		le.PutUint32(to, x)
		le.PutUint32(to[k:], last)
		return n + int(k) + 3
	}
	top := high / 1000
	x := lead[top&1023]
	k := x >> 24 & 3
	le.PutUint32(to, x)
	le.PutUint32(to[k:], three[(high-1000*top)&1023])
	le.PutUint32(to[k+3:], last)
	return n + int(k) + 6
}

func putTime(b *line, n int, t sched.Time) int {
	if t == sched.Never {
		b[n&most] = ','
		return n + 1
	}
	return putSeconds(b, n, int64(t))
}

// putSeconds puts what AppendSeconds appends, and a comma, into b at n, and returns where that ends. It writes up to 32 bytes.
func putSeconds(b *line, n int, ns int64) int {
	const second = uint64(time.Second)
	u := uint64(ns)
	if u >= 1e9*second {
		return n + len(append(AppendSeconds(b[n&most:n&most], ns), ','))
	}
	le := binary.LittleEndian
	whole := u / second
	rest := u - whole*second
	n = putWhole(b, n, whole)
	if rest > 0 {
		high := rest / 1000
		top := high / 1000
		mid, low := high-1000*top, rest-1000*high
		x, y, z := three[top&1023], three[mid&1023], three[low&1023]
		to := b[n&most:]
		to[0] = '.'
		le.PutUint32(to[1:], x)
		le.PutUint32(to[4:], y)
		le.PutUint32(to[7:], z)
		switch {
		case low > 0:
			n += 7 + int(z>>24)
		case mid > 0:
			n += 4 + int(y>>24)
		default:
			n += 1 + int(x>>24)
		}
	}
	b[n&most] = ','
	return n + 1
}

// appendName appends name i of the list as a CSV field.
func appendName(b []byte, names *sched.Names, i int) []byte {
	from := len(b)
	b = names.AppendTo(b, i)
	for j, c := range b[from:] {
		if c == ',' || c == '"' || c == '\r' || c == '\n' || c == ' ' && j == 0 {
			return appendField(b[:from], string(b[from:]))
		}
	}
	return b
}

// inputOrder returns the tasks in the order of the input, nil where that is the order of their numbers.
func inputOrder(wl *traces.Workload) []sched.TaskID {
	if wl.Input == nil {
		return nil
	}
	at := make([]sched.TaskID, len(wl.Tasks))
	for i := range at {
		at[i] = sched.Nobody
	}
	for t, pos := range wl.Input {
		if pos < 0 || int(pos) >= len(at) || at[pos] != sched.Nobody { // positions with gaps: sort
			for i := range at {
				at[i] = sched.TaskID(i)
			}
			slices.SortStableFunc(at, func(a, b sched.TaskID) int { return int(wl.Input[a]) - int(wl.Input[b]) })
			return at
		}
		at[pos] = sched.TaskID(t)
	}
	return at
}

// AppendSeconds appends ns nanoseconds as seconds, exact, with as few decimals as that takes.
func AppendSeconds(b []byte, ns int64) []byte {
	u := uint64(ns)
	if ns < 0 {
		b = append(b, '-')
		u = -u
	}
	const second = uint64(time.Second)
	b = strconv.AppendUint(b, u/second, 10)
	rest := u % second
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := second / 10; rest > 0; unit /= 10 {
		b = append(b, byte('0'+rest/unit))
		rest %= unit
	}
	return b
}

// appendField appends s as a CSV field (RFC 4180), quoted only where it must be.
func appendField(b []byte, s string) []byte {
	if s == "" || !strings.ContainsAny(s, ",\"\r\n") && s[0] != ' ' {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func appendNodes(b []byte, nodes []sched.NodeSpec, on []sched.Placement) []byte {
	quoted := false
	for i := range on {
		quoted = quoted || strings.ContainsAny(nodes[on[i].Node].Name, ",\"\r\n")
	}
	if quoted { // rare: put together, then quoted as one field
		var all []byte
		for i := range on {
			all = appendNode(all, nodes, &on[i], i)
		}
		return appendField(b, string(all))
	}
	for i := range on {
		b = appendNode(b, nodes, &on[i], i)
	}
	return b
}

func appendNode(b []byte, nodes []sched.NodeSpec, p *sched.Placement, i int) []byte {
	if i > 0 {
		b = append(b, ';')
	}
	b = append(b, nodes[p.Node].Name...)
	if p.Replicas > 1 {
		b = append(b, '*')
		b = strconv.AppendInt(b, int64(p.Replicas), 10)
	}
	return b
}

func appendGPUs(b []byte, nodes []sched.NodeSpec, on []sched.Placement, need *sched.Need) []byte {
	pool := func(p *sched.Placement) bool { return need.GPUs > 0 && nodes[p.Node].GPUs > sched.MaxDevices }
	any := false
	for i := range on {
		any = any || on[i].GPUs != 0 || pool(&on[i])
	}
	if !any {
		return b
	}
	for i := range on {
		if i > 0 {
			b = append(b, ';')
		}
		if pool(&on[i]) {
			b = append(b, '#')
			b = strconv.AppendInt(b, int64(on[i].Replicas)*int64(need.GPUs), 10)
			continue
		}
		b = AppendDevices(b, on[i].GPUs)
		if milli := need.GPUMilli; milli > 0 && milli < sched.Whole && on[i].GPUs != 0 {
			b = append(b, ':')
			b = strconv.AppendInt(b, int64(milli), 10)
		}
	}
	return b
}

// AppendDevices appends a set of GPU indexes: ranges, joined by + (a comma would have to be quoted in CSV), as in 0-3+6.
func AppendDevices(b []byte, set sched.Devices) []byte {
	for first := true; set != 0; first = false {
		lo := bits.TrailingZeros64(uint64(set))
		n := bits.TrailingZeros64(^(uint64(set) >> lo)) // length of the run of ones
		if !first {
			b = append(b, '+')
		}
		b = strconv.AppendInt(b, int64(lo), 10)
		if n > 1 {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(lo+n-1), 10)
		}
		if lo+n >= 64 {
			break
		}
		set = set >> (lo + n) << (lo + n)
	}
	return b
}
