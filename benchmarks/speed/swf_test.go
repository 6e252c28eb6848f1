package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// What the loop in C++ is allowed to leave out must not be the scheduling.
func TestTheFloorInCXXStartsEveryJobWhenSchedlabDoes(t *testing.T) {
	dir := t.TempDir()
	floor, err := buildCXXFloor("../cxxfloor/floor.cc", dir)
	if err != nil {
		t.Skip(err)
	}
	nodes, err := cluster.Parse(fmt.Sprintf("pool:%dcpu", swfProcs))
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(4) {
		file := filepath.Join(dir, "log.swf")
		if err := makeSWFFile(file, 20_000, seed); err != nil {
			t.Fatal(err)
		}
		w, err := traces.Open(file, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ policy, loop string }{{"fifo", "fcfs"}, {"easy", "easy"}} {
			spec, err := policies.Parse(c.policy)
			if err != nil {
				t.Fatal(err)
			}
			options := experiment.Options{Nodes: nodes, Estimates: experiment.Estimates{Kind: "trace"}}
			config, err := options.Config(w, spec, 1)
			if err != nil {
				t.Fatal(err)
			}
			res, err := sim.Run(context.Background(), config)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(floor, c.loop, file, fmt.Sprint(swfProcs), "starts").Output()
			if err != nil {
				t.Fatal(err)
			}
			lines, waited := bytes.Split(bytes.TrimSpace(out), []byte("\n")), 0
			if len(lines) != w.Len() {
				t.Fatalf("seed %d, %s: %d starts of %d jobs", seed, c.policy, len(lines), w.Len())
			}
			for i := range w.Tasks {
				start := res.Outcome(sched.TaskID(i)).Start
				if want := fmt.Sprintf("%s %d", w.TaskNames.At(i), time.Duration(start)/time.Second); string(lines[i]) != want || start%sched.Time(time.Second) != 0 {
					t.Fatalf("seed %d, %s: the loop in C++ says %q, schedlab %q", seed, c.policy, lines[i], want)
				}
				if start > w.Tasks[i].Submit {
					waited++
				}
			}
			if waited < w.Len()/20 {
				t.Errorf("seed %d, %s: only %d jobs waited, which shows little", seed, c.policy, waited)
			}
		}
	}
}

func TestTheSameSeedMakesTheSameLog(t *testing.T) {
	var a, b, c bytes.Buffer
	for _, one := range []struct {
		to   *bytes.Buffer
		seed uint64
	}{{&a, 1}, {&b, 1}, {&c, 2}} {
		if err := makeSWF(one.to, 500, one.seed); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("seed 1 makes two different logs")
	}
	if bytes.Equal(a.Bytes(), c.Bytes()) {
		t.Error("seeds 1 and 2 make the same log")
	}
	file := filepath.Join(t.TempDir(), "a.swf")
	if err := os.WriteFile(file, a.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := traces.Open(file, "")
	if err != nil {
		t.Fatal(err)
	}
	if load, err := w.Load(w.Cluster); err != nil || load < 0.6 || load > 1.2 || w.Len() != 500 || len(w.Notes) > 0 {
		t.Errorf("load %v, %v; %d jobs, notes %v", load, err, w.Len(), w.Notes)
	}
}
