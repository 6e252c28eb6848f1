package main

import (
	"github.com/spf13/pflag"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/sim"
)

// modelFlags are the flags of the simulator's models, each off where it is not given.
type modelFlags struct {
	window, memory, quotas, elastic string
	nodePrice                       float64
}

func (f *modelFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.window, "window", "", "gather facts before each decision: "+sim.WindowUsage)
	fl.StringVar(&f.memory, "memory", "", "tasks use another amount of memory than they ask for, and fail above it: "+sim.MemoryUsage)
	fl.StringVar(&f.quotas, "quotas", "", "quotas of tenants, and what they may borrow of each other: "+sim.TenantsUsage)
	fl.StringVar(&f.elastic, "elastic", "", "queues scale by their backlog between min 2 and max 10 nodes of the cluster:\n"+sim.ElasticUsage)
	fl.Float64Var(&f.nodePrice, "node-price", 0, "what an hour of a node costs (default: 1 with --elastic)")
}

// set turns the flags into settings.
func (f *modelFlags) set(s *experiment.Settings) (err error) {
	if f.window != "" {
		if s.Window, err = sim.ParseWindow(f.window); err != nil {
			return usagef("--window: %v", err)
		}
	}
	if f.memory != "" {
		if s.Memory, err = sim.ParseMemory(f.memory); err != nil {
			return usagef("--memory: %v", err)
		}
	}
	if f.quotas != "" {
		if s.Tenants, err = sim.ParseTenants(f.quotas); err != nil {
			return usagef("--quotas: %v", err)
		}
	}
	if f.elastic != "" {
		if s.Elastic, err = sim.ParseElastic(f.elastic); err != nil {
			return usagef("--elastic: %v", err)
		}
	}
	if s.NodePrice = f.nodePrice; !(f.nodePrice >= 0) {
		return usagef("--node-price must not be negative")
	}
	return nil
}
