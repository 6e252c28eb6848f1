package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := d.Decode(&Job{}); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: more than one job (a second YAML document)", name)
		}
	}
	return &j, nil
}
