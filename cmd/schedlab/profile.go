package main

import (
	"errors"
	"io"
	"runtime"
	"runtime/pprof"
	"runtime/trace"

	"github.com/spf13/cobra"
)

// profiles are the files of --cpuprofile, --memprofile and --trace, on every command. They are written whole when the command ends,
// however it ends.
type profiles struct {
	cpu, mem, trace string
	running         []*profileFile
}

// profileFile is one file that is being written: its writer waits for stop.
type profileFile struct {
	stop chan struct{}
	done chan error
}

func (p *profiles) add(cmd *cobra.Command) {
	fl := cmd.PersistentFlags()
	fl.StringVar(&p.cpu, "cpuprofile", "", "write a CPU profile to the file, for go tool pprof")
	fl.StringVar(&p.mem, "memprofile", "", "write a profile of all allocations to the file")
	fl.StringVar(&p.trace, "trace", "", "write an execution trace to the file, for go tool trace")
}

// start begins what the flags ask for. reads are the files that the command may read.
func (p *profiles) start(reads []string) error {
	all := []struct {
		path        string
		begin, stop func(io.Writer) error
	}{
		{p.cpu, pprof.StartCPUProfile, func(io.Writer) error { pprof.StopCPUProfile(); return nil }},
		{p.trace, trace.Start, func(io.Writer) error { trace.Stop(); return nil }},
		{p.mem, func(io.Writer) error { return nil }, func(w io.Writer) error {
			runtime.GC() // the profile is of the last collection
			return pprof.Lookup("allocs").WriteTo(w, 0)
		}},
	}
	if err := checkOutputs(reads, []string{p.cpu, p.mem, p.trace}); err != nil {
		return err
	}
	for _, one := range all {
		if one.path == "" {
			continue
		}
		f := &profileFile{stop: make(chan struct{}), done: make(chan error, 1)}
		begun := make(chan struct{})
		go func() {
			f.done <- writeFile(one.path, func(w io.Writer) error {
				told := &teller{w: w}
				if err := one.begin(told); err != nil {
					return err
				}
				close(begun)
				<-f.stop
				return errors.Join(one.stop(told), told.err)
			})
		}()
		select {
		case <-begun:
			p.running = append(p.running, f)
		case err := <-f.done:
			return err
		}
	}
	return nil
}

// teller remembers that a write failed, of which the runtime tells nobody.
type teller struct {
	w   io.Writer
	err error
}

func (t *teller) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	if t.err == nil {
		t.err = err
	}
	return n, err
}

// stop ends what start began and returns when the files are whole.
func (p *profiles) stop() error {
	var errs []error
	for _, f := range p.running {
		close(f.stop)
		errs = append(errs, <-f.done)
	}
	p.running = nil
	return errors.Join(errs...)
}
