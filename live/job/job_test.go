package job

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const sweep = `
job: sweep
tenant: vision
queue: batch
dir: /data
params: {model: resnet}
env: {OMP_NUM_THREADS: "4"}
tasks:
  - id: prep
    command: [python, prep.py, "{model}"]
    cpu: 4
    mem_gb: 16
  - id: train
    after: [prep]
    command: python train.py --model {model} --lr {lr} --seed {index} ${HOME} {other}
    matrix: {lr: [0.1, 0.01]}
    array: 1-2
    gpus: 1
    gpu_types: A100
    retries: 2
  - id: report
    after: [train]
    command: [echo, done]
`

func TestAJobIsExpandedIntoItsTasks(t *testing.T) {
	j, err := Parse([]byte(sweep), "sweep.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, task := range j.Tasks {
		ids = append(ids, task.ID)
	}
	want := []string{"prep", "train-1-1", "train-1-2", "train-2-1", "train-2-2", "report"}
	if !slices.Equal(ids, want) {
		t.Fatalf("tasks %v, want %v", ids, want)
	}
	if got := j.Tasks[3].Command; !slices.Equal(got, Command{"/bin/sh", "-c", "python train.py --model resnet --lr 0.01 --seed 1 ${HOME} {other}"}) {
		t.Errorf("command %q", got)
	}
	if got := j.Tasks[5].After; !slices.Equal(got, want[1:5]) {
		t.Errorf("report comes after %v, want all members of train", got)
	}
	if j.Tasks[1].Dir != "/data" || j.Tasks[1].Env["OMP_NUM_THREADS"] != "4" || !slices.Equal(j.Tasks[1].GPUTypes, List{"A100"}) {
		t.Errorf("what the job says for all its tasks is missing: %+v", j.Tasks[1])
	}
}

func TestAnExpandedJobReadsBackFromJSON(t *testing.T) {
	j, err := Parse([]byte(sweep), "sweep.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text, "json")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(j, again) {
		t.Errorf("%+v\nread back as\n%+v", j, again)
	}
}

func TestBadJobsAreRefusedWithTheirPlace(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "no job in it"},
		{"tasks: []", "has no tasks"},
		{"tasks: [{id: a, command: x, cpus: 3}]", `j.yaml:1: unknown field "cpus"`},
		{"tasks:\n- {id: a, command: x}\n- {id: a, command: y}", "task a stands twice"},
		{"tasks: [{id: a, command: x, after: [b]}, {id: b, command: x, after: [c]}, {id: c, command: x, after: [a]}]", "a cycle: a -> c -> b -> a"},
		{"tasks: [{id: a, command: x, after: [a]}]", "a -> a"},
		{"to: 3\ntasks: [{id: a, command: x, after: [a]}]", "a -> a: what is added to a workflow needs an id of its own"},
		{"tasks: [{id: a, command: x, after: [b]}]", `comes after "b"`},
		{"tasks: [{id: ../a, command: x}]", "an id has letters"},
		{"tasks: [{id: a, command: x}, {id: 'b,c', command: x}]", "task 2: id \"b,c\": an id has no comma"},
		{"tasks: [{id: a}]", "no command"},
		{"tasks: [{id: a, command: x, gpus: 1.5}]", "neither a whole number nor a share"},
		{"tasks: [{id: a, command: x, gpus: -1}]", "gpus must be from 0"},
		{"tasks: [{id: a, command: x, mem_gb: .nan}]", "mem_gb must be"},
		{"tasks: [{id: a, command: x, env: {CUDA_VISIBLE_DEVICES: \"3\"}}]", "is set by schedlab itself"},
		{"tasks: [{id: a, command: x, env: {\"A=B\": \"3\"}}]", "is not a name of a variable"},
		{"tasks: [{id: a, command: x, dir: ../..}]", "not an absolute path"},
		{"tasks: [{id: a, command: x, array: 1-999999999}]", "more than 100000"},
		{"tasks: [{id: a, command: x, array: 1-3;4}]", "write it as"},
		{"tasks: [{id: a, command: x}, {id: b, command: x, matrix: {q: []}}]", "task b: a matrix without values"},
		{"tasks: [{id: a, command: x}, {id: b, command: x, array: 1-3, matrix: {p: [1], q: []}}]", "task b: a matrix without values"},
		{"tasks: [{id: a, command: x, checkpoint: {every: 1ms}}]", "at least 100ms"},
		{"{\"tasks\":[{\"id\":\"a\",\n\"command\":[\"x\"],\"nope\":1}]}", "unknown field"},
		{"tasks: [{id: a, command: x}]\n---\ntasks: []", "only one YAML document is read"},
		{"tasks: [{id: a, command: x, after: [b]}, {id: a-1, command: x}, {id: a, command: x}]", "stands twice"},
	} {
		_, err := Parse([]byte(c.text), "j.yaml")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "j.yaml") {
			t.Errorf("%q: %v, want an error with %q", c.text, err, c.want)
		}
	}
}

