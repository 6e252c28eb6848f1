package traces

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/mismatch"
)

// gavelColumns says at which tab-separated field of a line of that many fields something stands; -1 = nowhere.
type gavelColumns struct{ steps, gpus, weight, slo, duration, arrival int }

var gavelForms = map[int]gavelColumns{
	7:  {steps: 4, gpus: 6, weight: -1, slo: -1, duration: -1, arrival: 5}, // Gavel's traces of Philly's virtual clusters
	10: {steps: 5, gpus: 6, weight: 7, slo: 8, duration: -1, arrival: 9},   // of its physical cluster
	12: {steps: 5, gpus: 6, weight: 8, slo: 9, duration: 10, arrival: 11},  // Shockwave's
}

// GavelThroughputs is the name of the file of throughputs that stands beside a Gavel trace, or in the folder above; with .gz as well.
const GavelThroughputs = "simulation_throughputs.json"

// detectGavel: a first line of that many fields whose second is the job's command.
func detectGavel(head []byte, _ string) bool {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	fields := bytes.Split(line, []byte("\t"))
	_, ok := gavelForms[len(fields)]
	return ok && bytes.Contains(fields[1], []byte("python"))
}

// readGavel reads the traces of Gavel (Narayanan et al., OSDI 20), a job a line without a header, and those of Shockwave (Zheng et al.,
// NSDI 23), which have a duration. A job's run time is total steps / throughput on one GPU type, the fastest of consolidated V100, P100
// and K80 that the file of throughputs knows for (job type, GPUs), V100 before others; its throughput table says how fast it is on the others
// beside. A job type that was measured on one GPU only is taken to scale with their number, and noted. Types on which a job's throughput is 0 are not among those that will do. Throughputs of unconsolidated GPUs and of jobs that share a
// GPU are not read. Without the file only traces with durations can be read, which are those on a V100.
func readGavel(in io.Reader, b *Builder) error {
	table, err := besideGavel(b.source)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, headSize), maxLine)
	for line := 1; lines.Scan(); line++ {
		text := strings.TrimSuffix(lines.Text(), "\r")
		if line == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if text == "" {
			continue
		}
		if err := gavelJob(text, line, table, b); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return b.Errorf(0, "%w", err)
	}
	return nil
}

func gavelJob(text string, line int, table *gavelTable, b *Builder) error {
	cell := strings.Split(text, "\t")
	at, ok := gavelForms[len(cell)]
	if !ok {
		return b.Errorf(line, "%d fields between tabs, where a Gavel trace has 7 or 10 and Shockwave's 12", len(cell))
	}
	var fail error
	count := func(i int, what string, most int64) int64 {
		v, err := strconv.ParseInt(strings.TrimSpace(cell[i]), 10, 64)
		if err != nil || v < 0 || v > most {
			fail = cmp.Or(fail, b.Errorf(line, "%s: %q is not a count up to %d", what, clip(cell[i]), most))
		}
		return v
	}
	seconds := func(i int, what string) int64 {
		ns, err := parseFixed([]byte(strings.TrimSpace(cell[i])), 9)
		if err != nil {
			fail = cmp.Or(fail, b.Errorf(line, "%s: %w", what, err))
		}
		return ns
	}
	gpus := count(at.gpus, "GPU count", math.MaxInt32)
	steps := count(at.steps, "steps", 1<<50)
	r := Row{Kind: cell[0], Estimate: -1, Line: line, Submit: sched.Time(seconds(at.arrival, "arrival"))}
	if fail != nil {
		return fail
	}
	if gpus == 0 || steps == 0 {
		b.Drop("no GPUs or no steps", line)
		return nil
	}
	wide(&r, gpus)
	rates, known := table.of(cell[0], gpus)
	if !known && gpus > 1 && at.duration < 0 {
		if rates, known = table.of(cell[0], 1); known {
			b.Mend("no throughput of this job type on so many GPUs: taken as that many times that of one", line)
			steps = (steps + gpus - 1) / gpus
		}
	}
	if at.duration >= 0 {
		r.Run = time.Duration(seconds(at.duration, "duration"))
	} else if table == nil {
		return b.Errorf(line, "run times of this trace are steps / throughput, and there is no %s beside it", GavelThroughputs)
	} else if !known {
		return b.Errorf(line, "%s knows no throughput of %q on %d GPUs", table.source, clip(cell[0]), gpus)
	}
	if fail != nil {
		return fail
	}
	if known {
		reference := rates[0].perSecond
		if at.duration < 0 {
			ns := math.Round(float64(steps) / reference * 1e9)
			if ns > float64(maxDuration) {
				return b.Errorf(line, "a run time of more than 73 years")
			}
			r.Run = time.Duration(ns)
		}
		r.Kind = fmt.Sprintf("%s x%d", cell[0], gpus) // throughput is by kind and number of GPUs
		for _, x := range rates {
			r.GPUTypes = append(r.GPUTypes, x.gpu)
			r.SpeedOn = append(r.SpeedOn, sched.SpeedOn{GPUType: x.gpu, Nano: max(int64(math.Round(x.perSecond/reference*sched.ReferenceNano)), 1)})
		}
		if len(rates) == table.types {
			r.GPUTypes = nil
		}
	}
	if at.weight >= 0 {
		if w, err := strconv.ParseFloat(cell[at.weight], 64); err == nil && w > 1 && w == math.Trunc(w) && w <= math.MaxInt32 {
			r.Priority = int32(w)
		}
	}
	if at.slo >= 0 {
		if slo, err := strconv.ParseFloat(cell[at.slo], 64); err == nil && slo > 0 { // a multiple of the run time
			if d := math.Round(slo * float64(r.Run)); d <= float64(maxDuration) {
				r.Deadline = time.Duration(d)
			}
		}
	}
	return b.Add(&r)
}

