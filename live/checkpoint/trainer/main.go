// Command trainer is a sample of a job that saves its work: it iterates a state step by step, as a training run does, and its result
// depends on every step. Killed at any time, it goes on from its last checkpoint when it is started again.
//
//	schedlab live submit --checkpoint 5s --retries 100 -- trainer --steps 100000
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/live/checkpoint"
)

// model is all that a checkpoint must hold.
type model struct {
	Step    int       `json:"step"`
	Weights [4]uint64 `json:"weights"`
}

// train is one step: every later state depends on it (SplitMix64, one generator a weight).
func (m *model) train() {
	m.Step++
	for i := range m.Weights {
		m.Weights[i] += 0x9e3779b97f4a7c15 + uint64(i)
		z := m.Weights[i]
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		m.Weights[i] = z ^ z>>31
	}
}

func main() {
	steps := flag.Int("steps", 10_000, "how long to train")
	pace := flag.Duration("pace", time.Millisecond, "how long a step takes")
	ballast := flag.Int("ballast", 0, "bytes that a checkpoint holds besides the model, as optimizer states would")
	trace := flag.String("trace", "", "append a line to this file for each step, checkpoint and start")
	out := flag.String("out", "", "write the result to this file")
	leave := flag.Bool("leave", false, "when a checkpoint is asked for, save it and leave with exit code 85")
	flag.Parse()
	if err := run(*steps, *pace, *ballast, *trace, *out, *leave); err != nil {
		fmt.Fprintln(os.Stderr, "trainer:", err)
		os.Exit(1)
	}
}

func run(steps int, pace time.Duration, ballast int, trace, out string, leave bool) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	note := func(string, int) {}
	if trace != "" {
		f, err := os.OpenFile(trace, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		note = func(what string, step int) { fmt.Fprintf(f, "%s %d %d\n", what, step, time.Now().UnixNano()) }
	}
	job, err := checkpoint.OpenJob()
	if err != nil && !errors.Is(err, checkpoint.ErrNoCheckpoints) {
		return err
	}
	var m model
	if job != nil {
		defer job.Close()
		if last, ok := job.Last(); ok {
			text, err := os.ReadFile(filepath.Join(last, "model.json"))
			if err != nil {
				return err
			}
			if err := json.Unmarshal(text, &m); err != nil {
				return err
			}
			if err := job.Say(checkpoint.SaysRestored); err != nil {
				return err
			}
		}
	}
	note("start", m.Step)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for m.Step < steps {
		select {
		case <-asked:
			if job == nil {
				continue
			}
			note("save", m.Step)
			if err := save(job, &m, ballast); err != nil {
				return err
			}
			if leave {
				os.Exit(checkpoint.CodeSaved)
			}
			if err := job.Done(context.Background()); err != nil {
				return err
			}
			note("taken", m.Step)
		case <-tick.C:
			m.train()
			note("step", m.Step)
			if job != nil && m.Step%100 == 0 {
				_ = job.Say(fmt.Sprintf("%s%d of %d steps", checkpoint.SaysProgress, m.Step, steps)) // for people only
			}
		}
	}
	result := fmt.Sprintf("%x", m.Weights)
	fmt.Println(result)
	if out != "" {
		return os.WriteFile(out, []byte(result+"\n"), 0o644)
	}
	return nil
}

// save writes a checkpoint.
func save(job *checkpoint.Job, m *model, ballast int) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if ballast > 0 {
		b := []byte(strings.Repeat("0123456789abcdef", ballast/16+1)[:ballast])
		if err := os.WriteFile(filepath.Join(job.New(), "optimizer.bin"), b, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(job.New(), "model.json"), text, 0o644)
}
