package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/cmd/schedlab/watch"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces/gen"
	"github.com/schedlab/schedlab/tui"
)

// The README's pictures of the terminal UI are frames of it, over the built-in example. Where SCHEDLAB_PICTURES names a folder they are written there
// (make pictures-tui).
func TestPicturesOfTheTerminalUI(t *testing.T) {
	w, nodes := gen.Example(1)
	w, err := w.Expand(0)
	if err != nil {
		t.Fatal(err)
	}
	var runs []*watch.Run
	var sources []tui.Source
	for _, name := range []string{"fifo", "critical-path"} {
		r := watch.Simulate(context.Background(), sim.Config{Workload: w, Nodes: nodes, Policy: build(t, name)()}, tui.Info{Title: "gen:example", Policy: name})
		<-r.Done()
		runs, sources = append(runs, r), append(sources, r)
	}
	<-watch.Bound(w, nodes, runs...)
	for _, p := range []struct {
		name string
		at   time.Duration
		w, h int
		keys []string
		want []string
	}{
		{"tui-overview", 4 * time.Hour, 130, 36, []string{"1", "0"}, []string{"A fifo", "B critical-path", "mean wait", "GPU use"}},
		{"tui-gantt", 135 * time.Minute, 130, 30, []string{"4", "+"}, []string{"A fifo", "node-001", "by job"}},
	} {
		at := sched.Time(p.at)
		svg, text, err := tui.Picture(tui.Options{Sources: sources, At: &at}, p.w, p.h, p.keys...)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range p.want {
			if !strings.Contains(text, x) {
				t.Errorf("%s does not show %q:\n%s", p.name, x, text)
			}
		}
		if dir := os.Getenv("SCHEDLAB_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, p.name+".svg"), []byte(svg), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
