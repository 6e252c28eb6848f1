package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/live/daemon"
)

// What is taken for jobs is so many jobs as there are values, each as it is read alone.
func FuzzSubmission(f *testing.F) {
	for _, text := range []string{
		`{"tasks":[{"id":"a","command":"true"}]}`, `[{"tasks":[{"id":"a","command":["true"],"array":"1-3"}]},{"job":"x","tasks":[{"id":"b","command":"x"}]}]`,
		"tasks:\n- id: a\n  command: [x]\n", "[]", " [1]", `[{"tasks":[{"id":"a","command":"true"}]}]]`, `[{}`, "",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		jobs, err := parseJobs(text)
		if err != nil {
			return
		}
		if bytes.TrimLeft(text, " \t\r\n")[0] != '[' {
			if len(jobs) != 1 {
				t.Fatalf("%d jobs of one", len(jobs))
			}
			return
		}
		var all []json.RawMessage
		if err := json.Unmarshal(text, &all); err != nil || len(all) != len(jobs) || len(jobs) == 0 {
			t.Fatalf("%d jobs of %d, %v", len(jobs), len(all), err)
		}
		for i, one := range all {
			alone, err := parseJobs(one)
			if err != nil || len(alone[0].Tasks) != len(jobs[i].Tasks) {
				t.Fatalf("job %d is refused alone: %v", i+1, err)
			}
		}
	})
}

// A body is one JSON value of the members that are known, or a bad request.
func FuzzBody(f *testing.F) {
	for _, text := range []string{`{"node":"","drain":true}`, `{"tenant":"a","cpu":1}`, `{"policy":"x"}{}`, `null`, `{"estimate_s":1e999}`, strings.Repeat("[", 20_000)} {
		f.Add([]byte(text))
	}
	read := func(t *testing.T, text []byte, v any, err error) {
		t.Helper()
		if err != nil {
			if !errors.Is(err, daemon.ErrBad) {
				t.Fatalf("%v is not the asker's fault", err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q was taken for %+v", text, v)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		drain, err := body[Drain](bytes.NewReader(text))
		read(t, text, drain, err)
		estimate, err := body[Estimate](bytes.NewReader(text))
		read(t, text, estimate, err)
		quota, err := body[daemon.Quota](bytes.NewReader(text))
		read(t, text, quota, err)
	})
}

// Numbers in the query are within their bounds, or refused.
func FuzzQuery(f *testing.F) {
	f.Add("select=1&limit=5")
	f.Add("limit=-1&limit=2;from=%zz")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := http.NewRequest(http.MethodGet, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.RawQuery = text
		q := query{Request: r}
		q.follow()
		for _, least := range []int64{0, 1} {
			if n, err := q.count("limit", least, 32); err == nil && n != 0 && (n < least || n > 1<<31-1) || err != nil && !errors.Is(err, daemon.ErrBad) {
				t.Fatalf("%q: %d, %v", text, n, err)
			}
		}
	})
}
