package metrics

import (
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
const TasksHeader = "task,job,submit_s,ready_s,start_s,end_s,wait_s,node,gpus,attempts"

// WriteTasks writes one CSV line a task in the order of the input, as a stream. Times are seconds on the trace's axis, exact, and
// empty where the thing never happened; start is the first start. node and gpus are those of the last attempt, as placed returns
// them (nil, or an empty answer: the outcome's node alone).
//
//	node  node-001*2;node-002   name*replicas, *1 left out
//	gpus  0-3;0+2               the devices on each of these nodes, in the same order; empty where no node tells GPUs apart
//	gpus  0:500                 a share: device:milli on each device of the set
//	gpus  #16                   16 GPUs of a node with more than sched.MaxDevices, which does not tell them apart
func WriteTasks(w io.Writer, wl *traces.Workload, nodes []sched.NodeSpec, outcome func(sched.TaskID) sched.Outcome,
	placed func(sched.TaskID) []sched.Placement,
) error {
	const full = 64 << 10
	buf := make([]byte, 0, full+4096)
	buf = append(append(buf, TasksHeader...), '\n')
	var one [1]sched.Placement
	at := inputOrder(wl)
	for i := range wl.Tasks {
		t := sched.TaskID(i)
		if at != nil {
			t = at[i]
		}
		task := &wl.Tasks[t]
		o := outcome(t)
		buf = appendField(buf, wl.TaskNames.At(int(t)))
		buf = append(buf, ',')
		buf = appendField(buf, wl.JobName.At(int(task.Job)))
		buf = append(buf, ',')
		buf = AppendSeconds(buf, int64(task.Submit))
		buf = append(buf, ',')
		buf = appendTime(buf, o.Ready)
		buf = append(buf, ',')
		buf = appendTime(buf, o.Start)
		buf = append(buf, ',')
		buf = appendTime(buf, o.End)
		buf = append(buf, ',')
		if o.Phase.Over() && o.Ready != sched.Never && o.End != sched.Never {
			buf = AppendSeconds(buf, int64(o.Wait()))
		}
		buf = append(buf, ',')
		var on []sched.Placement
		if placed != nil {
			on = placed(t)
		}
		d := wl.DemandOf(t)
		if len(on) == 0 && o.Node != sched.NoNode && o.Start != sched.Never {
			one[0] = sched.Placement{Node: o.Node, Replicas: 1}
			on = one[:]
		}
		buf = appendNodes(buf, nodes, on)
		buf = append(buf, ',')
		buf = appendGPUs(buf, nodes, on, &d.Need)
		buf = append(buf, ',')
		buf = strconv.AppendInt(buf, int64(o.Attempts), 10)
		buf = append(buf, '\n')
		if len(buf) >= full {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	_, err := w.Write(buf)
	return err
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

func appendTime(b []byte, t sched.Time) []byte {
	if t == sched.Never {
		return b
	}
	return AppendSeconds(b, int64(t))
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
