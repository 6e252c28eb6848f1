package policytest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
)

// witness is a testing.TB that keeps what it was told last and ends the goroutine, as a test does.
type witness struct {
	testing.TB
	said string
}

func (*witness) Helper() {}

func (w *witness) Fatalf(format string, args ...any) {
	w.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// A policy gets pointers to what all policies of a comparison share. One that writes there, such as one that raises priorities as tasks grow older, would change
// the others' decisions, and its own of the next run.
func TestConformCatchesAPolicyThatWritesToWhatItMayOnlyRead(t *testing.T) {
	for what, write := range map[string]func(c Case){
		"nothing":     func(Case) {},
		"a class":     func(c Case) { c.Table.ClassOf(0).Priority++ },
		"a demand":    func(c Case) { c.Table.DemandOf(0).Need.CPU++ },
		"a task":      func(c Case) { c.Table.Tasks[0].Submit-- },
		"an estimate": func(c Case) { c.Table.Estimates[0]++ },
		"a node":      func(c Case) { c.Nodes[0].CPU++ },
	} {
		drive := func(tb testing.TB, c Case, p sched.Policy, tap func(sched.Time, []sched.Event, []sched.Command)) func(sched.TaskID) sched.Outcome {
			o := toy{}.drive(tb, c, p, tap)
			write(c)
			return o
		}
		w := &witness{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			conform(w, Cases(Gen{}).Example(1), func() sched.Policy { return nil }, drive)
		}()
		<-done
		if got := strings.Contains(w.said, "may only read"); got != (what != "nothing") {
			t.Errorf("a policy that writes to %s: %q", what, w.said)
		}
	}
}
