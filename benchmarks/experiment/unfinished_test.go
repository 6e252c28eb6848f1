package experiment

import (
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// choosy starts task 0 and nothing else.
type choosy struct{}

func (choosy) Observe(*sched.State, sched.Event) {}

func (choosy) Decide(r *sched.Round) { r.StartFirst(0) }

func TestAPolicyThatLeavesTasksWaitingIsToldWhich(t *testing.T) {
	catalogue := policies.Catalogue
	defer func() { policies.Catalogue = catalogue }()
	policies.Catalogue = append(catalogue[:len(catalogue):len(catalogue)], policies.Entry{Name: "choosy", New: func(policies.Args) (sched.Policy, error) { return choosy{}, nil }})
	w, err := traces.Read(strings.NewReader("id,submit_s,run_s,after\none,0,5,\ntwo,3,5,one\nthree,4,5,two\n"), "x.csv", "")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := cluster.Parse("1x4cpu")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policies.Parse("choosy")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(t.Context(), Options{
		Source: Source{Fixed: true, Load: func(int64) (*traces.Workload, error) { return w, nil }},
		Nodes:  nodes, Policies: []policies.Spec{p}, Seeds: []int64{1}, Estimates: Estimates{Kind: "trace"},
	})
	for _, want := range []string{"choosy", "2 of 3", "two", "ready at 5 s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
