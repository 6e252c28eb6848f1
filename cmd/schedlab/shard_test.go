package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/schedlab/schedlab/benchmarks/experiment"
)

func TestThePodsOfTheJobManifestRunTheirShard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "benchmarks", "cluster", "job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		Spec struct {
			Completions int
			Template    struct {
				Spec struct {
					Containers []struct {
						Command, Args []string
						Env           []struct{ Name, Value string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &job); err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.Template.Spec.Containers[0]
	if strings.Join(pod.Command, " ") != "schedlab" {
		t.Fatalf("the pods run %q", pod.Command)
	}
	for _, e := range pod.Env {
		t.Setenv(e.Name, e.Value)
	}
	t.Setenv("JOB_COMPLETION_INDEX", "2")
	parts := t.TempDir()
	for i := range pod.Args {
		pod.Args[i] = strings.ReplaceAll(pod.Args[i], "/parts", parts)
		pod.Args[i] = strings.ReplaceAll(pod.Args[i], "--seeds=32", "--seeds=6") // of a length for a test
	}
	root := newRoot()
	root.SetArgs(pod.Args)
	var out bytes.Buffer
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(parts, "part-3-of-16.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p, err := experiment.ReadPartial(f, f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if p.Shard != 3 || p.Shards != job.Spec.Completions || len(p.Runs) == 0 {
		t.Errorf("shard %d/%d with %d runs", p.Shard, p.Shards, len(p.Runs))
	}
}

// onFirstWrite keeps what is written and calls once at the first of it.
type onFirstWrite struct {
	text []byte
	call func()
}

func (w *onFirstWrite) Write(b []byte) (int, error) {
	if len(w.text) == 0 {
		w.call()
	}
	w.text = append(w.text, b...)
	return len(b), nil
}

func TestCompareSaysWhatItReplaysBeforeItSimulates(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &onFirstWrite{call: cancel}
	root := newRoot()
	root.SetArgs([]string{"compare"})
	root.SetOut(out)
	if err := root.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("simulated all before the first line: %v", err)
	}
	if text := string(out.text); !strings.HasPrefix(text, "example, ") || strings.Count(text, "\n") != 1 {
		t.Errorf("the first line is %q", text)
	}
}
