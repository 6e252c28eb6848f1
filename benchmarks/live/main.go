// Command live measures the live mode on this machine: submissions, no-op jobs from start to end, an idle daemon, and a queue of 100,000
// jobs; the no-op jobs also under task-spooler and Slurm where those are installed. It prints a Markdown table.
//
//	go run ./benchmarks/live [-program bin/schedlab] [-short] [-noops] [-readme benchmarks/live/README.md]
//
// The daemon's state is in a temporary folder (-dir says where: a disk, not a RAM disk, since every acceptance is synced). A load average
// stands beside each figure: on a busy machine compare the ratios only.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/schedlab", "the program to measure")
	flag.StringVar(&o.dir, "dir", "", "where to keep the state (default: a temporary folder)")
	flag.BoolVar(&o.short, "short", false, "a tenth of everything")
	flag.BoolVar(&o.noops, "noops", false, "only the no-op jobs under schedlab, five times")
	flag.StringVar(&o.readme, "readme", "", "also put the table into this file, in the place of the one there")
	flag.Parse()
	if err := bench(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
}

type options struct {
	program, dir, readme string
	short, noops         bool
}

// row is one figure: what it is, with its bound where there is one.
type row struct{ what, got, bound, verdict, load string }

type report struct{ rows []row }

// add notes a figure that must be at least (atLeast) or at most its bound; 0 is no bound.
func (r *report) add(what string, v float64, unit string, bound float64, atLeast bool) {
	x := row{what: what, got: number(v) + " " + unit, load: load()}
	if bound > 0 {
		word := "at most "
		ok := v <= bound
		if atLeast {
			word, ok = "at least ", v >= bound
		}
		x.bound, x.verdict = word+number(bound), "ok"
		if !ok {
			x.verdict = "MISSED"
		}
	}
	r.rows = append(r.rows, x)
	fmt.Fprintf(os.Stderr, "%s: %s %s (load %s)\n", what, x.got, x.verdict, x.load)
}

const tableHead = "| figure | measured | promised | | load average |\n"

// table returns the figures in Markdown.
func (r *report) table() string {
	var b strings.Builder
	b.WriteString(tableHead + "|---|---:|---:|---|---:|\n")
	for _, x := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", x.what, x.got, x.bound, x.verdict, x.load)
	}
	return b.String()
}

// rewrite puts the table into a file, in the place of the one that is there.
func rewrite(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableHead)
	if !ok {
		return fmt.Errorf("%s has no table of these figures", path)
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	return os.WriteFile(path, []byte(before+table+"\n"+after), 0o644)
}

