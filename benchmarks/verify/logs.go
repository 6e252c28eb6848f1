package verify

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// figure is what a log comes to under a policy: mean wait, mean bounded slowdown (10 s), longest wait. What is 0 is not known.
type figure struct {
	policy                  string
	wait, slowdown, longest float64
}

// Where the figures come from, another program: EASY over a count of processors, backfill in the order of the queue, estimates of column 9, runs
// cut at the estimate, jobs without run time or processors left out. It took the processors that a job was given (column 5), where the
// reader prefers those it asked for (column 8).
var logParts = []part{
	replay("KTH-SP2-1996-2.1-cln.swf.gz", 100, figure{"easy", 6419.0, 86.40, 0}, figure{"fifo", 218980.6, 0, 0}),
	replay("HPC2N-2002-2.1-cln.swf.gz", 240, figure{"easy", 11259.8, 90.10, 0}),
	replay("LLNL-Thunder-2007-1.1-cln.swf.gz", 4008, figure{"easy", 345.9, 4.83, 0}),
	{group: "logs", name: "medium_late of Batsim", source: "traces/hpc/batsim/medium_late.json.gz (cross-check by a second EASY)", run: batsim},
}

// batsim replays a workload of Batsim under an EASY that counts processors, as ours does; Batsim's own keeps the lowest-numbered nodes for the
// head of the line and comes to other figures.
func batsim(b *bench) error {
	w, err := traces.Open(b.path("traces/hpc/batsim/medium_late.json.gz"), "batsim")
	if err != nil {
		return err
	}
	return b.figures(w, 32, "medium_late", 1e-6, []figure{{"easy", 8.672887, 0, 388.6826}, {"fifo", 19.736295, 0, 0}})
}

// relLog is the tolerance for the figures of logs, which are rounded and come from a program that nobody else has looked at.
const relLog = 0.001

// replay replays a log of the Parallel Workloads Archive on a pool of processors.
func replay(file string, procs int, figures ...figure) part {
	path := "traces/hpc/swf/" + file
	return part{group: "logs", name: file, source: path + " (cross-check by a second EASY)", run: func(b *bench) error {
		w, err := b.allocated(path)
		if err != nil {
			return err
		}
		return b.figures(w, procs, file[:len(file)-len(".swf.gz")], relLog, figures)
	}}
}

// figures replays a log under each policy.
func (b *bench) figures(w *traces.Workload, procs int, title string, rel float64, figures []figure) error {
	for _, f := range figures {
		b.say(fmt.Sprintf("%s under %s", title, f.policy))
		res, err := b.run(w, fmt.Sprintf("pool:%dcpu", procs), f.policy, func(c *sim.Config) { c.KillAtEstimate = true })
		if err != nil {
			return err
		}
		wait, slow, longest := 0.0, 0.0, 0.0
		for t := range w.Tasks {
			o := res.Outcome(sched.TaskID(t))
			wait += o.Wait().Seconds()
			longest = max(longest, o.Wait().Seconds())
			slow += boundedSlowdown(o)
		}
		n := float64(len(w.Tasks))
		of := fmt.Sprintf("of %d jobs on %d processors (%s)", len(w.Tasks), procs, title)
		b.near(fmt.Sprintf("%s: mean wait, s, %s", f.policy, of), f.wait, wait/n, rel)
		if f.slowdown > 0 {
			b.near(fmt.Sprintf("%s: mean bounded slowdown %s", f.policy, of), f.slowdown, slow/n, rel)
		}
		if f.longest > 0 {
			b.near(fmt.Sprintf("%s: longest wait, s, %s", f.policy, of), f.longest, longest, rel)
		}
	}
	return nil
}

// allocated reads a log with the processors that jobs were given, where they are known, in place of those they asked for.
func (b *bench) allocated(path string) (*traces.Workload, error) {
	f, err := os.Open(b.path(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out bytes.Buffer
	in := bufio.NewScanner(unzipped)
	for in.Scan() {
		c := strings.Fields(in.Text())
		if len(c) == 18 && c[0][0] != ';' && c[4] != "-1" && c[4] != "0" {
			c[7] = "-1"
		}
		out.WriteString(strings.Join(c, " ") + "\n")
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return traces.Read(&out, path, "swf")
}
