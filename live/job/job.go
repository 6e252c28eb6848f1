// Package job says what a live job is: a DAG of tasks, each a command with what it asks of the node. A job is written as YAML or JSON with
// the field names of the native trace formats (traces/native.go), so that what was run can be simulated and what was simulated can be run.
package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/schedlab/schedlab/policies/sched"
)

// Job is one submission. Times are seconds, a GB is 2^30 bytes, as in traces.
type Job struct {
	Name   string            `json:"job,omitempty" yaml:"job"`
	Tenant string            `json:"tenant,omitempty" yaml:"tenant"`
	Queue  string            `json:"queue,omitempty" yaml:"queue"`
	Every  string            `json:"every,omitempty" yaml:"every"`   // the job recurs: a Go duration (24h) or a five-field cron line, UTC
	Params map[string]string `json:"params,omitempty" yaml:"params"` // {name} in commands, dirs and env stands for the value
	Env    map[string]string `json:"env,omitempty" yaml:"env"`
	Dir    string            `json:"dir,omitempty" yaml:"dir"`
	Tasks  []Task            `json:"tasks" yaml:"tasks"`
	To     int32             `json:"to,omitempty" yaml:"to"`       // a workflow that this is an addition to: its tasks can be named in after and edges
	Edges  []string          `json:"edges,omitempty" yaml:"edges"` // a -> b: b comes after a
	Quiet  bool              `json:"quiet,omitempty" yaml:"quiet"` // it raises no alerts
	Recurs int32             `json:"recurs,omitempty" yaml:"-"`    // the first job of the chain that this one is a copy in; set by the daemon
}

// Task is one task of a job: one attempt of it runs Gang replicas of the command together.
type Task struct {
	ID      string            `json:"id" yaml:"id"`
	Name    string            `json:"name,omitempty" yaml:"name"`
	Kind    string            `json:"kind,omitempty" yaml:"kind"`
	Command Command           `json:"command" yaml:"command"`
	Env     map[string]string `json:"env,omitempty" yaml:"env"`
	Dir     string            `json:"dir,omitempty" yaml:"dir"`
	After   []string          `json:"after,omitempty" yaml:"after"` // ids in the job, or in that which it is added to; of a task with an array: all its members

	CPU         *float64    `json:"cpu,omitempty" yaml:"cpu"` // cores of a replica; default 1 if no GPU is asked for
	MemGB       float64     `json:"mem_gb,omitempty" yaml:"mem_gb"`
	GPUs        float64     `json:"gpus,omitempty" yaml:"gpus"` // whole, or a share of one below 1
	GPUMemGB    float64     `json:"gpu_mem_gb,omitempty" yaml:"gpu_mem_gb"`
	GPUTypes    List        `json:"gpu_types,omitempty" yaml:"gpu_types"`
	Gang        int32       `json:"gang,omitempty" yaml:"gang"`
	Labels      Labels      `json:"labels,omitempty" yaml:"labels"`
	Tolerations []string    `json:"tolerations,omitempty" yaml:"tolerations"` // key=value:Effect, key:Effect, key or *
	EstimateS   float64     `json:"estimate_s,omitempty" yaml:"estimate_s"`   // 0 = unknown
	LimitS      float64     `json:"limit_s,omitempty" yaml:"limit_s"`         // an attempt is killed after so long; 0 = never
	Priority    int32       `json:"priority,omitempty" yaml:"priority"`
	DeadlineS   float64     `json:"deadline_s,omitempty" yaml:"deadline_s"`
	Criticality float64     `json:"criticality,omitempty" yaml:"criticality"`
	Retries     int32       `json:"retries,omitempty" yaml:"retries"`
	BackoffS    float64     `json:"backoff_s,omitempty" yaml:"backoff_s"`
	GraceS      *float64    `json:"grace_s,omitempty" yaml:"grace_s"` // from SIGTERM to SIGKILL; default 10
	Checkpoint  *Checkpoint `json:"checkpoint,omitempty" yaml:"checkpoint"`
	Inputs      []Input     `json:"inputs,omitempty" yaml:"inputs"` // brought to $INPUT_DIR before it runs

	Array  string          `json:"array,omitempty" yaml:"array"`   // 1-10 or 0-100:5 or 1,3,7: one task a number, {index} in the command
	Matrix map[string]List `json:"matrix,omitempty" yaml:"matrix"` // one task a combination of the values
}

// Input is a file or folder that a task reads. It can be written as one word, see ParseInput.
type Input struct {
	From string `json:"from" yaml:"from"`                     // a path, or a URL of http or https
	As   string `json:"as,omitempty" yaml:"as,omitempty"`     // its name below $INPUT_DIR; default: the last part of From
	Link bool   `json:"link,omitempty" yaml:"link,omitempty"` // a symbolic link will do, no copy
}

