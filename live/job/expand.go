package job

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/schedlab/schedlab/live/stage"
)

const (
	maxTasks  = 100_000
	maxEdges  = 1_000_000
	maxName   = 128
	maxText   = 1 << 20  // of the words of one command, and of one environment
	maxAll    = 64 << 20 // of all of a job's commands and environments, each member's own
	maxPath   = 4096
	maxInputs = 1000
	maxWords  = 64 // labels, tolerations, GPU types
)

var idForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.=,+@%-]*$`)

// reserved begins the names of variables that schedlab sets itself.
var reserved = []string{"SCHEDLAB_", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CKPT_DIR", "NOTIFY_SOCKET", "ATTEMPT", "RESTART_COUNT", "GRACE", stage.DirVariable}

// NameOf makes a job's name of a program's.
func NameOf(program string) string {
	name := []byte(filepath.Base(program))
	for i, c := range name {
		if !idForm.Match([]byte{'a', c}) {
			name[i] = '_'
		}
	}
	if name = name[:min(len(name), maxName)]; !idForm.Match(name) {
		return "command"
	}
	return string(name)
}

// Expand makes one task a member of arrays and matrices, puts parameters in, and checks all of the job: after it nothing is left to be
// found wrong but what the cluster cannot hold. Expanding twice changes nothing.
func (j *Job) Expand() error {
	switch {
	case len(j.Tasks) == 0 && (j.To == 0 || len(j.Edges) == 0):
		return fmt.Errorf("job %q has no tasks", clip(j.Name))
	case j.To < 0:
		return fmt.Errorf("to: there is no job %d", j.To)
	case j.To > 0 && j.Every != "":
		return fmt.Errorf("every: what is added to a workflow does not recur")
	}
	if err := plain("tenant", j.Tenant, "queue", j.Queue); err != nil {
		return err
	}
	if j.Name != "" && (len(j.Name) > maxName || !idForm.MatchString(j.Name)) {
		return fmt.Errorf("job %q: a name has letters, digits and _.=,+@%%- only, at most %d", clip(j.Name), maxName)
	}
	members := map[string][]string{}
	size := 0
	var out []Task
	for i := range j.Tasks {
		t := &j.Tasks[i]
		if t.ID == "" && len(j.Tasks) == 1 {
			t.ID = "main"
		}
		if len(t.ID) > maxName || !idForm.MatchString(t.ID) {
			return fmt.Errorf("task %d: id %q: an id has letters, digits and _.=+@%%- only, at most %d", i+1, clip(t.ID), maxName)
		}
		if _, twice := members[t.ID]; twice {
			return fmt.Errorf("task %s stands twice", t.ID)
		}
		made, err := t.members()
		if err != nil {
			return fmt.Errorf("task %s: %w", t.ID, err)
		}
		if len(out)+len(made) > maxTasks {
			return fmt.Errorf("more than %d tasks", maxTasks)
		}
		ids := make([]string, len(made))
		for k := range made {
			ids[k] = made[k].ID
		}
		members[t.ID] = ids
		for k := range made {
			if err := j.fill(&made[k]); err != nil {
				return fmt.Errorf("task %s: %w", made[k].ID, err)
			}
			if size += made[k].size(); size > maxAll {
				return errTooLarge
			}
		}
		out = append(out, made...)
	}
	seen := make(map[string]bool, len(out))
	for i := range out {
		if seen[out[i].ID] {
			return fmt.Errorf("task %s stands twice", out[i].ID)
		}
		seen[out[i].ID] = true
	}
	left, err := j.takeEdges(out, members, seen)
	if err != nil {
		return err
	}
	edges := len(left)
	for i := range out {
		t := &out[i]
		var after []string
		for _, id := range t.After {
			switch ids, ok := members[id]; {
			case edges+len(after)+len(ids) > maxEdges:
				return fmt.Errorf("more than %d dependencies", maxEdges)
			case ok:
				after = append(after, ids...)
			case seen[id]:
				after = append(after, id)
			case j.To > 0 && len(id) <= maxName && idForm.MatchString(id): // a task of the workflow, which the daemon knows
				after = append(after, id)
			default:
				return fmt.Errorf("task %s comes after %q, which is no task of the job", t.ID, clip(id))
			}
		}
		slices.Sort(after)
		t.After = slices.Compact(after)
		if edges += len(t.After); edges > maxEdges {
			return fmt.Errorf("more than %d dependencies", maxEdges)
		}
		if slices.Contains(t.After, t.ID) {
			if j.To > 0 {
				return fmt.Errorf("a cycle: %s -> %s: what is added to a workflow needs an id of its own", t.ID, t.ID)
			}
			return fmt.Errorf("a cycle: %s -> %s", t.ID, t.ID)
		}
	}
	if c := cycle(out); c != nil {
		return fmt.Errorf("a cycle: %s", strings.Join(c, " -> "))
	}
	j.Tasks, j.Params, j.Env, j.Edges = out, nil, nil, left
	j.Dir = ""
	return nil
}

// takeEdges makes what j.Edges says part of the tasks that come after, and returns what is left: edges to tasks of the workflow that this is
// added to, in the form "a -> b".
func (j *Job) takeEdges(tasks []Task, members map[string][]string, seen map[string]bool) ([]string, error) {
	if len(j.Edges) == 0 {
		return nil, nil
	}
	at := make(map[string]int, len(tasks))
	for i := range tasks {
		at[tasks[i].ID] = i
	}
	count := 0
	var left []string
	cloned := map[int]bool{} // members of an array share what they come after
	for _, text := range j.Edges {
		from, to, ok := strings.Cut(text, "->")
		from, to = strings.TrimSpace(from), strings.TrimSpace(to)
		if !ok || len(from) > maxName || len(to) > maxName || !idForm.MatchString(from) || !idForm.MatchString(to) {
			return nil, fmt.Errorf("edge %q: write it as a -> b", clip(text))
		}
		of := func(id string) ([]string, error) {
			switch ids, ok := members[id]; {
			case ok:
				return ids, nil
			case seen[id] || j.To > 0:
				return []string{id}, nil
			}
			return nil, fmt.Errorf("edge %q: %s is no task of the job", clip(text), clip(id))
		}
		froms, err := of(from)
		if err != nil {
			return nil, err
		}
		tos, err := of(to)
		if err != nil {
			return nil, err
		}
		if count += len(froms) * len(tos); count > maxEdges {
			return nil, fmt.Errorf("more than %d dependencies", maxEdges)
		}
		for _, b := range tos {
			i, ok := at[b]
			if !ok {
				for _, a := range froms {
					left = append(left, a+" -> "+b)
				}
				continue
			}
			if !cloned[i] {
				cloned[i] = true
				tasks[i].After = slices.Clone(tasks[i].After)
			}
			tasks[i].After = append(tasks[i].After, froms...)
		}
	}
	slices.Sort(left)
	return slices.Compact(left), nil
}

// Edge splits an edge of an expanded job.
func Edge(text string) (from, to string) {
	from, to, _ = strings.Cut(text, " -> ")
	return from, to
}

// members makes the tasks of an array or a matrix; the task itself if there is none.
func (t *Task) members() ([]Task, error) {
	index, err := parseArray(t.Array)
	if err != nil {
		return nil, err
	}
	if index == nil && len(t.Matrix) == 0 {
		return []Task{*t}, nil
	}
	combos := []map[string]string{{}}
	names := slices.Sorted(maps.Keys(t.Matrix))
	for _, name := range names {
		var next []map[string]string
		for _, c := range combos {
			for _, v := range t.Matrix[name] {
				m := maps.Clone(c)
				m[name] = v
				next = append(next, m)
				if len(next) > maxTasks {
					return nil, fmt.Errorf("more than %d combinations", maxTasks)
				}
			}
		}
		combos = next
	}
	if len(combos) == 0 {
		return nil, fmt.Errorf("a matrix without values")
	}
	if index == nil {
		index = []int{0}
	}
	if len(index)*len(combos) > maxTasks {
		return nil, fmt.Errorf("more than %d members", maxTasks)
	}
	if len(index)*len(combos)*t.size() > maxAll {
		return nil, errTooLarge
	}
	var out []Task
	for k, c := range combos {
		for _, i := range index {
			m := *t
			m.Array, m.Matrix = "", nil
			m.Env = maps.Clone(t.Env)
			if m.Env == nil {
				m.Env = map[string]string{}
			}
			m.ID = t.ID
			if len(t.Matrix) > 0 {
				m.ID += "-" + strconv.Itoa(k+1)
			}
			if t.Array != "" {
				m.ID += "-" + strconv.Itoa(i)
				c["index"] = strconv.Itoa(i)
			}
			if err := m.substitute(c); err != nil {
				return nil, err
			}
			out = append(out, m)
		}
	}
	return out, nil
}

// parseArray reads 1-10, 0-100:5 and 1,3,7, in any mixture; nil for "".
func parseArray(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var out []int
	seen := map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		span, stepText, hasStep := strings.Cut(strings.TrimSpace(part), ":")
		loText, hiText, isRange := strings.Cut(span, "-")
		if !isRange {
			hiText = loText
		}
		lo, err := strconv.Atoi(loText)
		hi, err2 := strconv.Atoi(hiText)
		step := 1
		var err3 error
		if hasStep {
			step, err3 = strconv.Atoi(stepText)
		}
		if err != nil || err2 != nil || err3 != nil || lo < 0 || hi < lo || step < 1 || hi > math.MaxInt32 {
			return nil, fmt.Errorf("array %q: write it as 1-10, 0-100:5 or 1,3,7", clip(s))
		}
		for i := lo; i <= hi; i += step {
			if len(out) >= maxTasks {
				return nil, fmt.Errorf("array %q: more than %d members", clip(s), maxTasks)
			}
			if seen[i] {
				return nil, fmt.Errorf("array %q: %d stands twice", clip(s), i)
			}
			seen[i] = true
			out = append(out, i)
		}
	}
	return out, nil
}

var errTooLarge = fmt.Errorf("the commands and environments of all tasks together have more than %d MiB", maxAll>>20)

// size is about how many bytes the task takes.
func (t *Task) size() int {
	n := 64 + len(t.ID) + len(t.Name) + len(t.Dir) + len(t.Kind)
	for _, w := range t.Command {
		n += len(w) + 1
	}
	for k, v := range t.Env {
		n += len(k) + len(v) + 2
	}
	for k, v := range t.Labels {
		n += len(k) + len(v) + 2
	}
	for i := range t.Inputs {
		n += len(t.Inputs[i].From) + len(t.Inputs[i].As) + 16
	}
	return n
}

// plain checks words that are shown and made labels of: fields and their values by turns.
func plain(words ...string) error {
	for i := 0; i < len(words); i += 2 {
		if w := words[i+1]; len(w) > maxName || !utf8.ValidString(w) || strings.ContainsFunc(w, unicode.IsControl) {
			return fmt.Errorf("%s %q: at most %d bytes, and no control characters", words[i], clip(w), maxName)
		}
	}
	return nil
}

// words checks the task's own words.
func (t *Task) words() error {
	if len(t.GPUTypes) > maxWords || len(t.Labels) > maxWords || len(t.Tolerations) > maxWords {
		return fmt.Errorf("more than %d gpu_types, labels or tolerations", maxWords)
	}
	if err := plain("name", t.Name, "kind", t.Kind); err != nil {
		return err
	}
	for _, w := range t.GPUTypes {
		if err := plain("gpu_types", w); err != nil {
			return err
		}
	}
	for k, v := range t.Labels {
		if err := plain("labels", k, "labels", v); err != nil {
			return err
		}
	}
	for _, w := range t.Tolerations {
		if err := plain("tolerations", w); err != nil {
			return err
		}
	}
	return nil
}

// substitute puts the values of parameters in; a name in brackets that is no parameter stays as it is.
func (t *Task) substitute(params map[string]string) error {
	if len(params) == 0 {
		return nil
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name == "" || strings.ContainsAny(name, "{} \t\n") {
			return fmt.Errorf("parameter %q: a name has no blanks and brackets", clip(name))
		}
		pairs = append(pairs, "{"+name+"}", params[name])
	}
	// What comes out is bounded before it is made: a value may stand in a text many times.
	grown := t.size()
	for i := 0; i < len(pairs); i += 2 {
		count := strings.Count(t.Dir, pairs[i]) + strings.Count(t.Name, pairs[i])
		for _, w := range t.Command {
			count += strings.Count(w, pairs[i])
		}
		for _, v := range t.Env {
			count += strings.Count(v, pairs[i])
		}
		for k := range t.Inputs {
			count += strings.Count(t.Inputs[k].From, pairs[i]) + strings.Count(t.Inputs[k].As, pairs[i])
		}
		if grown += count * len(pairs[i+1]); grown > 4*maxText {
			return fmt.Errorf("parameter %q: with it the command and the environment have more than %d bytes", clip(pairs[i]), 4*maxText)
		}
	}
	r := strings.NewReplacer(pairs...)
	t.Command = slices.Clone(t.Command)
	for i := range t.Command {
		t.Command[i] = r.Replace(t.Command[i])
	}
	t.Dir, t.Name = r.Replace(t.Dir), r.Replace(t.Name)
	for k, v := range t.Env {
		t.Env[k] = r.Replace(v)
	}
	t.Inputs = slices.Clone(t.Inputs)
	for k := range t.Inputs {
		in := &t.Inputs[k]
		in.From, in.As = r.Replace(in.From), r.Replace(in.As)
	}
	return nil
}

// fill gives the task what the job says for all of them, and checks it.
func (j *Job) fill(t *Task) error {
	if len(j.Env) > 0 { // each task gets its own
		env := maps.Clone(j.Env)
		maps.Copy(env, t.Env)
		t.Env = env
	}
	if t.Dir == "" {
		t.Dir = j.Dir
	}
	t.Env = maps.Clone(t.Env)
	if err := t.substitute(j.Params); err != nil {
		return err
	}
	if err := t.place(); err != nil {
		return err
	}
	return t.check()
}

// place says where the inputs are and where they come to lie.
func (t *Task) place() error {
	if len(t.Inputs) > maxInputs {
		return fmt.Errorf("more than %d inputs", maxInputs)
	}
	t.Inputs = slices.Clone(t.Inputs)
	seen := map[string]bool{}
	for i := range t.Inputs {
		in := &t.Inputs[i]
		switch {
		case in.From == "" || strings.ContainsRune(in.From, 0) || len(in.From) > maxPath:
			return fmt.Errorf("input %q: a path or a URL of at most %d bytes", clip(in.From), maxPath)
		case stage.IsURL(in.From):
			if u, err := url.Parse(in.From); err != nil || u.Host == "" {
				return fmt.Errorf("input %q: not a URL", clip(in.From))
			}
			if in.Link {
				return fmt.Errorf("input %q: a URL cannot be linked", clip(in.From))
			}
		case strings.Contains(in.From, "://"):
			return fmt.Errorf("input %q: of URLs, http and https are fetched", clip(in.From))
		case filepath.IsAbs(in.From):
			in.From = filepath.Clean(in.From)
		case !filepath.IsLocal(in.From):
			return fmt.Errorf("input %q leads out of the folder of the job; write an absolute path", clip(in.From))
		case t.Dir == "":
			return fmt.Errorf("input %q: an absolute path is wanted where the job has no dir", clip(in.From))
		default:
			in.From = filepath.Join(t.Dir, in.From)
		}
		if in.As == "" {
			in.As = stage.Name(in.From)
		}
		if !filepath.IsLocal(in.As) || filepath.Clean(in.As) == "." || strings.ContainsRune(in.As, 0) || len(in.As) > maxPath {
			return fmt.Errorf("input %q: the name %q leads out of the folder of the inputs; say as=NAME", clip(in.From), clip(in.As))
		}
		in.As = filepath.Clean(in.As)
		if seen[in.As] {
			return fmt.Errorf("input %q: another is called %s too; say as=NAME", clip(in.From), clip(in.As))
		}
		seen[in.As] = true
	}
	for name := range seen {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if seen[dir] {
				return fmt.Errorf("input %s lies below input %s", clip(name), clip(dir))
			}
		}
	}
	return nil
}

func (t *Task) check() error {
	if len(t.Command) == 0 || t.Command[0] == "" {
		return fmt.Errorf("no command")
	}
	if err := t.words(); err != nil {
		return err
	}
	size := 0
	for _, w := range t.Command {
		size += len(w) + 1
		if strings.ContainsRune(w, 0) {
			return fmt.Errorf("command: a zero byte in a word")
		}
	}
	if size > maxText {
		return fmt.Errorf("command: more than %d bytes", maxText)
	}
	size = 0
	for k, v := range t.Env {
		size += len(k) + len(v) + 2
		switch {
		case k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0):
			return fmt.Errorf("env: %q is not a name of a variable with a value", clip(k))
		case slices.ContainsFunc(reserved, func(r string) bool { return k == r || strings.HasSuffix(r, "_") && strings.HasPrefix(k, r) }):
			return fmt.Errorf("env: %s is set by schedlab itself", clip(k))
		}
	}
	if size > maxText {
		return fmt.Errorf("env: more than %d bytes", maxText)
	}
	if t.Dir != "" && (t.Dir[0] != '/' || strings.ContainsRune(t.Dir, 0)) {
		return fmt.Errorf("dir %q: not an absolute path", clip(t.Dir))
	}
	for _, f := range []struct {
		name string
		v    float64
		max  float64
	}{
		{"mem_gb", t.MemGB, 1 << 20},
		{"gpu_mem_gb", t.GPUMemGB, 1 << 20},
		{"gpus", t.GPUs, 64},
		{"estimate_s", t.EstimateS, 1e9},
		{"limit_s", t.LimitS, 1e9},
		{"deadline_s", t.DeadlineS, 1e9},
		{"criticality", t.Criticality, 1},
		{"backoff_s", t.BackoffS, 1e9},
		{"cpu", deref(t.CPU), 1 << 20},
		{"grace_s", deref(t.GraceS), 3600},
		{"gang", float64(t.Gang), 4096},
		{"retries", float64(t.Retries), 1e6},
	} {
		if !(f.v >= 0 && f.v <= f.max) {
			return fmt.Errorf("%s must be from 0 to %v, not %v", f.name, f.max, f.v)
		}
	}
	switch {
	case t.GPUs > 1 && t.GPUs != math.Trunc(t.GPUs):
		return fmt.Errorf("gpus: %v is neither a whole number nor a share of one GPU", t.GPUs)
	case t.GPUs > 0 && t.GPUs < 0.001:
		return fmt.Errorf("gpus: a share of less than 0.001")
	case t.GPUs == 0 && t.GPUMemGB > 0:
		return fmt.Errorf("gpu_mem_gb without a GPU")
	}
	if _, err := t.Demand(); err != nil {
		return err
	}
	if c := t.Checkpoint; c != nil && c.Every != "" && c.Every != "off" && c.Every != "young-daly" {
		if d, err := time.ParseDuration(c.Every); err != nil || d < 100*time.Millisecond {
			return fmt.Errorf("checkpoint.every must be a duration of at least 100ms, young-daly or off, not %q", clip(c.Every))
		}
	}
	return nil
}

func deref(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}

// cycle returns the ids of a cycle, the first one repeated at the end, or nil.
func cycle(tasks []Task) []string {
	at := make(map[string]int, len(tasks))
	for i := range tasks {
		at[tasks[i].ID] = i
	}
	const white, grey, black = 0, 1, 2
	colour := make([]byte, len(tasks))
	type frame struct{ task, next int }
	for root := range tasks {
		if colour[root] != white {
			continue
		}
		colour[root] = grey
		stack := []frame{{root, 0}}
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			after := tasks[f.task].After
			if f.next == len(after) {
				colour[f.task] = black
				stack = stack[:len(stack)-1]
				continue
			}
			p, ours := at[after[f.next]]
			f.next++
			if !ours { // of the workflow that this is added to
				continue
			}
			switch colour[p] {
			case white:
				colour[p] = grey
				stack = append(stack, frame{p, 0})
			case grey: // the stack goes against the edges, so from its top down it goes with them
				ids := []string{tasks[p].ID}
				for i := len(stack) - 1; stack[i].task != p; i-- {
					ids = append(ids, tasks[stack[i].task].ID)
				}
				return append(ids, ids[0])
			}
		}
	}
	return nil
}

// clip shortens what a message shows.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "..."
	}
	return s
}
