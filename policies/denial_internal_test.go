package policies

import (
	"slices"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
)

// Who reads the log of changed nodes as it grows never has to start afresh, however long it gets, and reads each node that changed once.
func TestALogThatIsCutKeepsWhatNobodyHasRead(t *testing.T) {
	const nodes = 50
	var l nodeLog
	for range nodes {
		l.grow()
	}
	seen := l.mark()
	for round := range 2000 {
		var want, got []sched.NodeID
		for i := range 1 + round%7 {
			n := sched.NodeID((round*13 + i*5) % nodes)
			l.add(n)
			l.add(n)
			want = append(want, n)
		}
		if seen < l.begun {
			t.Fatalf("round %d: read up to %d, and the log begins at %d", round, seen, l.begun)
		}
		for i := seen; i < l.end(); i++ {
			if n, ok := l.at(i); ok {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: %v are read, %v have changed", round, got, want)
		}
		if seen = l.mark(); len(l.nodes) > 4*nodes+1024+nodes {
			t.Fatalf("round %d: %d entries", round, len(l.nodes))
		}
	}
}
