package journal

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/schedlab/schedlab/policies/sched"
)

// The writer puts its JSON together by hand: reflection would cost more than the run that it records. Each member ends in a comma,
// and closing a bracket takes the last one back.

func closeWith(b []byte, c byte) []byte {
	if b[len(b)-1] == ',' {
		b[len(b)-1] = c
		return b
	}
	return append(b, c)
}

func appendInt(b []byte, key string, v int64) []byte {
	if v == 0 {
		return b
	}
	return append(strconv.AppendInt(append(b, key...), v, 10), ',')
}

func appendText(b []byte, key, v string) []byte {
	if v == "" {
		return b
	}
	return append(appendString(append(b, key...), v), ',')
}

// appendFloat writes numbers that JSON does not have as strings.
func appendFloat(b []byte, key string, v float64) []byte {
	if v == 0 && !math.Signbit(v) {
		return b
	}
	b = append(b, key...)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		b = append(b, '"')
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
		return append(b, '"', ',')
	}
	return append(strconv.AppendFloat(b, v, 'g', -1, 64), ',')
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[from:i]...)
			b = append(b, `\ufffd`...)
			from = i + 1
		}
		i += n
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

func appendLabels(b []byte, key string, labels []sched.Label) []byte {
	if len(labels) == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	for _, l := range labels {
		b = append(b, '[')
		b = appendString(b, l.Key)
		b = append(b, ',')
		b = appendString(b, l.Value)
		b = append(b, ']', ',')
	}
	return append(closeWith(b, ']'), ',')
}

func appendStrings(b []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	for _, s := range list {
		b = append(appendString(b, s), ',')
	}
	return append(closeWith(b, ']'), ',')
}

func appendCostOn(b []byte, list []sched.CostOn) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(b, `"est_on":[`...)
	for _, c := range list {
		b = append(b, `{"on":`...)
		b = append(appendString(b, c.On), ',')
		b = appendInt(b, `"run":`, int64(c.Run))
		b = append(closeWith(b, '}'), ',')
	}
	return append(closeWith(b, ']'), ',')
}

// appendCapacity leaves an unlimited capacity out and writes 0.
func appendCapacity(b []byte, key string, v int64) []byte {
	if v == sched.Unlimited {
		return b
	}
	return append(strconv.AppendInt(append(b, key...), v, 10), ',')
}

func appendNode(b []byte, n *sched.NodeSpec) []byte {
	b = append(b, '{')
	b = appendText(b, `"name":`, n.Name)
	b = appendCapacity(b, `"cpu_milli":`, n.CPU)
	b = appendCapacity(b, `"mem":`, n.Mem)
	b = appendInt(b, `"gpus":`, int64(n.GPUs))
	b = appendText(b, `"gpu_type":`, n.GPUType)
	b = appendCapacity(b, `"vram":`, n.VRAM)
	b = appendInt(b, `"speed_milli":`, n.SpeedMilli)
	b = appendInt(b, `"storage_latency_ns":`, int64(n.StorageLatency))
	b = appendFloat(b, `"storage_mb_s":`, n.StorageMBps)
	b = appendFloat(b, `"network_mbit_s":`, n.NetworkMbps)
	b = appendLabels(b, `"labels":`, n.Labels)
	if len(n.Taints) > 0 {
		b = append(b, `"taints":[`...)
		for _, t := range n.Taints {
			b = append(appendString(append(b, '['), t.Key), ',')
			b = append(appendString(b, t.Value), ',')
			b = append(appendString(b, t.Effect), ']', ',')
		}
		b = append(closeWith(b, ']'), ',')
	}
	return closeWith(b, '}')
}

func appendInterned(b []byte, key string, id int32, name string) []byte {
	if id == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	b = append(strconv.AppendInt(b, int64(id), 10), ',')
	return append(appendString(b, name), ']', ',')
}

func appendClass(b []byte, tb *sched.Table, id sched.ClassID) []byte {
	c := &tb.Classes[id]
	d := &tb.Demands[c.Demand]
	b = append(b, '{')
	b = appendInt(b, `"id":`, int64(id))
	b = appendInt(b, `"demand":`, int64(c.Demand))
	b = appendInterned(b, `"kind":`, int32(c.Kind), tb.Kinds[c.Kind])
	b = appendInterned(b, `"tenant":`, int32(c.Tenant), tb.Tenants[c.Tenant])
	b = appendInterned(b, `"queue":`, int32(c.Queue), tb.Queues[c.Queue])
	b = appendInt(b, `"priority":`, int64(c.Priority))
	b = appendInt(b, `"retries":`, int64(c.Retries))
	b = appendFloat(b, `"criticality":`, c.Criticality)
	b = appendInt(b, `"period":`, int64(c.Period))
	b = appendInt(b, `"rel_deadline":`, int64(c.RelDeadline))
	b = appendInt(b, `"backoff":`, int64(c.Backoff))
	b = append(b, `"need":{`...)
	b = appendInt(b, `"cpu":`, d.Need.CPU)
	b = appendInt(b, `"mem":`, d.Need.Mem)
	b = appendInt(b, `"vram":`, d.Need.VRAM)
	b = appendInt(b, `"gpus":`, int64(d.Need.GPUs))
	b = appendInt(b, `"gpu_milli":`, int64(d.Need.GPUMilli))
	b = append(closeWith(b, '}'), ',')
	b = appendInt(b, `"gang":`, int64(d.Gang))
	b = appendStrings(b, `"gpu_types":`, d.GPUTypes)
	b = appendLabels(b, `"labels":`, d.Labels)
	if len(d.Tolerations) > 0 {
		b = append(b, `"tolerations":[`...)
		for i := range d.Tolerations {
			t := &d.Tolerations[i]
			b = append(b, '{')
			b = appendText(b, `"key":`, t.Key)
			b = appendText(b, `"value":`, t.Value)
			b = appendText(b, `"effect":`, t.Effect)
			if t.Exists {
				b = append(b, `"exists":true,`...)
			}
			b = append(closeWith(b, '}'), ',')
		}
		b = append(closeWith(b, ']'), ',')
	}
	return closeWith(b, '}')
}

