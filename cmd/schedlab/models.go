package main

import (
	"math"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/sim"
)

// modelsTopic is a page of help: schedlab help models.
func modelsTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "models",
		Short: "What --window, --memory, --quotas and the like mean",
		Long: `Models of compare and run that are off unless a flag turns them on. Parts are
separated by commas, what is said of several queues or tenants by semicolons.
See also: schedlab help failures.

--window gathers facts before each decision, with the code of the live mode.
  20ms              always so long
  10ms-50ms         by load: none for a lone fact, longer while many come
  10ms-50ms,cost=2ms
                    a decision takes 2 ms, and facts wait meanwhile
The cost is waiting (the cause window), the gain fewer decisions.

--memory: what tasks really use. An attempt above what it asked for, of memory
or GPU memory, fails and is tried again while retries last. A trace says the
true peak in mem_used_gb and gpu_mem_used_gb; where it does not, the peak is
  median=0.8        so much of what is asked for, times
  sigma=0.2         a lognormal factor of that shape, drawn once a task
  peak=0.5          the attempt fails after that share of its work
  slowdown=4        unified memory: GPU memory above the request spills to
                    memory, where an access takes 4 times as long

--quotas: what a tenant's running tasks hold together.
  tenant=red,gpus=4,cpus=64
                    at most 4 GPUs and 64 cores; one of the two is enough, the
                    other (or 0) has no bound then; -1: none may be held
  borrow=all        and what the others leave idle of theirs; or borrow=50%: at
                    most half of its own quota more
  reclaim=preempt   what others have borrowed of it is taken back by preemption;
                    default: end, as their tasks end

--elastic: the cluster is a pool of equal nodes, of which queues switch on as
many as they need, by the rule of the Kubernetes HorizontalPodAutoscaler:
  desired = ceil(nodes x (waiting tasks / nodes) / backlog)
  provisioning=60s  from the order until a node takes tasks
  queue=serve       what follows is said of that queue; without it: of all
                    others
  min=2, max=10     nodes
  backlog=1000      waiting tasks that one node should serve
  tier=high         high: up at once; low: up when all of 300 s asked for it,
                    one node a minute; normal: as Kubernetes does by default
  tolerance, sync, up-window, down-window
                    0.1, 15s, and the stabilization windows
Nodes that are not needed end their tasks and go. node_hours counts them while
they are on; --node-price is what an hour costs.

--staging: how the input of a task (input_gb, input_at) comes to a node where it
does not lie, and which states storage_latency_ms or storage_mbps. Without the
flag every fetch has all of that bandwidth, from the start of its attempt on.
  contention        fetches of one node come one after the other
  overlap           a successor's input comes while its predecessor works
  tiers             and is copied to the GPU: below 1 MB through kept buffers,
                    directly, or, of kinds that were there before, page-locked`,
		Example: `  schedlab compare --window 10ms-50ms,cost=2ms
  schedlab compare --memory median=0.9,sigma=0.2
  schedlab compare --quotas 'tenant=language,gpus=16,borrow=all;tenant=ads,gpus=24,reclaim=preempt'
  schedlab compare gen:jobs=400,gpus=philly --cluster 12x8xA100 --elastic 'provisioning=2m;max=12,backlog=2'`,
	}
}

// modelFlags are the flags of the simulator's models, each off where it is not given.
type modelFlags struct {
	window, memory, quotas, elastic, staging string
	nodePrice                                float64
}

func (f *modelFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.window, "window", "", "gather facts before each decision: 10ms-50ms or 20ms (schedlab help models)")
	fl.StringVar(&f.memory, "memory", "", "tasks use another amount of memory than they ask for: median=0.8,sigma=0.2 (schedlab help models)")
	fl.StringVar(&f.quotas, "quotas", "", "quotas of tenants: 'tenant=red,gpus=4;tenant=blue,gpus=8' (schedlab help models)")
	fl.StringVar(&f.elastic, "elastic", "", "queues that scale: 'provisioning=60s;queue=a,tier=high' (schedlab help models)")
	fl.StringVar(&f.staging, "staging", "", "how input comes to nodes: contention,overlap,tiers (schedlab help models)")
	fl.Float64Var(&f.nodePrice, "node-price", 0, "what an hour of a node costs (default: 1 with --elastic)")
}

// set turns the flags that are given into settings.
func (f *modelFlags) set(given func(string) bool, s *experiment.Settings) error {
	if err := parseInto(given("window"), &s.Window, f.window, sim.ParseWindow); err != nil {
		return usagef("--window: %v", err)
	}
	if err := parseInto(given("memory"), &s.Memory, f.memory, sim.ParseMemory); err != nil {
		return usagef("--memory: %v", err)
	}
	if err := parseInto(given("quotas"), &s.Tenants, f.quotas, sim.ParseTenants); err != nil {
		return usagef("--quotas: %v", err)
	}
	if err := parseInto(given("elastic"), &s.Elastic, f.elastic, sim.ParseElastic); err != nil {
		return usagef("--elastic: %v", err)
	}
	if err := parseInto(given("staging"), &s.Staging, f.staging, sim.ParseStaging); err != nil {
		return usagef("--staging: %v", err)
	}
	override(given("node-price"), &s.NodePrice, f.nodePrice)
	if !(f.nodePrice >= 0) || math.IsInf(f.nodePrice, 0) {
		return usagef("--node-price must be a number from 0 on, not %v", f.nodePrice)
	}
	return nil
}
