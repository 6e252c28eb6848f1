package traces

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// The columns of SWF (D. Feitelson et al., Parallel Workloads Archive, version 2.2), 0-based.
const (
	swfJob = iota
	swfSubmit
	swfWait
	swfRun
	swfProcs
	swfCPUTime
	swfMemory
	swfReqProcs
	swfReqTime
	swfReqMemory
	swfStatus
	swfUser
	swfGroup
	swfApp
	swfQueue
	swfPartition
	swfPreceding
	swfThink
	swfColumns
)

func detectSWF(head []byte, name string) bool {
	if strings.HasSuffix(strings.ToLower(name), ".swf") {
		return true
	}
	for _, line := range bytes.Split(head, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == ';' {
			continue
		}
		cells := bytes.Fields(line)
		for _, c := range cells {
			if _, err := parseFixed(c, 0); err != nil {
				return false
			}
		}
		return len(cells) == swfColumns
	}
	return false
}

// readSWF reads the Standard Workload Format. A job of n processors (column 8, or 5 where that is unknown) is a gang of n replicas
// of one CPU, so that it can span nodes. Column 9 is the estimate, 12 the tenant (userN), 15 the queue (queueN), 14 the kind (appN).
// Memory is not taken over: logs that have it mix units. Column 17 is noted and not applied, since submit times are recorded.
func readSWF(in io.Reader, b *Builder) error {
	l := newLines(in)
	var cells [swfColumns][]byte
	procs, nodes := int64(0), int64(0)
	lastSubmit := sched.Time(math.MinInt64)
	users, apps, queues := map[int64]string{}, map[int64]string{}, map[int64]string{}
	label := func(m map[int64]string, prefix string, n int64) string {
		if n < 0 {
			return ""
		}
		s, ok := m[n]
		if !ok {
			s = prefix + strconv.FormatInt(n, 10)
			m[n] = s
		}
		return s
	}
	for {
		s, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return b.Errorf(l.line, "%w", err)
		}
		s = bytes.TrimSpace(s)
		if len(s) == 0 {
			continue
		}
		if s[0] == ';' {
			swfHeader(s, "MaxProcs:", &procs)
			swfHeader(s, "MaxNodes:", &nodes)
			continue
		}
		n := 0
		for len(s) > 0 {
			end := 0
			for end < len(s) && s[end] != ' ' && s[end] != '\t' {
				end++
			}
			if n < swfColumns {
				cells[n] = s[:end]
			}
			n++
			for end < len(s) && (s[end] == ' ' || s[end] == '\t') {
				end++
			}
			s = s[end:]
		}
		if n != swfColumns {
			return b.Errorf(l.line, "SWF has 18 columns, not %d", n)
		}
		bad := error(nil)
		number := func(col, digits int) int64 {
			v, err := parseFixed(cells[col], digits)
			if err != nil && bad == nil {
				bad = b.Errorf(l.line, "column %d: %w", col+1, err)
			}
			return v
		}
		submit, run, estimate := number(swfSubmit, 9), number(swfRun, 9), number(swfReqTime, 9)
		width, alloc := number(swfReqProcs, 0), number(swfProcs, 0)
		status, user, app, queue, before := number(swfStatus, 0), number(swfUser, 0), number(swfApp, 0), number(swfQueue, 0), number(swfPreceding, 0)
		if bad != nil {
			return bad
		}
		if width <= 0 {
			width = alloc
		}
		switch {
		case run <= 0:
			b.Drop("run time is 0 or unknown", l.line)
			continue
		case width <= 0:
			b.Drop("number of processors is 0 or unknown", l.line)
			continue
		case status >= 2 && status <= 4:
			b.Drop("partial execution (status 2 to 4); the job's own line counts", l.line)
			continue
		case width > math.MaxInt32:
			return b.Errorf(l.line, "%d processors are beyond 2^31-1", width)
		}
		if before > 0 {
			b.Mend("names a preceding job (column 17), which is not applied: submit times are recorded", l.line)
		}
		if sched.Time(submit) < lastSubmit {
			b.Mend("not in order of submit time; sorted", l.line)
		}
		lastSubmit = max(lastSubmit, sched.Time(submit))
		if estimate <= 0 {
			estimate = -1
		}
		r := Row{
			Need: sched.Need{CPU: 1000}, Gang: int32(width), Line: l.line,
			Tenant: label(users, "user", user), Kind: label(apps, "app", app), Queue: label(queues, "queue", queue),
		}
		class, err := b.class(&r)
		if err != nil {
			return err
		}
		if err := b.push(sched.Time(submit), time.Duration(run), time.Duration(estimate), class, cells[swfJob], nil, l.line); err != nil {
			return err
		}
	}
	if procs <= 0 {
		procs = nodes
	}
	if procs > 0 {
		b.SetCluster([]sched.NodeSpec{cpuNode("pool", procs)})
	}
	return nil
}

// cpuNode is a node of which a trace says no more than its CPUs.
func cpuNode(name string, cpus int64) sched.NodeSpec {
	return sched.NodeSpec{Name: name, CPU: cpus * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited, SpeedMilli: 1000}
}

// swfHeader reads the number of a header line such as "; MaxProcs: 100".
func swfHeader(line []byte, key string, to *int64) {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(line, "; \t"), []byte(key))
	if !ok {
		return
	}
	rest = bytes.TrimSpace(rest)
	end := 0
	for end < len(rest) && rest[end]-'0' <= 9 {
		end++
	}
	if v, err := strconv.ParseInt(string(rest[:end]), 10, 64); err == nil && v > 0 && v < 1<<40 {
		*to = v
	}
}

