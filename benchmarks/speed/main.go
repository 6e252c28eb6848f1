// Command speed measures how fast and how lean schedlab is, and exits 1 where a budget is broken: `make bench`. What simulates or reads runs in
// processes of its own, whose user CPU time and peak memory the operating system reports. Costs are ratios to what the machine gives at that
// moment: to the floor Ew (a heap pop and a push among 8000 running tasks and the reading and writing of a 64-byte record, the least that one
// task can cost), which is measured before and after each run; for readers to E, the same with the records in random order.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	var a asked
	child := flag.String("child", "", "what this process is to do for another one: floors, make, simulate, read")
	flag.StringVar(&a.policy, "policy", "fifo", "policy of the child")
	flag.StringVar(&a.load, "load", "gpus", "workload of the child")
	flag.IntVar(&a.tasks, "tasks", million, "tasks of the child")
	flag.IntVar(&a.times, "times", 1, "how often the child simulates")
	flag.StringVar(&a.file, "file", "", "trace that the child reads or makes")
	flag.BoolVar(&a.named, "named", false, "give the tasks of the trace names")
	flag.BoolVar(&a.progress, "progress", false, "draw a progress bar")
	flag.StringVar(&a.cpuprofile, "cpuprofile", "", "write a CPU profile of what the child measures to this file")
	flag.BoolVar(&a.paused, "paused", false, "let the child say when its workload is there, and wait for a byte")
	b := bench{out: os.Stdout}
	flag.BoolVar(&b.short, "short", false, "fewer tasks, and only ratios beyond 1.25 x of a budget fail")
	flag.IntVar(&b.runs, "runs", 5, "runs a row that are to count; their median does")
	flag.StringVar(&b.match, "match", "", "only the rows whose name holds this text")
	flag.StringVar(&b.gobench, "gobench", "", "write every run to the file too, as Go's benchmarks print them, for benchstat")
	readme := flag.String("readme", "", "put the table in its place in this file too")
	growth := flag.String("growth", "", "instead, draw the cost of a task against their number, as growth.png and growth.svg in this folder")
	pgo := flag.String("pgo", "", "instead, profile what the table measures and write the sum to this file, for the compiler")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case *child != "":
		return a.child(*child)
	case *readme != "" && (b.short || b.match != ""):
		return errors.New("-readme wants the whole table")
	}
	h, err := open(b.short)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if *growth != "" {
		return grow(h, os.Stdout, *growth)
	}
	if *pgo != "" {
		return guide(h, *pgo)
	}
	var page page
	if *readme != "" {
		b.out = io.MultiWriter(os.Stdout, &page)
	}
	broken, err := b.run(h)
	if err != nil {
		return err
	}
	if *readme != "" {
		if err := page.into(*readme); err != nil {
			return err
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d of the budgets are broken", broken)
	}
	return nil
}
