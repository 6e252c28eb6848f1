package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/plots"
	"github.com/schedlab/schedlab/benchmarks/report"
)

const (
	compareJSON = "compare.json"
	compareCSV  = "compare.csv"
)

// writeOut writes the plots and the numbers into a folder, and removes the plots that the run before wrote there and this one does not. It
// returns what is to be said of that.
func writeOut(dir string, c *report.Comparison, res *experiment.Result, pdf bool) (string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	formats := []string{"svg", "png"}
	if pdf {
		formats = append(formats, "pdf")
	}
	all, drawErr := figures(c, res) // the numbers are written all the same
	files := []string{compareJSON, compareCSV}
	for _, f := range all {
		for _, format := range formats {
			files = append(files, f.name+"."+format)
		}
	}
	path := filepath.Join(dir, compareJSON)
	before := picturesOf(path)
	listed := *c
	listed.Files = files
	if err := writeFile(path, listed.JSON); err != nil {
		return "", err
	}
	removed := 0
	for _, name := range before {
		if old := filepath.Join(dir, name); !slices.Contains(files, name) && isRegular(old) {
			if err := os.Remove(old); err != nil {
				return "", err
			}
			removed++
		}
	}
	if err := writeFile(filepath.Join(dir, compareCSV), c.CSV); err != nil {
		return "", err
	}
	if drawErr != nil {
		return "", drawErr
	}
	for _, f := range all {
		for _, format := range formats {
			if err := writeFile(filepath.Join(dir, f.name+"."+format), func(w io.Writer) error { return f.fig.Write(w, format) }); err != nil {
				return "", err
			}
		}
	}
	said := fmt.Sprintf("%d files in %s", len(files), dir)
	if removed > 0 {
		said += fmt.Sprintf("; %s of the run before removed", report.Plural(removed, "plot"))
	}
	return said, nil
}

// picturesOf returns the plots beside a compare.json, by the list in it. What else it may list is none of ours.
func picturesOf(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var c struct {
		Schema string   `json:"schema"`
		Files  []string `json:"files"`
	}
	if json.Unmarshal(text, &c) != nil || c.Schema != report.Schema {
		return nil
	}
	return slices.DeleteFunc(c.Files, func(name string) bool {
		return name != filepath.Base(name) || !slices.Contains([]string{".svg", ".png", ".pdf"}, filepath.Ext(name))
	})
}

func isRegular(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular()
}

// figure is a plot and the name of its files, without an ending.
type figure struct {
	name string
	fig  *plots.Figure
}

// figures draws what the result suffices for. With an error there are those before it.
func figures(c *report.Comparison, res *experiment.Result) (all []figure, err error) {
	draw := func(name string) func(*plots.Figure, error) {
		return func(fig *plots.Figure, e error) {
			switch {
			case err != nil || e == plots.ErrNoData:
			case e != nil:
				err = fmt.Errorf("%s: %w", name, e)
			default:
				all = append(all, figure{name, fig})
			}
		}
	}
	var cdfs []plots.CDF
	var util, queue []plots.Series
	what := "GPU"
	for _, p := range res.Pictures {
		cdfs, util, queue, what = append(cdfs, p.Waits), append(util, p.Utilization), append(queue, p.Queue), p.What
	}
	where := filepath.Base(c.Trace.Source) + ", " + report.Plural(c.Trace.Tasks, "task")
	if len(c.Runs) > len(res.Pictures) {
		where += fmt.Sprintf(", seed %d", c.Runs[0].Seed)
	}
	draw("wait-cdf")(plots.WaitCDF("Waiting time of tasks ("+where+")", cdfs))
	draw("utilization")(plots.OverTime(what+" utilization over time ("+where+")", what+"s allocated", true, util))
	draw("queue")(plots.OverTime("Queue length over time ("+where+")", "ready tasks waiting", false, queue))
	waits, interval := bars(c.Summary, "wait_mean_s")
	draw("wait-mean")(plots.Bars("Mean wait", "mean wait of a task (s)", interval, waits))
	rates, interval := bars(c.Summary, "throughput_per_min")
	draw("throughput")(plots.Bars("Throughput", "finished tasks a minute", interval, rates))
	taken := map[string]bool{}
	for _, p := range res.Pictures {
		draw(ganttName(p.Policy, taken))(p.Gantt.Figure(p.Policy + ": who held what (" + where + ")"))
	}
	if res.Workload == nil { // merged from parts
		return all, err
	}
	if title, nodes, edges, ok := experiment.JobGraph(res.Workload); ok {
		draw("job-dag")(plots.DAG(title, nodes, edges))
	}
	return all, err
}

// ganttName makes a name of letters, digits, dots and - for the files of a policy, one that is not taken: expr: a+b and expr: a-b differ in a sign alone.
func ganttName(policy string, taken map[string]bool) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, policy)
	const most = 100 // bytes: file systems take 255, and an expression may be longer
	first := "gantt-" + strings.Trim(plain[:min(len(plain), most)], "-")
	name := first
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", first, i)
	}
	taken[name] = true
	return name
}
