package traces

import (
	"bytes"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// readSTG reads the Standard Task Graph format (Tobita, Kasahara, A standard task graph set for fair evaluation of multiprocessor
// scheduling algorithms, Journal of Scheduling 5(5), 2002): the number of tasks (some files add the number of processors), then a
// line a task: id, processing time, number of predecessors, predecessors. Lines that begin with # are comments, before or
// after. A unit of time is one second, and a task asks for one CPU. The dummy entry and exit tasks of time 0, which the first number
// may leave out, are kept. Costs of communication, where predecessors come in pairs with them, are read as MB (10^6 bytes): over
// links of 8 Mbit/s they are the seconds that the file says.
func readSTG(in io.Reader, b *Builder) error {
	l := newLines(in)
	job := strings.TrimSuffix(filepath.Base(strings.TrimSuffix(strings.TrimSuffix(b.source, ".gz"), ".zst")), ".stg")
	want, count := int64(-1), int64(0)
	whole := func(what string, f []byte) (int64, error) {
		v, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil || v < 0 || v > maxTasks {
			return 0, b.Errorf(l.line, "%s: %q is not a whole number from 0 on", what, clip(string(f)))
		}
		return v, nil
	}
	for {
		s, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return b.Errorf(l.line, "%w", err)
		}
		s, _, _ = bytes.Cut(s, []byte("#"))
		f := bytes.Fields(s)
		if len(f) == 0 {
			continue
		}
		if want < 0 {
			if len(f) > 2 {
				return b.Errorf(l.line, "the first line must be the number of tasks")
			}
			if want, err = whole("number of tasks", f[0]); err != nil {
				return err
			}
			continue
		}
		if len(f) < 3 {
			return b.Errorf(l.line, "a task is: id, processing time, number of predecessors, predecessors")
		}
		id, err := whole("task", f[0])
		if err != nil {
			return err
		}
		ns, err := parseFixed(f[1], 9)
		if err != nil {
			return b.Errorf(l.line, "processing time: %w", err)
		}
		if ns < 0 {
			return b.Errorf(l.line, "negative processing time")
		}
		n, err := whole("number of predecessors", f[2])
		if err != nil {
			return err
		}
		step := 1
		switch preds := int64(len(f) - 3); {
		case preds == n:
		case preds == 2*n:
			step = 2
		default:
			return b.Errorf(l.line, "says %d predecessors and lists %d", n, preds)
		}
		r := Row{ID: strconv.FormatInt(id, 10), Job: job, Run: time.Duration(ns), Estimate: -1, Line: l.line}
		for i := 3; i < len(f); i += step {
			p, err := whole("predecessor", f[i])
			if err != nil {
				return err
			}
			r.After = append(r.After, strconv.FormatInt(p, 10))
			if step == 2 {
				mb, err := parseFixed(f[i+1], 6)
				if err != nil || mb < 0 {
					return b.Errorf(l.line, "cost of communication: %q is not a number from 0 on", clip(string(f[i+1])))
				}
				r.AfterBytes = append(r.AfterBytes, mb)
			}
		}
		if err := b.Add(&r); err != nil {
			return err
		}
		if count++; count > want+2 {
			return b.Errorf(l.line, "more tasks than the %d (and 2 dummies) that the first line says", want)
		}
	}
	if want < 0 {
		return b.Errorf(0, "no number of tasks")
	}
	if count < want {
		return b.Errorf(l.line, "the file ends after %d of %d tasks", count, want)
	}
	return nil
}
