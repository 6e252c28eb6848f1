package traces

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/mismatch"
)

// firstObject returns the JSON object on the first line, nil if there is none.
func firstObject(head []byte) map[string]json.RawMessage {
	line, _, _ := bytes.Cut(bytes.TrimSpace(head), []byte("\n"))
	var m map[string]json.RawMessage
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &m) != nil {
		return nil
	}
	return m
}

func detectJSONL(head []byte, _ string) bool {
	m := firstObject(head)
	_, run := m["run_s"]
	_, on := m["run_on"]
	return run || on
}

// readJSONL reads one JSON object a line, its keys the native columns. Lists are arrays (or the text of the CSV cell), labels and
// run_on also objects, numbers may be text.
func readJSONL(in io.Reader, b *Builder) error {
	l := newLines(in)
	for {
		s, err := l.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return b.Errorf(l.line, "%w", err)
		}
		if s = bytes.TrimSpace(s); len(s) == 0 {
			continue
		}
		r := Row{Line: l.line, Estimate: -1}
		if err := jsonRow(s, &r); err != nil {
			return b.Errorf(l.line, "%w", err)
		}
		if err := b.Add(&r); err != nil {
			return err
		}
	}
}

func jsonRow(s []byte, r *Row) error {
	var m map[string]json.RawMessage
	switch err := json.Unmarshal(s, &m); {
	case err != nil && json.Valid(s) || err == nil && m == nil:
		return errors.New("not a JSON object")
	case err != nil:
		return mismatch.JSON(err)
	}
	hasRun := false
	for _, name := range slices.Sorted(maps.Keys(m)) {
		col := columnOf(name)
		if col < 0 {
			return fmt.Errorf("unknown column %q (known: %s)", clip(name), strings.Join(columnNames[:], ", "))
		}
		set, err := jsonCell(m[name], r, col)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		hasRun = hasRun || col == colRun && set
	}
	return settle(r, hasRun)
}

// jsonCell sets a column from a JSON value; false if it is null or empty.
func jsonCell(raw json.RawMessage, r *Row, col int) (bool, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || bytes.Equal(raw, []byte("null")):
		return false, nil
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return false, err
		}
		return text != "", setColumn(r, col, []byte(text))
	case raw[0] == '[':
		if listColumn(col) {
			var items []json.RawMessage
			if err := json.Unmarshal(raw, &items); err != nil {
				return false, err
			}
			for _, item := range items {
				text := string(item)
				if len(item) > 0 && item[0] == '"' {
					if err := json.Unmarshal(item, &text); err != nil {
						return false, err
					}
				} else if len(item) > 0 && (item[0] == '{' || item[0] == '[' || item[0] == 'n') {
					return false, errors.New("an item that is neither text nor a number")
				}
				if err := addItem(r, col, text); err != nil {
					return false, err
				}
			}
			return len(items) > 0, nil
		}
	case raw[0] == '{':
		if col == colLabels || col == colRunOn || col == colSpeedOn {
			var m map[string]json.RawMessage
			if err := json.Unmarshal(raw, &m); err != nil {
				return false, err
			}
			for _, k := range slices.Sorted(maps.Keys(m)) {
				text := string(m[k])
				if len(text) > 0 && text[0] == '"' {
					if err := json.Unmarshal(m[k], &text); err != nil {
						return false, err
					}
				}
				if len(text) > 0 && (text[0] == '{' || text[0] == '[') && m[k][0] != '"' {
					return false, fmt.Errorf("%q must be text or a number", clip(k))
				}
				if err := addItem(r, col, k+"="+text); err != nil {
					return false, err
				}
			}
			return len(m) > 0, nil
		}
	case raw[0] == 't' || raw[0] == 'f':
	default:
		return true, setColumn(r, col, raw)
	}
	switch {
	case listColumn(col) && (col == colLabels || col == colRunOn || col == colSpeedOn):
		return false, errors.New("must be a list, an object or text")
	case listColumn(col):
		return false, errors.New("must be a list or text")
	case unitOf(col) == unitText:
		return false, errors.New("must be text or a number")
	}
	return false, errors.New("must be a number")
}

func listColumn(col int) bool {
	switch col {
	case colAfter, colAfterGB, colGPUTypes, colLabels, colTolerations, colRunOn, colSpeedOn:
		return true
	}
	return false
}

// writeJSONL writes one object a task with the columns that are not at their defaults, rows in input order.
func writeJSONL(out io.Writer, wl *Workload) error {
	w := bufio.NewWriterSize(out, 64<<10)
	s := newShape(wl)
	var r Row
	var buf, num []byte
	err := inInputOrder(wl, func(t sched.TaskID) error {
		s.row(t, &r)
		buf = append(buf[:0], '{')
		for _, c := range writeOrder {
			if !s.used[c] {
				continue
			}
			var value []byte
			if text, ok := textOf(&r, c); ok {
				if text == "" {
					continue
				}
				value, _ = json.Marshal(text)
			} else if listColumn(c) {
				items := listOf(&r, c)
				if len(items) == 0 {
					continue
				}
				value, _ = json.Marshal(items)
			} else {
				num = appendScalar(num[:0], &r, c)
				if len(num) == 0 {
					continue
				}
				value = num
			}
			if len(buf) > 1 {
				buf = append(buf, ',')
			}
			buf = append(buf, '"')
			buf = append(buf, columnNames[c]...)
			buf = append(buf, '"', ':')
			buf = append(buf, value...)
		}
		buf = append(buf, '}', '\n')
		_, err := w.Write(buf)
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}
