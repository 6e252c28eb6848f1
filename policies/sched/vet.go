package sched

// What of a table is looked at before anything runs by it.

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// vetted counts the entries of the table that have been looked at: tasks below it are free of cycles.
type vetted struct{ tasks, classes, demands int }

// vet looks at the tasks from..end-1, and at classes and demands that have not been looked at: what would break the kernel later is an
// error now.
func (k *Kernel) vet(from, end int) error {
	tb := k.tb
	for i := k.vetted.demands; i < len(tb.Demands); i++ {
		if err := tb.Demands[i].check(); err != nil {
			return fmt.Errorf("demand %d: %w", i, err)
		}
	}
	k.vetted.demands = len(tb.Demands)
	for i := k.vetted.classes; i < len(tb.Classes); i++ {
		if d := tb.Classes[i].Demand; d < 0 || int(d) >= len(tb.Demands) {
			return fmt.Errorf("class %d: there is no demand %d", i, d)
		}
		s := tb.Classes[i].Speeds
		if s < 0 || s > 0 && int(s) >= len(tb.Speeds) {
			return fmt.Errorf("class %d: there is no throughput table %d", i, s)
		}
		if s > 0 {
			for _, on := range tb.Speeds[s] {
				if on.Nano <= 0 {
					return fmt.Errorf("class %d: the speed on %q is not positive", i, on.GPUType)
				}
			}
		}
	}
	k.vetted.classes = len(tb.Classes)
	if len(tb.Estimates) < end || tb.SuccOff != nil && (len(tb.SuccOff) <= end || len(tb.PredOff) <= end) || tb.EdgeBytes != nil && len(tb.EdgeBytes) < len(tb.Succ) {
		return fmt.Errorf("the table has %d tasks, but fewer estimates or edges", end)
	}
	if tb.Deadlines != nil && len(tb.Deadlines) != len(tb.Tasks) {
		return fmt.Errorf("the table has %d tasks and %d deadlines: a task without one has Never, and no deadlines are nil", len(tb.Tasks), len(tb.Deadlines))
	}
	tasks, classes := tb.Tasks[from:end], uint(len(tb.Classes))
	for i := range tasks {
		if c := tasks[i].Class; uint(c) >= classes { // a negative one is a large one
			return fmt.Errorf("task %s: there is no class %d", tb.TaskNames.At(from+i), c)
		}
	}
	return nil
}

func (d *Demand) check() error {
	n := d.Need
	switch {
	case d.Gang < 1:
		return fmt.Errorf("a gang of %d", d.Gang)
	case n.CPU < 0 || n.Mem < 0 || n.VRAM < 0 || n.GPUs < 0:
		return errors.New("negative need")
	case n.GPUs > 0 && (n.GPUMilli < 1 || n.GPUMilli > Whole || n.GPUMilli < Whole && n.GPUs > 1):
		return fmt.Errorf("%d GPUs of %d/1000 each", n.GPUs, n.GPUMilli)
	}
	return nil
}

func (n *NodeSpec) check() error {
	if n.CPU < 0 || n.Mem < 0 || n.VRAM < 0 || n.GPUs < 0 || n.SpeedMilli < 0 {
		return fmt.Errorf("node %s: negative capacity or speed", n.Name)
	}
	if !(n.NetworkMbps >= 0) || n.NetworkLatency < 0 {
		return fmt.Errorf("node %s: negative bandwidth or latency of its link", n.Name)
	}
	if !(n.StorageMBps >= 0) || n.StorageLatency < 0 {
		return fmt.Errorf("node %s: negative bandwidth or latency of its storage", n.Name)
	}
	return nil
}

// Path prints tasks as a -> b -> c.
func (tb *Table) Path(ts []TaskID) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = tb.TaskNames.At(int(t))
	}
	return strings.Join(names, " -> ")
}

// Cycle returns a cycle among the tasks from..to-1 and their successors, first task repeated at the end, or nil. Linear time.
func (tb *Table) Cycle(from, to int) []TaskID {
	if tb.SuccOff == nil || tb.forward(from, to) {
		return nil
	}
	left := make([]int32, to-from)
	var queue []TaskID
	for t := from; t < to; t++ {
		for _, p := range tb.Preds(TaskID(t)) {
			if int(p) >= from && int(p) < to {
				left[t-from]++
			}
		}
		if left[t-from] == 0 {
			queue = append(queue, TaskID(t))
		}
	}
	seen := 0
	for ; seen < len(queue); seen++ {
		for _, u := range tb.Succs(queue[seen]) {
			if int(u) >= from && int(u) < to {
				if left[int(u)-from]--; left[int(u)-from] == 0 {
					queue = append(queue, u)
				}
			}
		}
	}
	if seen == to-from {
		return nil
	}
	// Every task that is left has a predecessor that is left: walk back until one repeats.
	at := slices.IndexFunc(left, func(n int32) bool { return n > 0 })
	pos := map[TaskID]int{}
	var path []TaskID
	for t := TaskID(from + at); ; {
		if i, ok := pos[t]; ok {
			path = append(path[i:], t)
			slices.Reverse(path)
			return path
		}
		pos[t] = len(path)
		path = append(path, t)
		for _, p := range tb.Preds(t) {
			if int(p) >= from && int(p) < to && left[int(p)-from] > 0 {
				t = p
				break
			}
		}
	}
}
