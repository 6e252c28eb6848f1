package journal

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/schedlab/schedlab/policies/sched"
)

// The header and what rare facts carry are JSON, put together by hand: a journal must not depend on reflection over the kernel's types. Each
// member ends in a comma, and closing a bracket takes the last one back.

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
	b = appendInt(b, `"network_latency_ns":`, int64(n.NetworkLatency))
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

func appendDetail(b []byte, d *sched.Detail) []byte {
	if d.Spec != nil {
		b = append(appendNode(append(b, `"spec":`...), d.Spec), ',')
	}
	if p := d.Profile; p != nil {
		b = append(b, `"profile":{`...)
		b = appendInt(b, `"sampled_at":`, int64(p.SampledAt))
		b = appendInt(b, `"other_cpu":`, p.OtherCPU)
		b = appendInt(b, `"other_mem":`, p.OtherMem)
		if p.OtherGPUs != 0 {
			b = append(strconv.AppendUint(append(b, `"other_gpus":`...), uint64(p.OtherGPUs), 10), ',')
		}
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
		b = appendInt(b, `"tasks":`, q.Tasks)
		b = appendText(b, `"cohort":`, q.Cohort)
		b = appendInt(b, `"borrow_cpu":`, q.BorrowCPU)
		b = appendInt(b, `"borrow_gpu_milli":`, q.BorrowGPUMilli)
		if q.Reclaim {
			b = append(b, `"reclaim":true,`...)
		}
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