// ParseInput reads PATH or URL, and behind it :as=NAME and :link in any order.
func ParseInput(text string) Input {
	in := Input{From: text}
	for {
		i := strings.LastIndexByte(in.From, ':')
		if i < 0 {
			return in
		}
		switch word := in.From[i+1:]; {
		case word == "link":
			in.Link = true
		case strings.HasPrefix(word, "as="):
			in.As = word[3:]
		default:
			return in
		}
		in.From = in.From[:i]
	}
}

// plainInput is an Input that is written out.
type plainInput Input

// UnmarshalYAML takes an input or a word.
func (in *Input) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*in = ParseInput(n.Value)
		return nil
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if k := n.Content[i].Value; k != "from" && k != "as" && k != "link" {
				return fmt.Errorf("line %d: unknown field %s", n.Content[i].Line, k)
			}
		}
	}
	return n.Decode((*plainInput)(in))
}

// UnmarshalJSON takes an input or a word.
func (in *Input) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil {
		*in = ParseInput(word)
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode((*plainInput)(in))
}

// Checkpoint says that a task can save its work, and how often it is asked to.
type Checkpoint struct {
	Every string `json:"every,omitempty" yaml:"every"` // a duration, young-daly, or off (only when it is preempted); default 5s
}

// DefaultEvery is the interval where a task does not say.
const DefaultEvery = 5 * time.Second

// Interval returns how much work a failure may cost at most, 0 where it is asked only when it is preempted. youngDaly: until a cost is known.
func (c *Checkpoint) Interval() (every time.Duration, youngDaly bool) {
	switch c.Every {
	case "":
		return DefaultEvery, false
	case "off":
		return 0, false
	case "young-daly":
		return DefaultEvery, true
	}
	every, _ = time.ParseDuration(c.Every) // checked when it was accepted
	return every, false
}

// DefaultGrace is the time from SIGTERM to SIGKILL where a task does not say.
const DefaultGrace = 10 * time.Second

// Grace returns the time from SIGTERM to SIGKILL.
func (t *Task) Grace() time.Duration {
	if t.GraceS == nil {
		return DefaultGrace
	}
	return Seconds(*t.GraceS)
}

// Seconds returns a number of seconds as a Duration.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Command is a program with its arguments. Written as one string, it is a line for /bin/sh.
type Command []string

// shell makes the command of a line.
func shell(line string) Command {
	if line == "" {
		return nil
	}
	return Command{"/bin/sh", "-c", line}
}

// UnmarshalYAML takes a list or a line.
func (c *Command) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*c = shell(n.Value)
		return nil
	}
	return n.Decode((*[]string)(c))
}

// UnmarshalJSON takes a list or a line.
func (c *Command) UnmarshalJSON(b []byte) error {
	var line string
	if json.Unmarshal(b, &line) == nil {
		*c = shell(line)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(c))
}

// List is a list of words; one word may stand alone.
type List []string

// UnmarshalYAML takes a list of scalars or one.
func (l *List) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = List{n.Value}
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return fmt.Errorf("line %d: a list is wanted", n.Line)
	}
	*l = make(List, len(n.Content))
	for i, c := range n.Content {
		if c.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a list of words is wanted", c.Line)
		}
		(*l)[i] = c.Value
	}
	return nil
}

// UnmarshalJSON takes a list of words and numbers, or one.
func (l *List) UnmarshalJSON(b []byte) error {
	var many []any
	if err := json.Unmarshal(b, &many); err != nil {
		var one any
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		many = []any{one}
	}
	*l = make(List, len(many))
	for i, v := range many {
		switch v := v.(type) {
		case string:
			(*l)[i] = v
		case float64, bool:
			(*l)[i] = fmt.Sprint(v)
		default:
			return fmt.Errorf("%v is not a word", v)
		}
	}
	return nil
}

// Labels are the labels that a node must have, key: value, or must not have, as in sched.Demand.ParseLabel with the = between key and value:
// "key!": value for one value, "!key": "" for any.
type Labels map[string]string

// Set takes what a text such as key=value, key!=value or !key says, and reports whether it is one.
func (l *Labels) Set(text string) bool {
	if !new(sched.Demand).ParseLabel(text) {
		return false
	}
	if *l == nil {
		*l = Labels{}
	}
	key, value, _ := strings.Cut(text, "=")
	(*l)[key] = value
	return true
}

// UnmarshalYAML takes key: value, or a list of such texts.
func (l *Labels) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return n.Decode((*map[string]string)(l))
	}
	for _, c := range n.Content {
		if !l.Set(c.Value) {
			return fmt.Errorf("line %d: a label is key=value, key!=value or !key, not %q", c.Line, clip(c.Value))
		}
	}
	return nil
}

// UnmarshalJSON takes key: value, or a list of such texts.
func (l *Labels) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) != nil {
		return json.Unmarshal(b, (*map[string]string)(l))
	}
	for _, text := range list {
		if !l.Set(text) {
			return fmt.Errorf("a label is key=value, key!=value or !key, not %q", clip(text))
		}
	}
	return nil
}