func TestWhatDoesNotFitAJobIsSaidInItsWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"tasks:\n- id: a\n  command: x\n  cpu: many", `j:4: tasks[1].cpu must be a number, not "many"`},
		{"tasks:\n- id: a\n  command: x\n- id: b\n  command: x\n  retries: 1.5", `j:6: tasks[2].retries must be a whole number, not "1.5"`},
		{"tasks:\n- id: a\n  command: {run: x}", `j:3: tasks[1].command must be a list, not keys and values`},
		{"tasks:\n- id: a\n  command: x\n  checkpoint: 5s", `j:4: tasks[1].checkpoint must be keys and values (every), not "5s"`},
		{"tasks: x", "j:1: tasks must be a list, not \"x\""},
		{"job: a\njob: b\ntasks: []", `j:2: key "job" stands twice, first in line 1`},
		{"tasks:\n- {id: a, command: x}\n- {id: b, command: x, cpus: 3}", `j:3: unknown field "cpus" in tasks[2] (known: id, `},
		{"just words", "j:1: the file must be keys and values (job, tenant, "},
		{"tasks:\n- id: a\n  command: x\n  labels: ['']", `j:4: tasks[1].labels: a label is key=value`}, // what a field says itself stays
		{"tasks:\n- {id: a\n- b", "j:1: not YAML: did not find expected ',' or '}'"},
		{"{\"tasks\":[\n{\"id\":\"a\",\n\"command\":\"x\",\n\"cpu\":\"many\"}\n]}", `j:4: tasks[1].cpu must be a number, not "many"`},
		{"{\"tasks\":[\n{\"id\":\"a\",\n\"command\":[\"x\", {}]\n}\n]}", `j:3: tasks[1].command must be a list, not a list`},
		{"{\"tasks\":[{\"id\":\"a\",\n\"command\":[\"x\"],\"nope\":1}\n]}", `j:2: unknown field "nope" in tasks[1] (known: id, `},
		{"{\"tasks\":[\n{\"id\":\"a\",\n\"command\": x\n}]}", "j:3: not JSON: invalid character 'x'"},
		{"{\"tasks\":[\n{\"id\":", "j:2: not JSON: it ends in the middle"},
	} {
		_, err := Parse([]byte(c.text), "j")
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want an error that begins %q", c.text, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "unmarshal") || strings.Contains(err.Error(), "struct")) {
			t.Errorf("%q: %v, which is of Go and not of the file", c.text, err)
		}
	}
}

// names are as many keys, each with what comes behind it.
func names(n int, behind string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d%s", i, behind)
	}
	return b.String()
}

