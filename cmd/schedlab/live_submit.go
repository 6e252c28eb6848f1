package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/alert"
	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/traces"
)

func submitCommand() *cobra.Command {
	var file, output string
	var t job.Task
	var j job.Job
	var cpu, mem, gpuMem, every string
	var estimate, limit, grace, backoff, deadline time.Duration
	var env, params []string
	var types, tolerations, labels, after, inputs []string
	var to string
	cmd := &cobra.Command{
		Use:   "submit [flags] -- COMMAND [ARG...] | -f WORKFLOW",
		Short: "Submit a command or a workflow",
		Long: `Submits a command, or with -f a workflow: a DAG of tasks in YAML or JSON with
the field names of the native trace formats, as in

  job: sweep
  tenant: vision
  tasks:
    - id: prep
      command: [python, prep.py]
      cpu: 4
      mem_gb: 16
    - id: train
      after: [prep]
      command: python train.py --lr {lr} --seed {index}
      matrix: {lr: [0.1, 0.01]}
      array: 1-3
      gpus: 1
      estimate_s: 600
      retries: 2
      checkpoint: {every: 5s}

A command that is one line goes through /bin/sh. {name} stands for a parameter
of params or matrix, {index} for the number in an array. The command runs in the
folder where it was submitted, with a clean environment: HOME, USER, PATH, LANG,
what --env and env say, and SCHEDLAB_JOB, SCHEDLAB_TASK, ATTEMPT, RESTART_COUNT,
GRACE and CUDA_VISIBLE_DEVICES.

With --checkpoint the command's work is saved: so often that a failure costs no
more than 5 s of it, or what is said, as long as a checkpoint is stored within
half of that; at the best interval by Young and Daly for what a checkpoint costs
it (young-daly); or only when it is preempted (off). It resumes from
$CKPT_DIR/last where that is there, and can say "restored" when it has.
SIGUSR1 asks it for a checkpoint: it writes files to $CKPT_DIR/new and says so
with "schedlab live notify checkpoint_done", or a datagram of that word to the
socket $NOTIFY_SOCKET; or it leaves with exit code 85, which saves what lies
there, puts it back in the queue and takes no retry; where it has saved nothing
that is a failure. While the storage of checkpoints is away it is tried again
later, which takes no retry either. A preemption asks, waits for --grace, and
then sends SIGTERM. Who does not catch SIGUSR1 is not sent it.

With --input files and folders are copied to $INPUT_DIR before the command runs,
as its owner: paths, and URLs of http and https. PATH:as=NAME gives another
name, PATH:link makes a symbolic link. That begins while the tasks before it
still run, or while it waits; what has changed since is copied again. In a
workflow a task has inputs: [PATH, {from: URL, as: NAME}].

With --to the tasks are added to a workflow that was submitted before, whether
it runs or not. What they come after can be among its tasks (after, --after),
and edges says what comes before its tasks that have not started. They are tasks
of that workflow (12/evaluate); what is added together takes the next job's
number besides, which stands for it alone:

  tasks:
    - {id: evaluate, after: [train-1], command: python eval.py}
  edges: [evaluate -> report]

It prints the job's number. When it returns, the job is on the disk.`,
		Example: `  schedlab live submit -- make -j2
  schedlab live submit --gpus 1 --estimate 2h --retries 2 -- python train.py
  schedlab live submit --checkpoint 5s --retries 10 -- python train.py
  schedlab live submit -f sweep.yaml --param data=/data/imagenet
  schedlab live submit --input data/train.bin -- sh -c 'wc $INPUT_DIR/train.bin'
  schedlab live submit --to last -f more.yaml
  schedlab live wait $(schedlab live submit -- ./job.sh)`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case file == "" && len(args) == 0 && !cmd.Flags().Changed("file"):
				return fmt.Errorf("submit what? A command behind --, or a workflow with -f; see %s --help", cmd.CommandPath())
			case file != "" && len(args) > 0:
				return fmt.Errorf("either a command or a workflow with -f, not both")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"file", "to", "after", "id", "cpu", "mem", "gpu-mem", "gpu-type", "label", "toleration", "checkpoint", "array"} {
				if f := cmd.Flags().Lookup(name); f.Changed && strings.Trim(f.Value.String(), "[]") == "" { // a variable of a script that is not set
					return usagef("--%s is empty", name)
				}
			}
			wd, err := os.Getwd()
			if err != nil {
				return err
			}
			if _, err := strconv.Atoi(to); err != nil && to != "" && to != "last" {
				return usagef("--to %s: say one workflow, by its number, or last", to)
			}
			if to != "" && cmd.Flags().Changed("name") {
				return usagef("--name is of a new job; what --to adds to has one")
			}
			var doc *job.Job
			if file != "" {
				for _, name := range []string{"cpu", "mem", "gpus", "gpu-mem", "gpu-type", "gang", "label", "toleration", "priority", "criticality", "retries", "estimate", "limit", "grace", "backoff", "deadline", "array", "kind", "id", "checkpoint", "after", "input"} {
					if cmd.Flags().Changed(name) {
						return usagef("--%s is for a command; in a workflow each task says it", name)
					}
				}
				if doc, err = readJob(file); err != nil {
					return err
				}
				j.Tasks, j.Edges, j.To = doc.Tasks, doc.Edges, doc.To
				for name, v := range map[string]struct{ to, said *string }{
					"name": {&j.Name, &doc.Name}, "tenant": {&j.Tenant, &doc.Tenant}, "queue": {&j.Queue, &doc.Queue}, "every": {&j.Every, &doc.Every},
				} {
					if !cmd.Flags().Changed(name) { // one that is given goes before the file, also where it says none
						*v.to = *v.said
					}
				}
				if !cmd.Flags().Changed("quiet") {
					j.Quiet = doc.Quiet
				}
				j.Params, j.Env, j.Dir = doc.Params, doc.Env, doc.Dir
			} else {
				t.Command = args
				t.EstimateS, t.LimitS, t.BackoffS, t.DeadlineS = estimate.Seconds(), limit.Seconds(), backoff.Seconds(), deadline.Seconds()
				if cmd.Flags().Changed("grace") {
					g := grace.Seconds()
					t.GraceS = &g
				}
				if cpu != "" {
					v, err := number("--cpu", cpu)
					if err != nil {
						return err
					}
					t.CPU = &v
				}
				if t.MemGB, err = number("--mem", mem); err != nil {
					return err
				}
				if t.GPUMemGB, err = number("--gpu-mem", gpuMem); err != nil {
					return err
				}
				if every != "" {
					t.Checkpoint = &job.Checkpoint{Every: every}
				}
				if len(after) > 0 && to == "" {
					return usagef("--after names tasks of the workflow that --to names")
				}
				t.GPUTypes, t.Tolerations, t.After = types, tolerations, after
				for _, text := range inputs {
					t.Inputs = append(t.Inputs, job.ParseInput(text))
				}
				for _, text := range labels {
					if !t.Labels.Set(text) {
						return usagef("--label %q: write it as key=value, key!=value or !key", text)
					}
				}
				if t.ID == "" {
					t.ID = "main"
				}
				if j.Name == "" && to == "" {
					j.Name = job.NameOf(args[0])
				}
				j.Tasks = []job.Task{t}
			}
			if j.Dir == "" {
				j.Dir = wd
			}
			j.Quiet = j.Quiet || os.Getenv(alert.Variable) != ""
			set, err := pairs("--param", params)
			if err != nil {
				return err
			}
			if j.Params == nil {
				j.Params = map[string]string{}
			}
			for k, v := range set {
				if _, ok := j.Params[k]; !ok && doc != nil {
					return usagef("--param %s: the workflow has no such parameter", k)
				}
				j.Params[k] = v
			}
			vars, err := pairs("--env", env)
			if err != nil {
				return err
			}
			if j.Env == nil {
				j.Env = map[string]string{}
			}
			for k, v := range vars {
				j.Env[k] = v
			}
			c, err := client()
			if err != nil {
				return err
			}
			if to != "" {
				list, _, err := c.Tasks(cmd.Context(), to, "", 1)
				if err != nil {
					return refused(err)
				}
				j.To = list[0].Job
			}
			if err := j.Expand(); err != nil {
				if doc != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				return usagef("submit: %w", err)
			}
			text, err := json.Marshal(&j)
			if err != nil {
				return err
			}
			ids, err := c.Submit(cmd.Context(), text)
			if err != nil {
				return refused(err)
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"jobs": ids, "tasks": len(j.Tasks)})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), ids[0])
			return err
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVarP(&file, "file", "f", "", "a workflow in YAML or JSON; - is standard input")
	f.StringVar(&to, "to", "", "add it to this workflow: its number, or last")
	f.StringSliceVar(&after, "after", nil, "with --to: the tasks of the workflow that the command comes after")
	f.StringVar(&j.Name, "name", "", "name of the job")
	f.StringVar(&j.Tenant, "tenant", "", "whose job it is, for quotas and fair shares")
	f.StringVar(&j.Queue, "queue", "", "queue of the job")
	f.StringVar(&j.Every, "every", "", "the job recurs: a duration (24h) or a cron line in UTC; one copy waits, and others are left out")
	f.BoolVar(&j.Quiet, "quiet", false, "raise no alerts (set for what an alert's command submits)")
	f.StringVar(&t.ID, "id", "", "id of the task (default main)")
	f.StringVar(&t.Kind, "kind", "", "kind of the task, for throughput tables")
	f.StringVar(&cpu, "cpu", "", "cores (default 1, or 0 with a GPU)")
	f.StringVar(&mem, "mem", "", "memory in GiB, held by the kernel where it can")
	f.Float64Var(&t.GPUs, "gpus", 0, "GPUs: a whole number, or a share of one below 1")
	f.StringVar(&gpuMem, "gpu-mem", "", "memory in GiB on each of these GPUs")
	f.StringSliceVar(&types, "gpu-type", nil, "the GPU types that will do")
	f.Int32Var(&t.Gang, "gang", 0, "replicas that start and end together (RANK, WORLD_SIZE)")
	f.StringSliceVar(&labels, "label", nil, "key=value that the machine must have (serve --label), or key!=value or !key that it must not")
	f.StringSliceVar(&tolerations, "toleration", nil, "a taint of the machine that will do (serve --taint): key=value:Effect, key:Effect, key or *")
	f.Int32Var(&t.Priority, "priority", 0, "larger is more important, for policies that look at it")
	f.Float64Var(&t.Criticality, "criticality", 0, "0 to 1, for policies that look at it")
	f.Int32Var(&t.Retries, "retries", 0, "how often a failed attempt is tried again")
	f.DurationVar(&estimate, "estimate", 0, "how long it will run")
	f.DurationVar(&limit, "limit", 0, "how long it may run")
	f.DurationVar(&grace, "grace", job.DefaultGrace, "from SIGTERM to SIGKILL, and for a checkpoint before it")
	f.StringVar(&every, "checkpoint", "", "it saves its work when asked: every so often (5s), young-daly, or off: only when preempted")
	f.StringArrayVar(&inputs, "input", nil, "PATH or URL that is copied to $INPUT_DIR before it runs; behind it :as=NAME for another name, :link for no copy")
	f.DurationVar(&backoff, "backoff", 0, "before the first retry, doubled each time, and up to half more (default 1s)")
	f.DurationVar(&deadline, "deadline", 0, "from submission, for policies that look at it")
	f.StringVar(&t.Array, "array", "", "one task a number: 1-10, 0-100:5 or 1,3,7; {index} in the command")
	f.StringArrayVar(&env, "env", nil, "NAME=VALUE for the command (NAME alone: as it is here)")
	f.StringArrayVar(&params, "param", nil, "NAME=VALUE of a parameter")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// number reads a number of a flag; "" is 0.
func number(flag, text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	var v float64
	if _, err := fmt.Sscanf(text+"\n", "%g\n", &v); err != nil {
		return 0, usagef("%s %q: not a number", flag, text)
	}
	return v, nil
}

// pairs reads NAME=VALUE; of --env a name alone takes the value that it has here.
func pairs(flag string, list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, text := range list {
		k, v, ok := strings.Cut(text, "=")
		if !ok && flag == "--env" {
			if v, ok = os.LookupEnv(k); !ok {
				return nil, usagef("--env %s: there is no such variable here", k)
			}
		}
		if !ok || k == "" {
			return nil, usagef("%s %q: write it as NAME=VALUE", flag, text)
		}
		out[k] = v
	}
	return out, nil
}

// readJob reads a workflow. It is expanded by the caller, once the flags are in it.
func readJob(path string) (*job.Job, error) {
	var r io.Reader = os.Stdin
	name := "standard input"
	if path != "-" {
		f, err := traces.OpenFile(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r, name = f, path
	}
	text, err := io.ReadAll(io.LimitReader(r, job.MaxSize+1))
	if err != nil {
		return nil, err
	}
	return job.Read(text, name)
}
