package main

import "github.com/spf13/cobra"

// failuresTopic is a page of help: schedlab help failures.
func failuresTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "failures",
		Short: "What --failures, --checkpoint and --profile-delay mean",
		Long: `Models of compare and run that are off unless a flag turns them on. Times are
durations such as 30s, 10m, 720h.

--failures breaks nodes and tasks at random. With one seed the nodes fail at the
same times under every policy.
  mtbf=720h         mean time that a node is up: exponential
  shape=0.7         Weibull instead, with that mean; or scale=500h,shape=0.7
  repair=10m        time that it is down (0: it is back at once); Weibull with
                    that mean with repair-shape=1 (exponential) or another
  task-mtbf=100h    mean time until a running attempt fails by itself; also
                    task-shape, task-scale
  retries=5         of every task after such a failure (default: the trace's);
                    the loss of a node costs none
  storage-mtbf=200h,storage-repair=1h
                    mean times that the storage of checkpoints is up and down
  trace=FILE        failures that happened: CSV with the columns
                    node,down_s,up_s or task,attempt,after_s

--checkpoint saves the work of running tasks. Without it an attempt that fails,
or whose node is lost, loses what it has done; a preemption saves it all the
same, but for --restart.
  every=10m         work between two checkpoints (default 5s); young or daly:
                    the optimum for the cost and the failure rate of the
                    task's nodes; never: only when it is preempted
  cost=30s          for how long a checkpoint holds the task up
  restart=1m        for how long every attempt but the first restores
  mtbf=720h         of a node, for young and daly (default: that of --failures)
  stop=save|lose    a preempted task saves first, or stops at once
  outage=fail|wait  while the storage is down a checkpoint saves nothing, or
                    waits

Work that has to be done again, checkpoints and restoring are in lost_work, and
not in goodput; utilization counts them.

--profile-every, --profile-delay, --profile-noise: policies that look at the
sampled load of nodes see it so often, so late, with a normal error.`,
		Example: `  schedlab compare --failures mtbf=100h,repair=10m --checkpoint every=daly,cost=3s
  schedlab compare jobs.csv --cluster 8x8xA100 --failures scale=500h,shape=0.7 --seeds 10
  schedlab compare --policies fjf+load-weighted,fjf+two-choices --profile-delay 5s`,
	}
}
