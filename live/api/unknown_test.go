package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/policies/sched"
)

// Where the kernel does not say who asks, nothing is told and nothing done, but what anybody may see.
func TestWhoIsNotKnownIsRefusedEverything(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Open(t.Context(), daemon.Config{
		Dir: t.TempDir(), Node: sched.NodeSpec{Name: "here", CPU: 4000}, Policy: "p", Exe: exe,
		Build: func(string) (sched.Policy, error) { return &starter{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h := Handler(d)
	for _, path := range []string{
		"POST /v1/jobs", "GET /v1/tasks", "POST /v1/actions/cancel?select=1", "POST /v1/estimate?select=1", "GET /v1/wait?select=1", "GET /v1/explain?select=1",
		"GET /v1/log?select=1", "GET /v1/policy", "PUT /v1/policy", "GET /v1/export", "GET /v1/journal", "POST /v1/retry?select=1", "POST /v1/end-recurrence?select=1",
		"POST /v1/drain", "POST /v1/clean", "GET /v1/quotas", "PUT /v1/quotas", "GET /v1/events", "GET /v1/alerts", "GET /v1/queues", "GET /v1/record", "POST /v1/alerts/test",
		"GET /v1/status", "GET /v1/nodes", "GET /v1/nodes/readings",
	} {
		method, url, _ := strings.Cut(path, " ")
		w := httptest.NewRecorder()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the daemon does not run: who is let in waits for it
		defer cancel()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, url, strings.NewReader(`{"tasks":[{"id":"a","command":"true"}]}`)))
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "it is not known who asks") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil)); w.Code != http.StatusOK {
		t.Errorf("/healthz: %d", w.Code)
	}
}