func appendTask(b []byte, tb *sched.Table, t sched.TaskID, now sched.Time) []byte {
	task := &tb.Tasks[t]
	b = append(b, '{')
	if tb.TaskNames.Len() > 0 {
		b = append(appendString(append(b, `"name":`...), tb.TaskNames.At(int(t))), ',')
	}
	b = appendInt(b, `"class":`, int64(task.Class))
	if task.Submit != now {
		b = append(strconv.AppendInt(append(b, `"submit":`...), int64(task.Submit), 10), ',')
	}
	b = appendInt(b, `"est":`, int64(tb.Estimates[t]))
	if task.Deadline != sched.Never {
		b = append(strconv.AppendInt(append(b, `"deadline":`...), int64(task.Deadline), 10), ',')
	}
	if preds := tb.Preds(t); len(preds) > 0 {
		b = append(b, `"after":[`...)
		for _, p := range preds {
			b = append(strconv.AppendInt(b, int64(p), 10), ',')
		}
		b = append(closeWith(b, ']'), ',')
	}
	if tb.EstimateOn != nil {
		b = appendCostOn(b, tb.EstimateOn[t])
	}
	if tb.Data != nil {
		if d, ok := tb.Data[t]; ok {
			b = append(b, `"data":{`...)
			b = appendInt(b, `"in":`, d.Input)
			b = appendInt(b, `"out":`, d.Output)
			b = appendText(b, `"at":`, d.At)
			b = append(closeWith(b, '}'), ',')
		}
	}
	return closeWith(b, '}')
}

func appendEvent(b []byte, e *sched.Event) []byte {
	b = append(b, `{"k":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, '"', ',')
	b = appendInt(b, `"task":`, int64(e.Task))
	b = appendInt(b, `"other":`, int64(e.Other))
	b = appendInt(b, `"n":`, int64(e.N))
	b = appendInt(b, `"node":`, int64(e.Node))
	b = appendInt(b, `"try":`, int64(e.Attempt))
	b = appendInt(b, `"done":`, int64(e.Done))
	b = appendInt(b, `"value":`, e.Value)
	if e.More != nil {
		b = appendDetail(b, e.More)
	}
	return b // open: an arrival goes on
}

func appendDetail(b []byte, d *sched.Detail) []byte {
	if d.Spec != nil {
		b = append(appendNode(append(b, `"spec":`...), d.Spec), ',')
	}
	if p := d.Profile; p != nil {
		b = append(b, `"profile":{`...)
		b = appendInt(b, `"sampled_at":`, int64(p.SampledAt))
		b = appendInt(b, `"other_cpu":`, p.OtherCPU)
		b = appendInt(b, `"other_mem":`, p.OtherMem)
		b = appendFloat(b, `"gpu_load":`, p.GPULoad)
		b = appendInt(b, `"latency_ns":`, int64(p.Latency))
		b = appendInt(b, `"connections":`, int64(p.Connections))
		b = append(closeWith(b, '}'), ',')
	}
	if q := d.Quota; q != nil {
		b = append(b, `"quota":{`...)
		b = appendText(b, `"tenant":`, q.Tenant)
		b = appendText(b, `"queue":`, q.Queue)
		b = appendInt(b, `"cpu":`, q.CPU)
		b = appendInt(b, `"gpu_milli":`, q.GPUMilli)
		b = append(closeWith(b, '}'), ',')
	}
	switch p := d.Policy.(type) {
	case nil:
	case fmt.Stringer:
		b = append(appendString(append(b, `"policy":`...), p.String()), ',')
	default:
		b = append(appendString(append(b, `"policy":`...), fmt.Sprintf("%T", p)), ',')
	}
	return append(appendString(append(b, `"name":`...), d.Name), ',')
}

func appendCommand(b []byte, c *sched.Command) []byte {
	b = append(b, `{"k":"`...)
	b = append(b, c.Kind.String()...)
	b = append(b, '"', ',')
	b = appendInt(b, `"cause":`, int64(c.Cause))
	b = appendInt(b, `"task":`, int64(c.Task))
	b = appendInt(b, `"try":`, int64(c.Attempt))
	b = appendInt(b, `"queue":`, int64(c.Queue))
	b = appendInt(b, `"replicas":`, int64(c.Replicas))
	if len(c.On) > 0 {
		b = append(b, `"on":[`...)
		for i := range c.On {
			p := &c.On[i]
			b = append(b, '[')
			b = append(strconv.AppendInt(b, int64(p.Node), 10), ',')
			b = strconv.AppendInt(b, int64(p.Replicas), 10)
			if p.GPUs != 0 {
				b = append(b, ',', '"')
				b = append(strconv.AppendUint(b, uint64(p.GPUs), 16), '"')
			}
			b = append(b, ']', ',')
		}
		b = append(closeWith(b, ']'), ',')
	}
	return closeWith(b, '}')
}
