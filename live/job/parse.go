package job

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/schedlab/schedlab/traces/mismatch"
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
	j := &Job{}
	var err error
	if t := bytes.TrimSpace(text); len(t) > 0 && t[0] == '{' {
		err = mismatch.ReadJSON(text, name, j)
	} else if err = mismatch.ReadYAML(text, name, j); err == io.EOF {
		err = fmt.Errorf("%s: no job in it", name)
	}
	if err != nil {
		return nil, err
	}
	return j, nil
}
