package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// makers make trace files of n tasks, by the extension of the file's name.
var makers = map[string]func(file string, n int, named bool) error{
	"csv":     makeTrace,
	"parquet": makeTrace,
	"swf":     func(file string, n int, _ bool) error { return makeSWFFile(file, n, 1) },
}

// extension of a file's name, without the dot.
func extension(file string) string { return strings.TrimPrefix(filepath.Ext(file), ".") }

// makeTrace writes a trace as a cluster's log might be: the diurnal workload with times in milliseconds, two sizes of memory, 50 tenants.
func makeTrace(file string, n int, named bool) error {
	w := diurnal(n)
	var b bytes.Buffer
	b.WriteString("id,submit_s,run_s,estimate_s,cpu,mem_gb,gpus,tenant\n")
	for t, task := range w.Tasks {
		id := fmt.Sprint(t + 1)
		if named {
			id = fmt.Sprintf("job-%d", (t*7919)%n)
		}
		ms := func(d time.Duration) float64 { return math.Round(float64(d)/1e6) / 1e3 }
		fmt.Fprintf(&b, "%s,%.3f,%.3f,%.3f,4,%d,%d,user%d\n", id, ms(time.Duration(task.Submit)), ms(w.Run[t]), ms(w.Estimates[t]), 16<<(t%2), w.DemandOf(sched.TaskID(t)).Need.GPUs, t*31%50)
	}
	format := extension(file)
	if format == "csv" {
		return os.WriteFile(file, b.Bytes(), 0o600)
	}
	w, err := traces.Read(&b, file, "csv")
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(traces.Write(f, w, format), f.Close())
}
