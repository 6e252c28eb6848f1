package daemon

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
)

// A selector names tasks that are there, no more than a bound, and their own names select them again; or it is refused.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"1", "1-3,2", "last", "all,all", "2/a", "2/nope", "0", "-1", "3-1", "1-", "99999999999999999999", " 1 , 2 ", "1/a/b", "+1", "1,,2"} {
		f.Add(s)
	}
	exe, err := os.Executable()
	if err != nil {
		f.Fatal(err)
	}
	d, err := Open(f.Context(), Config{Dir: f.TempDir(), Node: sched.NodeSpec{Name: "here", CPU: 4000, Mem: 1 << 34}, Policy: "line", Build: build, Exe: exe})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = d.store.Close() })
	for _, text := range []string{
		`{"tasks":[{"id":"a","command":"x"}]}`, `{"tasks":[{"id":"a","command":"x"},{"id":"b-1","command":"x"}]}`, `{"tasks":[{"id":"all","command":"x","array":"1-3"}]}`,
	} {
		j, err := job.Parse([]byte(text), "test")
		if err != nil {
			f.Fatal(err)
		}
		id, first, err := d.book.add(j, 0)
		if err != nil {
			f.Fatal(err)
		}
		d.accept(Job{ID: id, First: first, Tasks: int32(len(j.Tasks))}, j)
	}
	f.Fuzz(func(t *testing.T, selector string) {
		tasks, err := d.Select(selector)
		if err != nil {
			if !errors.Is(err, ErrBad) && !errors.Is(err, ErrNotFound) {
				t.Fatalf("%q: %v", selector, err)
			}
			return
		}
		if len(tasks) == 0 || len(tasks) > 6+6*strings.Count(selector, ",")+6 {
			t.Fatalf("%q selects %d tasks", selector, len(tasks))
		}
		for _, id := range tasks {
			if id < 0 || int(id) >= len(d.book.tb.Tasks) {
				t.Fatalf("%q selects task %d", selector, id)
			}
		}
		again, err := d.Select(strings.Join(d.Names(tasks), ","))
		if !errors.Is(err, ErrBad) && (err != nil || !slices.Equal(slices.Compact(slices.Sorted(slices.Values(again))), slices.Compact(slices.Sorted(slices.Values(tasks))))) {
			t.Fatalf("%q selects %v, their names %v: %v, %v", selector, tasks, d.Names(tasks), again, err)
		}
	})
}

// What is read as a batch of the state file is written as one that reads the same.
func FuzzFacts(f *testing.F) {
	text, err := encode([]sched.Event{{Kind: sched.JobArrived, Task: 1, N: 1}, {Kind: sched.Killed, Task: 2, Attempt: 1}}, []sched.Command{{Kind: sched.Start, Task: 1, Attempt: 1, On: []sched.Placement{{Node: 0, Replicas: 1, GPUs: 3}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"in":[{"k":"policy_set","name":"line"}],"out":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		in, out, err := decode(text, build)
		if err != nil {
			return
		}
		first, err := encode(in, out)
		if err != nil {
			t.Fatal(err)
		}
		in, out, err = decode(first, build)
		if err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		second, err := encode(in, out)
		if err != nil || string(first) != string(second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
		if !json.Valid(first) {
			t.Fatalf("%q", first)
		}
	})
}

// Whatever stands in the records of a state file, the daemon refuses it or takes it up: it does not fall over it.
func FuzzState(f *testing.F) {
	exe, err := os.Executable()
	if err != nil {
		f.Fatal(err)
	}
	birth := []byte(`{"epoch":"2026-01-01T00:00:00Z","nodes":[{"Name":"here","CPU":4000,"Mem":17179869184}],"policy":"line"}`)
	spec := []byte(`{"tasks":[{"id":"a","command":"x","retries":2},{"id":"b","command":"x","after":["a"]}],"every":"1h"}`)
	for _, facts := range []string{
		`{"in":[{"k":"arrived","n":2,"node":-1}],"out":[{"k":"start","try":1,"on":[{"r":1}]}]}`,
		`{"in":[{"k":"arrived","n":2},{"k":"quota"},{"k":"policy"}]}`,
		`{"in":[{"k":"policy","name":"line"},{"k":"quota","quota":{"Tenant":"a","CPU":1}},{"k":"node-up","spec":{"Name":"x","CPU":1}},{"k":"node-profile","profile":{"OtherCPU":1}}]}`,
		`{"in":[{"k":"arrived","n":2}],"out":[{"k":"start","task":7,"try":1,"on":[{"n":9,"r":1}]},{"k":"scale","queue":4},{"k":"reject","task":-1}]}`,
		`{"in":[{"k":"arrived","task":2,"n":-1},{"k":"failed","task":77,"value":5},{"k":"edge","task":1,"other":99},{"k":"updated","task":-4}]}`,
		`{"in":[{"k":"arrived","n":2},{"k":"started","try":1},{"k":"finished","try":1,"done":-5},{"k":"ready","task":1},{"k":"dropped","task":1}]}`,
	} {
		f.Add(birth, spec, int32(2), []byte(facts), int32(1))
	}
	f.Add([]byte(`{"nodes":[]}`), []byte(`{"tasks":[]}`), int32(0), []byte(`{}`), int32(0))
	f.Add([]byte(`{"nodes":[{"CPU":-1,"GPUs":9999999}]}`), []byte(`{"tasks":[{}],"to":5,"recurs":-4,"every":"x"}`), int32(1), []byte(`[]`), int32(-9))
	f.Fuzz(func(t *testing.T, birth, spec []byte, tasks int32, facts []byte, attempt int32) {
		dir := t.TempDir()
		s, err := store.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		b := &store.Batch{
			Facts: facts, Jobs: []store.Job{{Tasks: tasks, Spec: spec}}, Attempts: []store.Attempt{{Task: sched.TaskID(attempt), N: attempt, Code: attempt, How: string(facts)}},
		}
		if err := errors.Join(s.SetMeta(t.Context(), "birth", birth), s.Append(b), s.Close()); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Config{Dir: dir, Node: sched.NodeSpec{Name: "here", CPU: 4000, Mem: 1 << 34}, Policy: "line", Build: build, Exe: exe})
		if err != nil {
			if !strings.Contains(err.Error(), store.File) {
				t.Fatalf("%v: want it to name the file", err)
			}
			return
		}
		d.Tasks(d.All())
		d.Explain(d.All())
		if err := errors.Join(d.Events(t.Context(), 0, false, io.Discard), d.Record(t.Context(), 0, false, io.Discard), d.Journal(t.Context(), io.Discard)); err != nil {
			t.Log(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
