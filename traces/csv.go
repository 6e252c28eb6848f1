package traces

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// headerOf returns the trimmed cells of the first line.
func headerOf(head []byte) []string {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if len(line) > 4096 {
		return nil
	}
	cells := strings.Split(string(line), ",")
	for i := range cells {
		cells[i] = strings.Trim(strings.TrimSpace(cells[i]), `"`)
	}
	return cells
}

// hasColumns reports whether the header has all of want.
func hasColumns(head []byte, want ...string) bool {
	cells := headerOf(head)
	for _, w := range want {
		if !slices.Contains(cells, w) {
			return false
		}
	}
	return true
}

func detectCSV(head []byte, _ string) bool {
	return !bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) && (hasColumns(head, "run_s") || hasColumns(head, "run_on"))
}

// maxCached bounds the cache of classes by their cells, for files in which every row differs.
const maxCached = 1 << 15

// readCSV reads the native CSV. Only the cells of a task's own are parsed for each row; the rest is looked up by its bytes.
func readCSV(in io.Reader, b *Builder) error {
	s, err := newSheet(in, b)
	if err != nil {
		return err
	}
	cols := make([]int, len(s.head))
	var at [numCols]int
	for c := range at {
		at[c] = -1
	}
	var common, rare []int // positions of cells that make the class, and of those that few rows have
	for i, name := range s.head {
		c := columnOf(name)
		if c < 0 {
			return b.Errorf(s.line, "unknown column %q (known: %s)", clip(name), strings.Join(columnNames[:], ", "))
		}
		cols[i], at[c] = c, i
		switch {
		case c >= colOther:
			common = append(common, i)
		case c == colName || c >= colAfter:
			rare = append(rare, i)
		}
	}
	if at[colRun] < 0 && at[colRunOn] < 0 {
		return b.Errorf(s.line, "no column run_s or run_on")
	}
	cached := map[string]sched.ClassID{}
	var key []byte
	var lastKey []byte
	last := sched.ClassID(-1)
	var r Row
	cell := func(c int) []byte {
		if at[c] < 0 {
			return nil
		}
		return s.cell(at[c])
	}
	seconds := func(c int) (int64, error) {
		t := bytes.TrimSpace(cell(c))
		if len(t) == 0 {
			return 0, nil
		}
		v, err := parseFixed(t, 9)
		if err == nil && v < 0 && c != colSubmit {
			err = fmt.Errorf("%s is negative", clip(string(t)))
		}
		if err != nil {
			err = b.Errorf(s.line, "%s: %w", columnNames[c], err)
		}
		return v, err
	}
	const sep = 0x1f
	for {
		ok, err := s.next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if b.Len() == 4096 && b.size > 0 {
			b.Grow(int(min(float64(b.size)/float64(s.read)*4096*1.02, maxTasks/16)))
		}
		submit, err := seconds(colSubmit)
		if err != nil {
			return err
		}
		run, err := seconds(colRun)
		if err != nil {
			return err
		}
		est := int64(-1)
		if len(bytes.TrimSpace(cell(colEstimate))) > 0 {
			if est, err = seconds(colEstimate); err != nil {
				return err
			}
		}

		key = key[:0]
		for _, i := range common {
			key = append(append(key, s.cell(i)...), sep)
		}
		class := last
		if last < 0 || !bytes.Equal(key, lastKey) {
			sound := bytes.Count(key, []byte{sep}) == len(common) // a cell that holds the separator could look like two
			if class, ok = cached[string(key)]; !ok || !sound {
				r = Row{Line: s.line}
				for _, i := range common {
					if err := setColumn(&r, cols[i], s.cell(i)); err != nil {
						return b.Errorf(s.line, "%s: %w", s.head[i], err)
					}
				}
				if class, err = b.class(&r); err != nil {
					return err
				}
				if len(cached) < maxCached && sound {
					cached[string(key)] = class
				}
			}
			if lastKey, last = append(lastKey[:0], key...), class; !sound {
				last = -1
			}
		}

		few := false
		for _, i := range rare {
			few = few || len(s.cell(i)) > 0
		}
		hasRun := len(bytes.TrimSpace(cell(colRun))) > 0
		if few || !hasRun {
			r = Row{Line: s.line, After: r.After[:0]}
			for _, i := range rare {
				if err := setColumn(&r, cols[i], s.cell(i)); err != nil {
					return b.Errorf(s.line, "%s: %w", s.head[i], err)
				}
			}
			r.Run = time.Duration(run)
			if err := settle(&r, hasRun); err != nil {
				return b.Errorf(s.line, "%w", err)
			}
			run = int64(r.Run)
		}
		if err := b.push(sched.Time(submit), time.Duration(run), time.Duration(est), class, bytes.TrimSpace(cell(colID)), bytes.TrimSpace(cell(colJob)), s.line); err != nil {
			return err
		}
		if few {
			if err := b.extras(&r); err != nil {
				return err
			}
		}
	}
}

// writeCSV writes the native CSV: the columns in use, rows in input order.
func writeCSV(out io.Writer, wl *Workload) error {
	w := bufio.NewWriterSize(out, 64<<10)
	s := newShape(wl)
	var cols []int
	for _, c := range writeOrder {
		if s.used[c] {
			cols = append(cols, c)
		}
	}
	for i, c := range cols {
		if i > 0 {
			w.WriteByte(',')
		}
		w.WriteString(columnNames[c])
	}
	w.WriteByte('\n')
	var r Row
	var buf []byte
	err := inInputOrder(wl, func(t sched.TaskID) error {
		s.row(t, &r)
		buf = buf[:0]
		for i, c := range cols {
			if i > 0 {
				buf = append(buf, ',')
			}
			if text, ok := textOf(&r, c); ok {
				if c == colID && text == "" {
					return fmt.Errorf("task %d has no id", t)
				}
				buf = appendCell(buf, text)
				continue
			}
			if items := listOf(&r, c); items != nil {
				for _, item := range items {
					if bad := strings.ContainsAny(item, ";") || c == colGPUTypes && strings.Contains(item, "|"); bad || item != strings.TrimSpace(item) {
						return fmt.Errorf("task %s: %s: %q cannot stand in a CSV list; write jsonl", r.ID, columnNames[c], clip(item))
					}
				}
				buf = appendCell(buf, strings.Join(items, ";"))
				continue
			}
			buf = appendScalar(buf, &r, c)
		}
		buf = append(buf, '\n')
		_, err := w.Write(buf)
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// appendCell appends text, quoted where it must be.
func appendCell(dst []byte, s string) []byte {
	if !strings.ContainsAny(s, ",\"\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}
