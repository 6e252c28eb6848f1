package traces

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/mismatch"
)

// maxDocument bounds a file that must be held whole: JSON is parsed at once.
const maxDocument = 512 << 20

// wfDoc is a WfFormat document (https://github.com/wfcommons/WfFormat), versions 1.3 to 1.5 in one: 1.5 splits a workflow into a
// specification and an execution, the older ones have tasks (or jobs) with run times.
type wfDoc struct {
	Name     string `json:"name"`
	Workflow *struct {
		Name          string `json:"name"`
		Specification *struct {
			Tasks []wfTask `json:"tasks"`
			Files []struct {
				ID   string  `json:"id"`
				Size float64 `json:"sizeInBytes"`
			} `json:"files"`
		} `json:"specification"`
		Execution *struct {
			Tasks    []wfTask    `json:"tasks"`
			Machines []wfMachine `json:"machines"`
		} `json:"execution"`
		Tasks    []wfTask    `json:"tasks"`
		Jobs     []wfTask    `json:"jobs"`
		Machines []wfMachine `json:"machines"`
	} `json:"workflow"`
}

type wfTask struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Category    string   `json:"category"`
	Parents     []string `json:"parents"`
	Children    []string `json:"children"`
	InputFiles  []string `json:"inputFiles"`
	OutputFiles []string `json:"outputFiles"`
	Files       []struct {
		Link string   `json:"link"`
		Name string   `json:"name"`
		ID   string   `json:"id"`
		Size *float64 `json:"size"`
		Byte *float64 `json:"sizeInBytes"`
	} `json:"files"` // 1.3, 1.4

	Seconds *float64 `json:"runtimeInSeconds"`
	Runtime *float64 `json:"runtime"` // 1.3, in seconds
	Cores   *float64 `json:"coreCount"`
	CoresV3 *float64 `json:"cores"`
	Memory  *float64 `json:"memoryInBytes"`
	KB      *float64 `json:"memory"` // 1.3, in kB
	Command *struct {
		Program string `json:"program"`
	} `json:"command"`
}

type wfMachine struct {
	Name   string   `json:"nodeName"`
	Memory *float64 `json:"memoryInBytes"`
	KB     *float64 `json:"memory"`
	CPU    *struct {
		Cores *float64 `json:"coreCount"`
		Count *float64 `json:"count"`
	} `json:"cpu"`
}

func either(a, b *float64) *float64 {
	if a != nil {
		return a
	}
	return b
}

func (t *wfTask) key() string {
	if t.ID != "" {
		return t.ID
	}
	return t.Name
}

// memory returns bytes: those of 1.4 and 1.5, or the kB of 1.3.
func memory(inBytes, kb *float64) (float64, bool) {
	switch {
	case inBytes != nil:
		return *inBytes, true
	case kb != nil:
		return *kb * 1000, true
	}
	return 0, false
}

