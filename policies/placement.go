package policies

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

// PlacementEntry is a way to choose nodes, named as `policy+name{key=value,...}`. Any policy that is Placed takes any of them. All agree on
// whether there is room, on what a share's device must hold, and on a gang: its replicas go to the node that comes first, as many as fit
// there, then to the next. Nodes with a soft taint that the task does not tolerate (Room.TakenLast) come behind all others, however good they are.
type PlacementEntry struct {
	Name   string
	About  string // what it prefers, and who wins a tie
	Source string // paper and section
	Params []Param
	New    func(a Args) Place // one for each policy: it may keep what it has worked out

	Company bool // it goes by who runs on the nodes
}

// Placements lists the placements that can be named. An entry stands with its code.
var Placements = []PlacementEntry{
	firstFitEntry,
	bestFitEntry,
	worstFitEntry,
	dotProductEntry,
	gpuPackingEntry,
	gpuClusteringEntry,
	fgdEntry,
	seedEntry,
	packByTenantEntry,
	consolidateEntry,
	randomEntry,
	loadWeightedEntry,
	twoChoicesEntry,
}

// FindPlacement returns the placement of a name, or nil.
func FindPlacement(name string) *PlacementEntry {
	for i := range Placements {
		if Placements[i].Name == name {
			return &Placements[i]
		}
	}
	return nil
}

// PlacementNames returns the names of the placements that `policy+placement` takes, sorted.
func PlacementNames() []string {
	var out []string
	for i := range Placements {
		out = append(out, Placements[i].Name)
	}
	slices.Sort(out)
	return out
}

// place makes the placement of a spec, for one policy.
func (e *PlacementEntry) place(set []Setting, h Hints) Place {
	a := Args{entry: &Entry{Name: e.Name, Params: e.Params}, set: map[string]string{}, Hints: h}
	for _, kv := range set {
		a.set[kv.Key] = kv.Value
	}
	return e.New(a)
}

var firstFitEntry = PlacementEntry{
	Name: "first-fit", About: "the lowest-numbered nodes on which it fits", Source: "Johnson, Demers, Ullman, Garey & Graham, SIAM J. Comput. 1974, section 1",
	New: func(Args) Place { return FirstFit },
}

// FirstFit places on the lowest-numbered nodes.
func FirstFit(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	return room.FirstFit(s.DemandID(t), buf)
}

// lowestFit is FirstFit that takes no node last: for plans of what the end, or the stop, of running tasks makes room for. What makes room node by node finds the same.
func lowestFit(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	return room.LowestFit(s.DemandID(t), buf)
}

// natural is the form of a parameter that is a whole number from 0 to 1e9.
func natural(v string) error {
	if len(v) == 0 || len(v) > 10 || strings.Trim(v, "0123456789") != "" || len(v) == 10 && v > "1000000000" {
		return errors.New("must be a whole number from 0 to 1e9")
	}
	return nil
}

// counting is the form of a parameter that is a whole number from 1 to most.
func counting(most int) func(v string) error {
	return func(v string) error {
		if n, err := strconv.Atoi(v); err != nil || n < 1 || n > most {
			return fmt.Errorf("must be a whole number from 1 to %d", most)
		}
		return nil
	}
}

// scoreParam bounds how many nodes a placement by score looks at, as `score` of critical-path does.
var scoreParam = Param{Name: "score", Default: "0", Form: natural, Example: "8", About: "nodes scored at most, the lowest-numbered on which it fits; 0: all"}
