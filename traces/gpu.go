package traces

import (
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

func detectOpenb(head []byte, _ string) bool {
	return hasColumns(head, "name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
}

// readOpenb reads the pods of the Alibaba GPU cluster trace 2023 (FGD, ATC 23): seconds, milli-CPU, MiB, shares of one GPU in
// milli. The run time is deletion - scheduled. A pod that was never scheduled is part of the demand all the same: its run time is
// deletion - creation, and noted. Lists without times (multigpu) are node-placement inputs and cannot be replayed.
func readOpenb(in io.Reader, b *Builder) error {
	s, err := newSheet(in, b, "name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
	if err != nil {
		return err
	}
	for _, c := range []string{"creation_time", "deletion_time"} {
		if _, ok := s.col[c]; !ok {
			return b.Errorf(s.line, "no column %q: pods without times cannot be replayed (the multigpu lists of this trace have none)", c)
		}
	}
	for {
		ok, err := s.next()
		if !ok || err != nil {
			return err
		}
		cpu, err := s.count("cpu_milli", "CPU", sched.Unlimited)
		if err != nil {
			return err
		}
		mem, err := s.count("memory_mib", "memory", 1<<40)
		if err != nil {
			return err
		}
		gpus, err := s.count("num_gpu", "GPU count", math.MaxInt32)
		if err != nil {
			return err
		}
		share, err := s.count("gpu_milli", "GPU share", sched.Whole)
		if err != nil {
			return err
		}
		if gpus == 0 {
			share = 0
		}
		if s.text("creation_time") == "" || s.text("deletion_time") == "" {
			b.Drop("no creation or deletion time", s.line)
			continue
		}
		created, err := s.seconds("creation_time")
		if err != nil {
			return err
		}
		deleted, err := s.seconds("deletion_time")
		if err != nil {
			return err
		}
		from := created
		if s.text("scheduled_time") == "" {
			b.Mend("never scheduled; run time taken as deletion - creation", s.line)
		} else if from, err = s.seconds("scheduled_time"); err != nil {
			return err
		}
		if deleted < from {
			return b.Errorf(s.line, "deleted before it was scheduled or created")
		}
		r := Row{
			ID: s.text("name"), Queue: s.text("qos"), Submit: sched.Time(created), Run: time.Duration(deleted - from), Estimate: -1,
			Need: sched.Need{CPU: cpu, Mem: mem << 20, GPUs: int32(gpus), GPUMilli: int32(share)}, Line: s.line,
		}
		if spec := s.text("gpu_spec"); spec != "" {
			r.GPUTypes = strings.Split(spec, "|")
		}
		if err := b.Add(&r); err != nil {
			return err
		}
	}
}

func detectPhilly(head []byte, _ string) bool {
	return hasColumns(head, "timestamp", "duration", "num_gpus")
}

// readPhilly reads the Philly trace (Jeon et al., ATC 19) as the Sia authors reduced it: the submit date, seconds, GPUs, the
// virtual cluster (tenant). The date of the first row is time 0; earlier ones are negative. Dates have no zone and are taken as UTC.
func readPhilly(in io.Reader, b *Builder) error {
	s, err := newSheet(in, b, "timestamp", "duration", "num_gpus")
	if err != nil {
		return err
	}
	var first time.Time
	for n := 0; ; n++ {
		ok, err := s.next()
		if !ok || err != nil {
			return err
		}
		at, err := time.Parse(time.DateTime, s.text("timestamp"))
		if err != nil {
			return b.Errorf(s.line, "timestamp: %q is not a date such as 2017-10-09 07:01:55", clip(s.text("timestamp")))
		}
		if n == 0 {
			first = at
		}
		gpus, err := s.count("num_gpus", "GPU count", math.MaxInt32)
		if err != nil {
			return err
		}
		run, err := s.seconds("duration")
		if err != nil {
			return err
		}
		if run <= 0 {
			if run < 0 {
				return b.Errorf(s.line, "negative run time")
			}
			b.Drop("run time is 0 or unknown", s.line)
			continue
		}
		r := Row{Tenant: s.text("cluster"), Submit: sched.Time(at.Sub(first)), Run: time.Duration(run), Estimate: -1, Line: s.line}
		if d := at.Unix() - first.Unix(); d > int64(maxDuration/time.Second) || -d > int64(maxDuration/time.Second) {
			return b.Errorf(s.line, "timestamp: more than 73 years from the first row")
		}
		wide(&r, gpus)
		if err := b.Add(&r); err != nil {
			return err
		}
	}
}

func detectMuri(head []byte, _ string) bool {
	return hasColumns(head, "job_id", "num_gpu", "submit_time", "iterations", "iteration_time")
}

// readMuri reads Muri's job lists (Zhao et al., SIGCOMM 22): milliseconds, run time = iterations x iteration_time.
func readMuri(in io.Reader, b *Builder) error { return readMuriBy(in, b, 1) }

// readMuriUpstream takes iteration times x 1.015, as Muri's simulator does.
func readMuriUpstream(in io.Reader, b *Builder) error { return readMuriBy(in, b, 1.015) }

func readMuriBy(in io.Reader, b *Builder, factor float64) error {
	s, err := newSheet(in, b, "job_id", "num_gpu", "submit_time", "iterations", "iteration_time")
	if err != nil {
		return err
	}
	for {
		ok, err := s.next()
		if !ok || err != nil {
			return err
		}
		iterations, err := s.count("iterations", "iterations", 1<<50)
		if err != nil {
			return err
		}
		each, err := s.fixed("iteration_time", 6) // ms to ns
		if err != nil {
			return err
		}
		submit, err := s.fixed("submit_time", 6)
		if err != nil {
			return err
		}
		ns := math.Round(float64(iterations) * float64(each) * factor)
		if each < 0 || ns > float64(maxDuration) {
			return b.Errorf(s.line, "iteration_time: negative, or a run time of more than 73 years")
		}
		if err := gpuJob(s, b, submit, int64(ns)); err != nil {
			return err
		}
	}
}

var tiresiasColumns = []string{"job_id", "num_gpu", "submit_time", "iterations", "model_name", "duration", "interval"}

func detectTiresias(head []byte, _ string) bool {
	for _, c := range headerOf(head) { // other lists of this family have columns that would be lost
		if !slices.Contains(tiresiasColumns, c) {
			return false
		}
	}
	return hasColumns(head, "job_id", "num_gpu", "submit_time", "duration")
}

// readTiresias reads the job lists of the Tiresias simulator (Gu et al., NSDI 19): seconds, run time = duration.
func readTiresias(in io.Reader, b *Builder) error {
	s, err := newSheet(in, b, "job_id", "num_gpu", "submit_time", "duration")
	if err != nil {
		return err
	}
	var unread []string
	for _, c := range s.head {
		if !slices.Contains(tiresiasColumns, c) {
			unread = append(unread, c)
		}
	}
	if unread != nil {
		b.Mend("columns that are not read: "+clip(strings.Join(unread, ", ")), s.line)
	}
	for {
		ok, err := s.next()
		if !ok || err != nil {
			return err
		}
		submit, err := s.seconds("submit_time")
		if err != nil {
			return err
		}
		run, err := s.seconds("duration")
		if err != nil {
			return err
		}
		if err := gpuJob(s, b, submit, run); err != nil {
			return err
		}
	}
}

// gpuJob adds a job of a Muri or Tiresias list; times in ns.
func gpuJob(s *sheet, b *Builder, submit, run int64) error {
	gpus, err := s.count("num_gpu", "GPU count", math.MaxInt32)
	if err != nil {
		return err
	}
	if run < 0 {
		return b.Errorf(s.line, "negative run time")
	}
	if run == 0 {
		b.Drop("run time is 0 or unknown", s.line)
		return nil
	}
	r := Row{
		ID: s.text("job_id"), Kind: s.text("model_name"), Submit: sched.Time(submit), Run: time.Duration(run), Estimate: -1, Line: s.line,
	}
	wide(&r, gpus)
	return b.Add(&r)
}