// readWfFormat reads a WfFormat document as one job, submitted at 0. Records in errors and notes are tasks, counted from 1.
// A task asks for its coreCount (1 if not stated) and its memory; a machine's clock does not scale the measured run times.
func readWfFormat(in io.Reader, b *Builder) error {
	data, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err != nil {
		return b.Errorf(0, "%w", err)
	}
	if len(data) > maxDocument {
		return b.Errorf(0, "a WfFormat document of more than %d MiB", maxDocument>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var doc wfDoc
	if err := json.Unmarshal(data, &doc); err != nil {
		return b.Errorf(jsonLine(data, err), "%w", mismatch.JSON(err))
	}
	w := doc.Workflow
	if w == nil {
		return b.Errorf(0, "no \"workflow\" in the document")
	}
	tasks, machines := w.Tasks, w.Machines
	if len(tasks) == 0 {
		tasks = w.Jobs
	}
	ran := map[string]*wfTask{}
	size := map[string]float64{}
	if w.Specification != nil {
		tasks = w.Specification.Tasks
		for _, f := range w.Specification.Files {
			size[f.ID] = f.Size
		}
	}
	if w.Execution != nil {
		for i := range w.Execution.Tasks {
			ran[w.Execution.Tasks[i].key()] = &w.Execution.Tasks[i]
		}
		machines = append(w.Execution.Machines, machines...)
	}
	most, err := wfCluster(b, machines)
	if err != nil {
		return err
	}
	job := doc.Name
	if job == "" {
		job = w.Name
	}
	if job == "" {
		job = "workflow"
	}

	produced := map[string]bool{}
	writes := make([]map[string]bool, len(tasks)) // by task: the files that it writes
	ids := make(map[string]int, len(tasks))
	byName := make(map[string]int, len(tasks)) // 1.3 may name parents so; -1: several have that name
	for i := range tasks {
		t := &tasks[i]
		if t.key() == "" {
			return b.Errorf(i+1, "a task without id and name")
		}
		ids[t.key()] = i
		if _, ok := byName[t.Name]; ok {
			byName[t.Name] = -1
		} else {
			byName[t.Name] = i
		}
		for _, f := range t.Files {
			id := f.Name
			if id == "" {
				id = f.ID
			}
			if s := either(f.Byte, f.Size); s != nil {
				size[id] = *s
			}
			if f.Link == "output" {
				t.OutputFiles = append(t.OutputFiles, id)
			} else {
				t.InputFiles = append(t.InputFiles, id)
			}
		}
		writes[i] = make(map[string]bool, len(t.OutputFiles))
		for _, f := range t.OutputFiles {
			produced[f], writes[i][f] = true, true
		}
	}
	find := func(id string) (int, bool) {
		i, ok := ids[id]
		if !ok {
			i, ok = byName[id]
			ok = ok && i >= 0
		}
		return i, ok
	}
	after := make([][]string, len(tasks))
	for i := range tasks {
		for _, p := range tasks[i].Parents {
			at, ok := find(p)
			if !ok {
				return b.Errorf(i+1, "parents: no task %q", clip(p))
			}
			after[i] = append(after[i], tasks[at].key())
		}
		for _, c := range tasks[i].Children {
			at, ok := find(c)
			if !ok {
				return b.Errorf(i+1, "children: no task %q", clip(c))
			}
			after[at] = append(after[at], tasks[i].key())
		}
	}
	total := func(files []string, use func(string) bool) (int64, error) {
		sum := 0.0
		for _, f := range files {
			if use(f) {
				sum += size[f]
			}
		}
		if !(sum >= 0 && sum < 1<<60) {
			return 0, errors.New("the size of its files is negative or beyond 2^60")
		}
		return int64(sum), nil
	}
	for i := range tasks {
		t := &tasks[i]
		run := ran[t.key()]
		if run == nil {
			run = t
		}
		r := Row{ID: t.key(), Job: job, Kind: wfKind(t, run), After: after[i], Estimate: -1, Line: i + 1}
		for _, p := range r.After {
			sent, err := total(t.InputFiles, func(f string) bool { return writes[ids[p]][f] })
			if err != nil {
				return b.Errorf(i+1, "task %q: %w", clip(r.ID), err)
			}
			r.AfterBytes = append(r.AfterBytes, sent)
		}
		if t.Name != r.ID {
			r.Name = t.Name
		}
		seconds := either(run.Seconds, run.Runtime)
		switch {
		case seconds == nil:
			b.Mend("no run time: taken as 0", i+1)
		default:
			ns := math.Round(*seconds * 1e9)
			if !(ns >= 0) {
				return b.Errorf(i+1, "task %q: negative run time", clip(r.ID))
			}
			if ns > float64(maxDuration) {
				return b.Errorf(i+1, "task %q: a run time of more than 73 years", clip(r.ID))
			}
			r.Run = time.Duration(ns)
		}
		r.Need.CPU = 1000
		if c := either(either(run.Cores, run.CoresV3), either(t.Cores, t.CoresV3)); c != nil && *c != 0 {
			milli := math.Ceil(*c * 1000)
			if !(milli > 0) {
				return b.Errorf(i+1, "task %q: negative coreCount", clip(r.ID))
			}
			if milli > float64(most.CPU) {
				milli = float64(most.CPU)
				b.Mend("more cores than any machine: cut to the largest machine", i+1)
			}
			r.Need.CPU = int64(milli)
		}
		if m, ok := memory(run.Memory, run.KB); ok {
			switch {
			case !(m >= 0):
				return b.Errorf(i+1, "task %q: negative memory", clip(r.ID))
			case m > float64(most.Mem):
				b.Mend("more memory than any machine: demand left out", i+1)
			default:
				r.Need.Mem = int64(m)
			}
		}
		if r.InputBytes, err = total(t.InputFiles, func(f string) bool { return !produced[f] }); err != nil {
			return b.Errorf(i+1, "task %q: %w", clip(r.ID), err)
		}
		if r.OutputBytes, err = total(t.OutputFiles, func(string) bool { return true }); err != nil {
			return b.Errorf(i+1, "task %q: %w", clip(r.ID), err)
		}
		if err := b.Add(&r); err != nil {
			return err
		}
	}
	return nil
}

// jsonLine returns the line of a JSON error, 0 if it says none.
func jsonLine(data []byte, err error) int {
	var se *json.SyntaxError
	var te *json.UnmarshalTypeError
	at := int64(-1)
	if errors.As(err, &se) {
		at = se.Offset
	} else if errors.As(err, &te) {
		at = te.Offset
	}
	if at < 0 || at > int64(len(data)) {
		return 0
	}
	return 1 + bytes.Count(data[:at], []byte{'\n'})
}

// wfCluster makes the machines the trace's cluster, and returns the largest CPU and memory of one.
func wfCluster(b *Builder, machines []wfMachine) (sched.NodeSpec, error) {
	most := sched.NodeSpec{CPU: sched.Unlimited, Mem: sched.Unlimited}
	seen := map[string]bool{}
	var nodes []sched.NodeSpec
	for i, m := range machines {
		n := sched.NodeSpec{Name: m.Name, CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, SpeedMilli: 1000}
		if n.Name == "" {
			n.Name = fmt.Sprintf("machine-%03d", i+1)
		}
		if seen[n.Name] {
			continue // 1.4 lists a machine once a task
		}
		seen[n.Name] = true
		if m.CPU != nil {
			if c := either(m.CPU.Cores, m.CPU.Count); c != nil && *c != 0 {
				if !(*c > 0 && *c <= 1e9) {
					return most, b.Errorf(0, "machine %q: %v cores", clip(n.Name), *c)
				}
				n.CPU = int64(math.Ceil(*c * 1000))
			}
		}
		if v, ok := memory(m.Memory, m.KB); ok && v != 0 {
			if !(v > 0 && v <= 1<<55) {
				return most, b.Errorf(0, "machine %q: %v bytes of memory", clip(n.Name), v)
			}
			n.Mem = int64(v)
		}
		nodes = append(nodes, n)
	}
	if len(nodes) > 1_000_000 {
		return most, b.Errorf(0, "more than 1000000 machines")
	}
	if len(nodes) > 0 {
		b.SetCluster(nodes)
		most = sched.NodeSpec{}
		for _, n := range nodes {
			most.CPU, most.Mem = max(most.CPU, n.CPU), max(most.Mem, n.Mem)
		}
	}
	return most, nil
}

// wfNumber is the number that makes a task's name unique: "mProject_ID0000001", "FASTQC_3".
var wfNumber = regexp.MustCompile(`(_(ID)?[0-9]+)+$`)

// wfKind says what a task does: its category, its program if that is a plain word, or its name less the number.
func wfKind(t, run *wfTask) string {
	for _, task := range []*wfTask{t, run} {
		if task.Category != "" {
			return task.Category
		}
	}
	for _, task := range []*wfTask{t, run} {
		if task.Command != nil {
			p := task.Command.Program
			if p != "" && len(p) < 200 && !strings.ContainsAny(p, " \t\r\n") {
				return path.Base(p)
			}
		}
	}
	return wfNumber.ReplaceAllString(t.Name, "")
}