// writeSWF writes the Standard Workload Format. Processors are GPUs where every task asks for whole GPUs, otherwise CPUs (rounded
// up); a workload with both kinds, with GPU shares or with more than one predecessor of a task cannot be said and is an error.
// Seconds that are not whole keep their decimals. Names become numbers; comments in the header tell them.
func writeSWF(out io.Writer, wl *Workload) error {
	gpu := wl.Len() > 0
	anyGPU := false
	for _, c := range wl.Classes {
		d := &wl.Demands[c.Demand]
		gpu = gpu && d.Need.GPUs > 0
		anyGPU = anyGPU || d.Need.GPUs > 0
		if d.Need.GPUs > 0 && d.Need.GPUMilli != sched.Whole {
			return fmt.Errorf("swf cannot say a share of a GPU; write csv or jsonl")
		}
	}
	if anyGPU && !gpu {
		return fmt.Errorf("swf cannot say GPU and CPU tasks in one file; write csv or jsonl")
	}
	w := bufio.NewWriterSize(out, 64<<10)
	fmt.Fprintf(w, "; Version: 2.2\n; MaxJobs: %d\n; MaxRecords: %d\n", wl.Len(), wl.Len())
	if len(wl.Cluster) > 0 {
		total := int64(0)
		for _, n := range wl.Cluster {
			if gpu {
				total += int64(n.GPUs)
			} else if n.CPU < sched.Unlimited {
				total += n.CPU / 1000
			}
		}
		fmt.Fprintf(w, "; MaxNodes: %d\n; MaxProcs: %d\n", len(wl.Cluster), total)
	}
	if gpu {
		fmt.Fprintf(w, "; Note: processors are GPUs\n")
	}
	users, userNote := swfNumbers(wl.Tenants, "user")
	apps, appNote := swfNumbers(wl.Kinds, "app")
	queues, queueNote := swfNumbers(wl.Queues, "queue")
	for _, note := range append(append(userNote, appNote...), queueNote...) {
		fmt.Fprintf(w, "; Note: %s\n", note)
	}

	numeric := true
	for t := range wl.Tasks {
		v, ok := canonical([]byte(wl.TaskNames.At(t)))
		numeric = numeric && ok && v > 0
	}
	seen := map[string]bool{}
	if numeric && wl.TaskNames.Len() > 0 {
		for t := range wl.Tasks {
			id := wl.TaskNames.At(t)
			if seen[id] {
				numeric = false
				break
			}
			seen[id] = true
		}
	}
	number := func(t sched.TaskID) string {
		if numeric {
			return wl.TaskNames.At(int(t))
		}
		if wl.Input != nil {
			return strconv.Itoa(int(wl.Input[t]) + 1)
		}
		return strconv.Itoa(int(t) + 1)
	}
	some := wl.MissingEstimates > 0
	var buf []byte
	err := inInputOrder(wl, func(t sched.TaskID) error {
		c := wl.ClassOf(t)
		d := &wl.Demands[c.Demand]
		procs := (d.CPUTotal() + 999) / 1000
		if gpu {
			procs = d.GPUTotal() / sched.Whole
		}
		before := "-1"
		switch p := wl.Preds(t); len(p) {
		case 0:
		case 1:
			before = number(p[0])
		default:
			return fmt.Errorf("task %s has %d predecessors; swf can say one", wl.TaskNames.At(int(t)), len(p))
		}
		buf = append(append(buf[:0], number(t)...), ' ')
		buf = append(appendFixed(buf, int64(wl.Tasks[t].Submit), 9), " -1 "...)
		buf = append(appendFixed(buf, int64(wl.Run[t]), 9), ' ')
		buf = append(strconv.AppendInt(buf, procs, 10), " -1 -1 "...)
		buf = append(strconv.AppendInt(buf, procs, 10), ' ')
		if some && wl.Estimates[t] == wl.Run[t] {
			buf = append(buf, "-1"...)
		} else {
			buf = appendFixed(buf, int64(wl.Estimates[t]), 9)
		}
		buf = append(buf, " -1 1 "...)
		buf = append(strconv.AppendInt(buf, users[c.Tenant], 10), " -1 "...)
		buf = append(strconv.AppendInt(buf, apps[c.Kind], 10), ' ')
		buf = append(strconv.AppendInt(buf, queues[c.Queue], 10), " -1 "...)
		buf = append(append(buf, before...), " -1\n"...)
		_, err := w.Write(buf)
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// swfNumbers gives each name a number: N where all are called prefixN, otherwise by position, with a note for each.
func swfNumbers(list []string, prefix string) (numbers []int64, notes []string) {
	numbers = make([]int64, len(list))
	same := true
	for i, s := range list {
		numbers[i] = -1
		if s == "" {
			continue
		}
		rest, ok := strings.CutPrefix(s, prefix)
		v, isNumber := canonical([]byte(rest))
		same = same && ok && isNumber
		numbers[i] = int64(v)
	}
	if same {
		return numbers, nil
	}
	for i, s := range list {
		if s != "" {
			numbers[i] = int64(i)
			notes = append(notes, fmt.Sprintf("%s %d is %s", prefix, i, strings.Map(func(r rune) rune {
				if r < ' ' {
					return ' '
				}
				return r
			}, s)))
		}
	}
	return numbers, notes
}