func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func bench(ctx context.Context, o options) error {
	program, err := filepath.Abs(o.program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "schedlab-bench-live")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.program, o.dir = program, dir
	if o.program, err = filepath.EvalSymlinks(program); err != nil {
		return err
	}
	r := &report{}
	if err := noops(ctx, o, r); err != nil {
		return err
	}
	if !o.noops {
		if err := queue(ctx, o, r); err != nil {
			return err
		}
	}
	fmt.Printf("%d cores, %s\n\n%s", runtime.NumCPU(), runtime.Version(), r.table())
	if o.readme != "" {
		if err := rewrite(o.readme, r.table()); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(r.rows, func(x row) bool { return x.verdict == "MISSED" }) {
		return errors.New("a promise was not kept")
	}
	return nil
}

// server is a running daemon.
type server struct {
	http *http.Client
	home string
	cmd  *exec.Cmd
	up   time.Duration // from its start to its first answer
}

func serve(ctx context.Context, o options, name string) (*server, error) {
	s := &server{home: filepath.Join(o.dir, name)}
	s.http = s.client()
	s.cmd = exec.Command(o.program, "live", "serve", "--node", "(64cpu,64gb)")
	s.cmd.Env = append(os.Environ(), "SCHEDLAB_HOME="+s.home)
	s.cmd.Stderr = os.Stderr
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < 2*time.Minute {
		if s.ask(ctx, http.MethodGet, "/v1/status", nil, nil) == nil {
			s.up = time.Since(began)
			return s, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, errors.Join(errors.New("the daemon does not answer"), s.stop())
}

// client returns a client with connections of its own.
func (s *server) client() *http.Client {
	path := filepath.Join(s.home, "run", "socket")
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
}

// ask sends a request and reads the answer into v, unless that is nil.
func (s *server) ask(ctx context.Context, method, path string, body []byte, v any) error {
	return ask(ctx, s.http, method, path, body, v)
}

func ask(ctx context.Context, c *http.Client, method, path string, body []byte, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://schedlab"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(text, v)
}

func (s *server) submit(ctx context.Context, text []byte) error {
	return s.ask(ctx, http.MethodPost, "/v1/jobs", text, nil)
}

func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	return s.cmd.Wait()
}

// use is what a daemon has used so far.
type use struct {
	own, tree time.Duration // processor time: its own, and with that of all its processes that are over
	mb        float64       // resident memory, of the daemon alone
}

func (s *server) use() (use, error) {
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return use{}, err
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var n [5]int
	for i, field := range []int{11, 12, 13, 14, 21} { // utime, stime, cutime, cstime, rss
		if n[i], err = strconv.Atoi(f[field]); err != nil {
			return use{}, err
		}
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	own := time.Duration(n[0]+n[1]) * tick
	return use{own, own + time.Duration(n[2]+n[3])*tick, float64(n[4]*os.Getpagesize()) / 1e6}, nil
}

// batch is a JSON array of n no-op jobs.
func batch(n int) []byte {
	one := `{"tasks":[{"id":"t","command":["/bin/true"],"dir":"/"}]}`
	return []byte("[" + strings.Repeat(one+",", n-1) + one + "]")
}

// noops measures no-op jobs from start to end, here and elsewhere, and the daemon when it is idle. The schedulers take turns, so that what
// else the machine does meets all of them; each figure is a median.
func noops(ctx context.Context, o options, r *report) error {
	n, rounds := 2000, 3
	if o.short {
		n = 200
	}
	s, err := serve(ctx, o, "noops")
	if err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	if o.noops {
		rounds = 5
	} else if err := s.idle(r); err != nil {
		return err
	}
	rivals := []*rival{{name: "task-spooler", run: spooler}, {name: "Slurm", run: slurm}}
	if o.noops {
		rivals = nil
	}
	var rates, own, tree []float64
	for range rounds {
		x, err := s.run(ctx, n)
		if err != nil {
			return err
		}
		rates, own, tree = append(rates, x.rate), append(own, x.own), append(tree, x.tree)
		for _, v := range rivals {
			if v.why != nil {
				continue
			}
			rate, err := v.run(ctx, o, n)
			if errors.Is(err, exec.ErrNotFound) {
				v.why = err
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			v.rates = append(v.rates, rate)
		}
	}
	r.add("no-op jobs from start to end", median(rates), "/s", 150, true)
	r.add("processor time for one: the daemon's own", median(own), "ms", 0, false)
	r.add("processor time for one: with the job and all about it", median(tree), "ms", 0, false)
	for _, v := range rivals {
		if v.why != nil {
			fmt.Fprintf(os.Stderr, "%s: skipped, %v\n", v.name, v.why)
			continue
		}
		r.add("no-op jobs under "+v.name, median(v.rates), "/s", 0, false)
		r.add("schedlab's rate over that of "+v.name, median(rates)/median(v.rates), "x", 0, false)
	}
	return nil
}

// rival is another scheduler.
type rival struct {
	name  string
	run   func(context.Context, options, int) (float64, error) // n no-op jobs a second; exec.ErrNotFound where it is not installed
	rates []float64
	why   error
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// idle measures a daemon that has nothing to do.
func (s *server) idle(r *report) error {
	time.Sleep(2 * time.Second)
	before, err := s.use()
	if err != nil {
		return err
	}
	began := time.Now()
	time.Sleep(10 * time.Second)
	after, err := s.use()
	if err != nil {
		return err
	}
	r.add("idle daemon, share of a core", 100*float64(after.own-before.own)/float64(time.Since(began)), "%", 1, false)
	r.add("idle daemon, resident memory", after.mb, "MB", 60, false)
	return nil
}

// ran is what a no-op job took.
type ran struct{ rate, own, tree float64 } // a second; processor time in ms: the daemon's, and of all processes

// run runs n no-op jobs, submitted at once.
func (s *server) run(ctx context.Context, n int) (ran, error) {
	before, err := s.use()
	if err != nil {
		return ran{}, err
	}
	began := time.Now()
	if err := s.submit(ctx, batch(n)); err != nil {
		return ran{}, err
	}
	var tasks []struct{ ID, State, Reason string }
	if err := s.ask(ctx, http.MethodGet, "/v1/wait?select=all", nil, &tasks); err != nil {
		return ran{}, err
	}
	took := time.Since(began)
	for _, t := range tasks {
		if t.State != "done" {
			return ran{}, fmt.Errorf("task %s is %s: %s", t.ID, t.State, t.Reason)
		}
	}
	time.Sleep(3 * time.Second) // until the last of its processes are over, and count
	after, err := s.use()
	if err != nil {
		return ran{}, err
	}
	each := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(n) }
	x := ran{float64(n) / took.Seconds(), each(after.own - before.own), each(after.tree - before.tree)}
	fmt.Fprintf(os.Stderr, "  %.0f jobs a second, %.2f ms of processor time for each, %.2f of them the daemon's\n", x.rate, x.tree, x.own)
	return x, nil
}

// spooler runs the jobs under task-spooler, 64 at a time.
func spooler(ctx context.Context, o options, n int) (float64, error) {
	tsp, err := exec.LookPath("tsp")
	if err != nil {
		return 0, fmt.Errorf("%w (Debian: apt-get install task-spooler)", err)
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, tsp, args...)
		cmd.Env = append(os.Environ(), "TS_SOCKET="+filepath.Join(o.dir, "tsp"), "TMPDIR="+o.dir, "TS_MAXFINISHED=10")
		return cmd.Run()
	}
	if err := run("-S", "64"); err != nil {
		return 0, err
	}
	defer func() { _ = run("-K") }()
	began := time.Now()
	for range n {
		if err := run("/bin/true"); err != nil {
			return 0, err
		}
	}
	if err := run("-w"); err != nil { // the last one
		return 0, err
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// queue measures submissions, and the daemon with many jobs in its queue.
func queue(ctx context.Context, o options, r *report) error {
	total, single := 100_000, 2000
	if o.short {
		total, single = 10_000, 200
	}
	s, err := serve(ctx, o, "queue")
	if err != nil {
		return err
	}
	stop := func() error { return s.stop() }
	defer func() { _ = stop() }()
	if err := s.submit(ctx, []byte(`{"tasks":[{"id":"all","command":["/bin/sleep","3600"],"dir":"/","cpu":64,"grace_s":0}]}`)); err != nil {
		return err
	}

	var left atomic.Int64
	left.Store(int64(single))
	errs := make(chan error, 16)
	began := time.Now()
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			c := s.client()
			for left.Add(-1) >= 0 {
				if err := ask(ctx, c, http.MethodPost, "/v1/jobs", batch(1), nil); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	r.add("submissions one by one, from 16 clients", float64(single)/time.Since(began).Seconds(), "/s", 0, true)

	const size = 500
	began = time.Now()
	for n := single; n < total; n += size {
		if err := s.submit(ctx, batch(min(size, total-n))); err != nil {
			return err
		}
	}
	r.add(fmt.Sprintf("submissions in batches of %d", size), float64(total-single)/time.Since(began).Seconds(), "/s", 1000, true)

	var took []time.Duration
	for range 100 {
		began := time.Now()
		if err := s.ask(ctx, http.MethodGet, "/v1/tasks?limit=50", nil, nil); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	r.add(fmt.Sprintf("list of 50, %d queued, 99th percentile", total), took[98].Seconds()*1000, "ms", 200, false)
	began = time.Now()
	if err := s.ask(ctx, http.MethodGet, "/v1/tasks", nil, nil); err != nil {
		return err
	}
	r.add(fmt.Sprintf("list of all %d", total), time.Since(began).Seconds()*1000, "ms", 0, false)

	// Decisions with all of them queued: jobs come one by one.
	had, err := s.decisions(ctx)
	if err != nil {
		return err
	}
	for range 300 {
		if err := s.submit(ctx, batch(1)); err != nil {
			return err
		}
	}
	now, err := s.decisions(ctx)
	if err != nil {
		return err
	}
	r.add(fmt.Sprintf("decisions above 5 ms, %d queued", total), 100*now.above(had, 0.005), "%", 1, false)
	used, err := s.use()
	if err != nil {
		return err
	}
	r.add(fmt.Sprintf("resident memory, %d queued", total), used.mb, "MB", 0, false)

	if err := s.stop(); err != nil {
		return err
	}
	again, err := serve(ctx, o, "queue")
	if err != nil {
		return err
	}
	s = again
	r.add(fmt.Sprintf("restart, %d queued", total), s.up.Seconds(), "s", 0, false)
	return s.ask(ctx, http.MethodPost, "/v1/actions/cancel?select=1", nil, nil)
}

// histogram is the number of decisions that took at most so many seconds.
type histogram map[float64]float64

// above returns the share of those since had that took longer.
func (h histogram) above(had histogram, seconds float64) float64 {
	const all = 1e300
	n := h[all] - had[all]
	if n == 0 {
		return 1
	}
	return 1 - (h[seconds]-had[seconds])/n
}

// decisions reads the histogram of decision times from the metrics.
func (s *server) decisions(ctx context.Context) (histogram, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://schedlab/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	h := histogram{}
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 16<<20))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), `schedlab_decision_seconds_bucket{le="`)
		if !ok {
			continue
		}
		le, count, _ := strings.Cut(rest, `"} `)
		edge := 1e300
		if le != "+Inf" {
			if edge, err = strconv.ParseFloat(le, 64); err != nil {
				return nil, err
			}
		}
		if h[edge], err = strconv.ParseFloat(count, 64); err != nil {
			return nil, err
		}
	}
	if _, ok := h[0.005]; !ok {
		return nil, fmt.Errorf("the metrics have no bucket of 5 ms: %v", h)
	}
	return h, lines.Err()
}
