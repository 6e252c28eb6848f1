package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Shard is one of several parts of an experiment, each run by a process of its own: number Number, from 1, of Of. The zero value is the
// whole experiment.
type Shard struct {
	Number, Of int
}

// MaxShards is the largest number of parts.
const MaxShards = 1_000_000

// Parted reports whether s is a part, also the only one of 1/1; false is the whole experiment.
func (s Shard) Parted() bool { return s.Of > 0 }

func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Number, s.Of) }

// ShardUsage says how a shard is written.
const ShardUsage = "i/n (1/4 is the first of four), auto, or auto/n"

// ParseShard reads i/n, or auto and auto/n, which ask the environment which part this process is: JOB_COMPLETION_INDEX, that Kubernetes
// sets in the pods of an Indexed Job, with JOB_COMPLETIONS for n, that the manifest must set; or SLURM_ARRAY_TASK_ID, with
// SLURM_ARRAY_TASK_COUNT, _MIN and _STEP, that Slurm sets in the tasks of a job array. With auto/n both count from 0.
func ParseShard(s string, getenv func(string) string) (Shard, error) {
	if s == "" {
		return Shard{}, nil
	}
	what, of, given := strings.Cut(s, "/")
	n := 0
	if given {
		var err error
		if n, err = strconv.Atoi(of); err != nil || n < 1 || n > MaxShards {
			return Shard{}, fmt.Errorf("a shard must be %s with n from 1 to %d, not %q", ShardUsage, MaxShards, s)
		}
	}
	if what == "auto" {
		return shardOf(getenv, n)
	}
	i, err := strconv.Atoi(what)
	if err != nil || !given {
		return Shard{}, fmt.Errorf("a shard must be %s, not %q", ShardUsage, s)
	}
	if i < 1 || i > n {
		return Shard{}, fmt.Errorf("shard %q: i must be from 1 to %d", s, n)
	}
	return Shard{i, n}, nil
}

// shardOf asks the environment. n is the number of parts, 0 if the environment must say.
func shardOf(getenv func(string) string, n int) (Shard, error) {
	const kube, slurm = "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"
	number := func(name string) (int, error) {
		v, err := strconv.Atoi(getenv(name))
		if err != nil || v < 0 || v > 1<<31-1 {
			return 0, fmt.Errorf("%s must be a number, not %q", name, getenv(name))
		}
		return v, nil
	}
	source, index := kube, 0
	var err error
	switch {
	case getenv(kube) != "" && getenv(slurm) != "":
		return Shard{}, fmt.Errorf("both %s and %s are set; say which part this is with i/n", kube, slurm)
	case getenv(kube) != "":
		if index, err = number(kube); err != nil {
			return Shard{}, err
		}
		if n == 0 {
			if getenv("JOB_COMPLETIONS") == "" {
				return Shard{}, fmt.Errorf("%s is set, but not of how many: set JOB_COMPLETIONS to the Job's completions, or say auto/n", kube)
			}
			if n, err = number("JOB_COMPLETIONS"); err != nil {
				return Shard{}, err
			}
		}
	case getenv(slurm) != "":
		source = slurm
		if index, err = number(slurm); err != nil {
			return Shard{}, err
		}
		if n > 0 {
			break
		}
		count, err := number("SLURM_ARRAY_TASK_COUNT")
		if err != nil {
			return Shard{}, err
		}
		first, err := number("SLURM_ARRAY_TASK_MIN")
		if err != nil {
			return Shard{}, err
		}
		last, err := number("SLURM_ARRAY_TASK_MAX")
		if err != nil {
			return Shard{}, err
		}
		step := 1
		if getenv("SLURM_ARRAY_TASK_STEP") != "" {
			if step, err = number("SLURM_ARRAY_TASK_STEP"); err != nil {
				return Shard{}, err
			}
		}
		if step < 1 || index < first || (index-first)%step != 0 || first+(count-1)*step != last {
			return Shard{}, fmt.Errorf("the job array %d-%d:%d has gaps (%d tasks): say which part this is with i/n or auto/n", first, last, step, count)
		}
		n, index = count, (index-first)/step
	default:
		return Shard{}, fmt.Errorf("auto: neither %s (Kubernetes) nor %s (Slurm) is set", kube, slurm)
	}
	if n < 1 || n > MaxShards || index >= n {
		return Shard{}, fmt.Errorf("%s is %s, which is none of %d parts counted from 0 (at most %d)", source, getenv(source), n, MaxShards)
	}
	return Shard{index + 1, n}, nil
}

// plan is the list of an experiment's runs: a group of one run a policy for each load and each seed, in this order. A run's index counts
// them all, index / policies is its group.
type plan struct {
	policies int
	seeds    []int64
	loads    []float64 // NaN: the trace's own
	notes    []string
}

// newPlan lists the runs of an experiment. fixed says that the seed changes nothing.
func newPlan(fixed bool, policies int, seeds []int64, loads []float64) plan {
	p := plan{policies: policies, seeds: seeds, loads: loads}
	if fixed && len(seeds) > 1 {
		p.notes = append(p.notes, "seeds change nothing here: the trace is recorded and none of the policies is random; one run each")
		p.seeds = seeds[:1]
	}
	if len(loads) == 0 {
		p.loads = []float64{math.NaN()}
	}
	return p
}

func (p *plan) groups() int { return len(p.loads) * len(p.seeds) }
func (p *plan) len() int    { return p.groups() * p.policies }

// at returns the group, load, seed and policy of a run.
func (p *plan) at(run int) (group int, load float64, seed int64, policy int) {
	group = run / p.policies
	return group, p.loads[group/len(p.seeds)], p.seeds[group%len(p.seeds)], run % p.policies
}

// single reports whether each policy runs once, so that its interval is by batch means.
func (p *plan) single() bool { return p.groups() == 1 }

// shard returns the indexes of a part's runs, ascending. Groups are dealt like cards, and whole, so that a workload is made once, by the
// process that runs all policies on it. Where there are fewer groups than parts (a recorded trace has one) runs are dealt instead;
// the pairs of a seed are then split over processes, which changes no result, since a seed gives the same workload everywhere. A
// part may be empty.
func (p *plan) shard(s Shard) []int {
	each := p.policies
	if p.groups() < s.Of {
		each = 1
	}
	if !s.Parted() {
		s = Shard{1, 1}
	}
	mine := make([]int, 0, p.count(s))
	for card := s.Number - 1; card < p.len()/each; card += s.Of {
		for run := range each {
			mine = append(mine, card*each+run)
		}
	}
	return mine
}

// count returns the number of a part's runs.
func (p *plan) count(s Shard) int {
	cards, each := p.groups(), p.policies
	if cards < s.Of {
		cards, each = p.len(), 1
	}
	return (cards + s.Of - s.Number) / s.Of * each
}
