package main

import (
	"math"
	"runtime"

	"github.com/schedlab/schedlab/policies"
)

// row is one line of the table.
type row struct {
	name    string
	tasks   int
	short   int  // tasks in the short form; 0: it is not in it
	once    bool // it takes too long to be repeated without need
	in      unit
	bounds  bounds
	note    string // said beside the verdict
	measure func(h *house, n int) (sample, error)
	policy  string // of rows that simulate one, for profiles and the growth
	load    string
}

// unit is what a row's ratio is of.
type unit string

const (
	inEw   unit = "Ew"   // floor of a task in the trace's order
	inE    unit = "E"    // floor of a task at random
	inX    unit = "x"    // of something else that the row measures too
	inFifo unit = "fifo" // of fifo on the same tasks
	inMS   unit = "ms"   // no ratio: milliseconds
	noUnit unit = ""
)

// bounds are a row's budget; 0 = none.
type bounds struct {
	ratio float64 // in the row's unit
	bytes float64 // peak memory of the process / tasks
	grows float64 // the ratio is at most this times that of the row named after
	after string
	wall  float64 // wall time, as a ratio, where the machine is idle enough to tell
}

// sample is one measurement of a row. What does not apply is NaN.
type sample struct {
	ns     float64 // user CPU a task
	ratio  float64
	bytes  float64   // peak memory of the process / tasks
	wall   float64   // ratio of wall times
	busy   bool      // the machine had other work: wall says nothing
	starts float64   // a task; 0: not told
	floors floorPair // around it
	skip   string    // why nothing was measured
}

func nothing(why string) sample {
	nan := math.NaN()
	return sample{ns: nan, ratio: nan, bytes: nan, wall: nan, skip: why}
}

const million = 1_000_000

// bytesATask bounds the peak memory of a process that simulates, all metrics included: 1e7 tasks fit in 1.2 GB.
const bytesATask = 120

// simulated is a row that simulates one policy on one load.
func simulated(name, policy, load string, tasks, short int, b bounds) row {
	return row{
		name: name, tasks: tasks, short: short, in: inEw, bounds: b, policy: policy, load: load,
		measure: func(h *house, n int) (sample, error) { return h.simulate(policy, load, n) },
	}
}

// onTop is a row of a `schedlab run` with something on top of the plain one.
func onTop(name, flag, file string, bound float64) row {
	return row{
		name: name, tasks: million, short: 200_000, in: inX, bounds: bounds{ratio: bound},
		measure: func(h *house, n int) (sample, error) { return h.onTop(n, flag, file) },
	}
}

func reading(name, format string, named bool, b bounds) row {
	return row{
		name: name, tasks: million, short: 300_000, in: inE, bounds: b,
		measure: func(h *house, n int) (sample, error) { return h.read(format, named, n) },
	}
}

func swf(name, policy, algorithm string) row {
	return row{
		name: name, tasks: million, in: inX, bounds: bounds{ratio: 2},
		measure: func(h *house, n int) (sample, error) { return h.swf(policy, algorithm, n) },
	}
}

