// Package policytest is the conformance suite for policies and drivers: random cases, a recorder and checkers that share no code with
// the kernel, plain reference simulators, and sieges, which tell whether a policy starves a task. The checkers alone, without the testing
// machinery, are in the package check below it; the names are the same here.
//
//	func TestFIFO(t *testing.T) {
//		policytest.Conform(t, "fifo", func() sched.Policy { return &policies.List{} }, inSim)
//	}
//
// The driver is the simulator, as inSim in policies/example_test.go has it, or one's own.
package policytest

import (
	"io"
	"testing"

	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
)

// The names of package check.
type (
	Case       = check.Case
	Fault      = check.Fault
	Span       = check.Span
	Recorder   = check.Recorder
	Violation  = check.Violation
	CSVSummary = check.CSVSummary
)

// Check is check.Check.
func Check(c Case, spans []Span, outcome func(sched.TaskID) sched.Outcome) []Violation {
	return check.Check(c, spans, outcome)
}

// CheckCSV is check.CheckCSV.
func CheckCSV(c Case, tasks io.Reader, task func(job, name string) (sched.TaskID, bool), node func(name string) (sched.NodeID, bool)) (CSVSummary, []Violation, error) {
	return check.CheckCSV(c, tasks, task, node)
}

// Fits is check.Fits: whether the task could start on the empty, whole cluster.
func Fits(c Case, t sched.TaskID) bool { return check.Fits(c, t) }

// Driver runs a case under a policy to its end, in virtual or real time, and returns the outcomes. It calls tap for every batch, on
// the goroutine that it was called on, with slices that are valid during the call. A case has an end even where tasks can
// never start: the driver then stops when nothing more can happen and leaves them open, or reports them as it likes. A driver
// that refuses a task that fits no node returns nil; that is accepted only for such cases. Anything else that goes wrong is
// told to tb.
type Driver func(tb testing.TB, c Case, p sched.Policy, tap func(now sched.Time, in []sched.Event, out []sched.Command)) func(sched.TaskID) sched.Outcome
