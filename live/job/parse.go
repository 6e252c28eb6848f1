package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSize bounds the text of one job.
const MaxSize = 16 << 20

// Parse reads a job as YAML or JSON, and checks and expands it. Errors begin with the name and, where known, the line.
func Parse(text []byte, name string) (*Job, error) {
	j, err := Read(text, name)
	if err != nil {
		return nil, err
	}
	for i := range j.Tasks { // Expand takes them, for those that were accepted once
		if id := j.Tasks[i].ID; strings.Contains(id, ",") {
			return nil, fmt.Errorf("%s: task %d: id %q: an id has no comma, which is what stands between tasks where several are named", name, i+1, clip(id))
		}
	}
	if err := j.Expand(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return j, nil
}

// Read reads a job as it is written, neither checked nor expanded.
func Read(text []byte, name string) (*Job, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%s: a job of more than %d MiB", name, MaxSize>>20)
	}
	var j Job
	if t := bytes.TrimSpace(text); len(t) > 0 && t[0] == '{' {
		d := json.NewDecoder(bytes.NewReader(t))
		d.DisallowUnknownFields()
		if err := d.Decode(&j); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, 1+bytes.Count(t[:min(d.InputOffset(), int64(len(t)))], []byte("\n")), err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: more than one job", name)
		}
	} else {
		d := yaml.NewDecoder(bytes.NewReader(text))
		d.KnownFields(true)
		if err := d.Decode(&j); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("no job in it")
			}
			return nil, placed(name, err)
		}
		if err := d.Decode(&Job{}); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: more than one job (a second YAML document)", name)
		}
	}
	return &j, nil
}

var yamlField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// placed puts the line of a YAML error where people look for it, and leaves out what means nothing to them.
func placed(name string, err error) error {
	var many *yaml.TypeError
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if errors.As(err, &many) && len(many.Errors) > 0 {
		text = many.Errors[0]
		if n := len(many.Errors) - 1; n > 0 {
			text += fmt.Sprintf(" (and %d more)", n)
		}
	}
	text = yamlField.ReplaceAllString(text, "unknown field $1")
	if line, rest, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
		return fmt.Errorf("%s:%s: %s", name, line, rest)
	}
	return fmt.Errorf("%s: %s", name, text)
}