// A short text must not become a long job: arrays, parameters and dependencies multiply.
func TestBombsAreRefusedBeforeTheyAreMade(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, c := range map[string]struct{ text, want string }{
		"a long command in a large array": {`{"tasks":[{"id":"a","command":["` + long + `"],"array":"1-100000"}]}`, "more than 64 MiB"},
		"a long environment of the job":   {`{"env":{"A":"` + long + `"},"tasks":[{"id":"a","command":"x","array":"1-100000"}]}`, "more than 64 MiB"},
		"a long environment of the task":  {`{"tasks":[{"id":"a","command":"x","env":{"A":"` + long + `"},"array":"1-100000"}]}`, "more than 64 MiB"},
		"a parameter that stands often":   {`{"params":{"p":"` + long + `"},"tasks":[{"id":"a","command":"` + strings.Repeat("{p}", 100_000) + `"}]}`, "parameter"},
		"a matrix of matrices": {
			`{"tasks":[{"id":"a","command":"x","matrix":{"a":[` + strings.Repeat("1,", 999) + `1],"b":[` + strings.Repeat("1,", 999) + `1]}}]}`,
			"more than 100000 combinations",
		},
		"all after all": {`{"tasks":[{"id":"a","command":"x","array":"1-50000"},{"id":"b","command":"x","array":"1-50000","after":["a"]}]}`, "dependencies"},
		"the same again and again": {
			`{"tasks":[{"id":"a","command":"x","array":"1-50000"},{"id":"b","command":"x","after":["a"` + strings.Repeat(`,"a"`, 100_000) + `]}]}`,
			"dependencies",
		},
		"many keys":                  {"env: {" + names(1_000_000, ": b, ") + "}\ntasks: [{id: a, command: x}]", "more than 2000 keys"},
		"keys that stand twice":      {"env: {" + strings.Repeat("a: b, ", 2000) + "}\ntasks: [{id: a, command: x}]", "stands twice"},
		"aliases of aliases":         {"env: &e {A: b}\nparams: &p {" + names(1000, ": *e, ") + "}\ntasks: [" + strings.Repeat("{id: a, env: *p, params: *p},", 20_000) + "]", "aliasing"},
		"many arrays":                {`{"tasks":[{"id":"a","command":"x","array":"1-60000"},{"id":"b","command":"x","array":"1-60000"}]}`, "more than 100000 tasks"},
		"brackets without end":       {`{"tasks":` + strings.Repeat("[", 1_000_000), "exceeded max depth"},
		"YAML brackets without end":  {"tasks: " + strings.Repeat("[", 100_000), "depth"},
		"a tenant with a line break": {`{"tenant":"a\nb","tasks":[{"id":"a","command":"x"}]}`, "tenant"},
		"an escape in a queue":       {`{"queue":"\u001b[2J","tasks":[{"id":"a","command":"x"}]}`, "queue"},
		"a long kind":                {`{"tasks":[{"id":"a","command":"x","kind":"` + long + `"}]}`, "kind"},
		"a zero byte in a command":   {`{"tasks":[{"id":"a","command":["x\u0000"]}]}`, "zero byte"},
		"a zero byte in a variable":  {`{"tasks":[{"id":"a","command":"x","env":{"A":"\u0000"}}]}`, "variable"},
		"our own variable":           {`{"tasks":[{"id":"a","command":"x","env":{"ATTEMPT":"9"}}]}`, "set by schedlab"},
		"our folder's variable":      {`{"tasks":[{"id":"a","command":"x","env":{"SCHEDLAB_ATTEMPT_DIR":"/"}}]}`, "set by schedlab"},
		"many labels": {
			`{"tasks":[{"id":"a","command":"x","tolerations":[` + strings.Repeat(`"a",`, 100) + `"a"]}]}`,
			"tolerations",
		},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(c.text), "j")
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 1024 { // 100,000 tasks, the most there may be, take half of it
			t.Errorf("%s: %d MB were allocated for a text of %d", name, mb, len(c.text))
		}
	}
}

func TestACycleIsFoundExactlyWhereThereIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		tasks := make([]Task, n)
		reach := make([][]bool, n)
		for i := range tasks {
			tasks[i].ID = string(rune('a' + i))
			reach[i] = make([]bool, n)
		}
		for i := range tasks {
			for k := range tasks {
				if rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
					tasks[i].After = append(tasks[i].After, tasks[k].ID)
					reach[k][i] = true
				}
			}
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		has := false
		for i := range n {
			has = has || reach[i][i]
		}
		c := cycle(tasks)
		if has != (c != nil) {
			t.Fatalf("cycle %v, there is one: %v", c, has)
		}
		for i := 1; i < len(c); i++ {
			if !slices.Contains(tasks[c[i][0]-'a'].After, c[i-1]) {
				t.Fatalf("%v: %s does not come after %s", c, c[i], c[i-1])
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sweep))
	f.Add([]byte(`{"tasks":[{"id":"a","command":["x"],"array":"1-3"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := Parse(text, "f")
		if err != nil {
			return
		}
		out, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out, "again")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if a, _ := json.Marshal(again); string(a) != string(out) {
			t.Fatalf("%s\nreads back as\n%s", out, a)
		}
	})
}