// gavelTable has the throughputs of Gavel's file by job type and GPUs.
type gavelTable struct {
	source string
	types  int
	rates  map[string][]gavelRate // "('A3C', 1)"
}

type gavelRate struct {
	gpu       string
	perSecond float64 // steps
}

// of returns the types on which such a job runs: the reference first, a V100 where it runs on that.
func (g *gavelTable) of(kind string, gpus int64) ([]gavelRate, bool) {
	if g == nil {
		return nil, false
	}
	r, ok := g.rates[fmt.Sprintf("('%s', %d)", kind, gpus)]
	return r, ok
}

// besideGavel reads the throughputs that stand beside a trace or one folder above; nil where there are none.
func besideGavel(source string) (*gavelTable, error) {
	dir := filepath.Dir(source)
	for _, d := range []string{dir, filepath.Dir(dir)} {
		for _, ext := range []string{"", ".gz"} {
			path := filepath.Join(d, GavelThroughputs+ext)
			f, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			defer f.Close()
			plain, err := Unpack(f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			defer plain.Close()
			g, err := readGavelTable(plain)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			g.source = path
			return g, nil
		}
	}
	return nil, nil
}

// readGavelTable reads worker type -> job -> "null" -> steps a second; what else stands beside "null" is the job packed with others.
func readGavelTable(in io.Reader) (*gavelTable, error) {
	var file map[string]map[string]map[string]json.RawMessage
	if err := json.NewDecoder(io.LimitReader(in, 256<<20)).Decode(&file); err != nil {
		return nil, mismatch.JSON(err)
	}
	g := &gavelTable{rates: map[string][]gavelRate{}}
	for _, worker := range slices.SortedFunc(maps.Keys(file), func(a, b string) int {
		if (a == "v100") != (b == "v100") {
			return map[bool]int{true: -1, false: 1}[a == "v100"]
		}
		return -strings.Compare(a, b) // p100 before k80
	}) {
		if strings.HasSuffix(worker, "_unconsolidated") {
			continue
		}
		g.types++
		for job, by := range file[worker] {
			alone, ok := by["null"]
			if !ok {
				continue
			}
			var f float64
			if err := json.Unmarshal(alone, &f); err != nil || !(f >= 0 && f <= 1e12) {
				return nil, fmt.Errorf("%s: %s: %s is not a throughput", worker, clip(job), clip(string(alone)))
			}
			if f > 0 {
				g.rates[job] = append(g.rates[job], gavelRate{strings.ToUpper(worker), f})
			}
		}
	}
	return g, nil
}