// table is what `make bench` measures, with the budgets.
var table = func() []row {
	most := func(ratio float64) bounds { return bounds{ratio: ratio, bytes: bytesATask} }
	fifo10M := simulated("fifo, ten million", "fifo", "gpus", 10*million, 0, bounds{ratio: 2.2, bytes: bytesATask, grows: 1.15, after: "fifo"})
	fifo10M.once = true
	progress := row{
		name: "progress bar on fifo", tasks: million, short: 200_000, in: inX, bounds: bounds{ratio: 1.01},
		measure: func(h *house, n int) (sample, error) { return h.progress(n) },
	}
	models := row{
		name: "fifo, every model off", tasks: million, short: 200_000, in: inX, bounds: bounds{ratio: 1.05},
		measure: func(h *house, n int) (sample, error) { return h.modelsOff(n) },
	}
	compare := row{
		name: "compare fifo,sjf on 2 cores", tasks: million, short: 200_000, in: inX, bounds: bounds{ratio: 1.3, wall: 0.6},
		measure: func(h *house, n int) (sample, error) { return h.compare(n) },
	}
	help := row{
		name: "start, --help", short: 1, tasks: 1, in: inMS, bounds: bounds{ratio: 20},
		measure: func(h *house, _ int) (sample, error) { return h.start("--help") },
	}
	first := row{
		name: "start, first byte of compare", short: 1, tasks: 1, in: inMS, bounds: bounds{ratio: 50},
		measure: func(h *house, _ int) (sample, error) { return h.start("compare") },
	}
	rows := []row{
		simulated("fifo", "fifo", "gpus", million, 200_000, most(2.2)),
		fifo10M,
		simulated("sjf", "sjf", "gpus", million, 200_000, most(2.8)),
		simulated("fjf", "fjf", "gpus", million, 0, bounds{bytes: bytesATask}),
		simulated("easy, inexact estimates", "easy", "gpus", million, 200_000, most(8)),
		simulated("critical-path, 4 resources, 8 scored", "critical-path{score=8}", "four", million, 200_000, most(5.5)),
		simulated("critical-path, 4 resources, all scored", "critical-path{score=0}", "four", million, 100_000, most(20)),
		simulated("blevel, 3 edges a task", "blevel", "layered", million, 200_000, most(3.3)),
		simulated("rr", "rr", "gpus", million, 50_000, most(25)),
		simulated("srtf", "srtf", "gpus", million, 0, bounds{}),
		swf("swf, fifo, whole process", "fifo", "fcfs"),
		swf("swf, easy, whole process", "easy", "easy"),
		reading("read csv", "csv", false, bounds{ratio: 0.4}),
		reading("read csv, named ids", "csv", true, bounds{}),
		reading("read parquet", "parquet", false, bounds{ratio: 0.15}),
		reading("read parquet, named ids", "parquet", true, bounds{}),
		onTop("journal on top of fifo", "--journal", "journal", 1.3),
		onTop("tasks CSV on top of fifo", "--tasks-csv", "tasks.csv", 1.3),
		progress,
		models,
		compare,
		help,
		first,
	}
	return append(rows, everyPolicy()...)
}()

// timesFifo bounds what a start may cost under a policy, over what one costs under fifo, where what its paper describes is O(log n) an event.
const timesFifo = 3

// slow are the policies of which a start takes long: with how many tasks they are measured, and why there is no budget if there is none.
var slow = map[string]struct {
	tasks int
	why   string
}{
	"themis":       {200_000, "an auction among all who wait at each lease's end"},
	"conservative": {20_000, "a promise to every waiting task"},
	"gavel":        {20_000, "linear programs"}, "allox": {10_000, "O(n^3) matchings"},
	"heft": {10_000, "plans whole jobs, O(tasks x nodes)"}, "cpop": {10_000, "plans whole jobs, O(tasks x nodes)"}, "peft": {10_000, "plans whole jobs, O(tasks x nodes)"},
	"lookahead": {2_000, "plans whole jobs, O(tasks x nodes^2)"},
	"dls":       {5_000, "O(ready x nodes) a decision"}, "etf": {5_000, "O(ready x nodes) a decision"},
	"min-min": {5_000, "O(ready x nodes) a decision"}, "max-min": {5_000, "O(ready x nodes) a decision"},
}

// everyPolicy is a row for each policy of the catalogue: what a start costs over what one costs under fifo, on the same tasks.
func everyPolicy() []row {
	var rows []row
	for _, e := range policies.Catalogue {
		n, b, note := million, bounds{ratio: timesFifo}, ""
		if c, ok := slow[e.Name]; ok {
			if n = c.tasks; c.why != "" {
				b, note = bounds{}, "no budget: "+c.why
			}
		}
		rows = append(rows, row{
			name: "policy " + e.Name, tasks: n, in: inFifo, bounds: b, note: note, policy: e.Name, load: "gpus",
			measure: func(h *house, n int) (sample, error) { return h.overFifo(e.Name, n) },
		})
	}
	return rows
}

// where says what machine this is, so that figures can be told apart.
func where() string { return runtime.Version() + ", " + machine() }
