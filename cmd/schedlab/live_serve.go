package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/checkpoint"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/folders"
	"github.com/schedlab/schedlab/live/node"
	"github.com/schedlab/schedlab/live/retry"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

// liveMeanEstimate is what live policies are told of the mean estimate, from which they derive defaults such as rr's quantum of a tenth.
const liveMeanEstimate = 10 * time.Minute

// serveFlags are what "live serve" is told.
type serveFlags struct {
	policy, node, window, metrics, log, vram, others string
	policySaid                                       bool
	gpus                                             device.Options
	cpuCap                                           bool
	door                                             door
	patience                                         time.Duration
	checkpoints                                      checkpointing
	alerts                                           alerting
	budget, queues                                   string
	labels, taints                                   []string
	pids                                             int64
	keepLogs                                         age
}

func serveCommand() *cobra.Command {
	var o serveFlags
	o.patience, o.keepLogs = time.Minute, -1
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Runs the daemon in the foreground until SIGTERM or Ctrl-C. Jobs that run then
run on, and the next daemon takes them up. What it accepted is on the disk
before it answers. --policy counts for a new state; "live policy set" changes it
later, and a daemon that is told another says that it keeps that.

--node says what the machine offers where that is not to be found out, in the
shorthand of clusters: (8cpu,32gb,4xA100:80gb). A user's job runs as that user
where the daemon is root.

Each attempt runs in a control group of its own, as far as the machine has them
("live doctor" says): its memory is bounded by what it asked for, its CPUs are
its share where they are short. The machine is sampled each second; CPU and
memory that others use lower what is offered, unless --others ignore says that
they do not.

Only the daemon's user and root can reach its socket. --shared lets every user
of the machine in: they see all jobs, and act on their own (the daemon must be
root). --listen serves a TCP address besides, over TLS and to whoever has the
token, who acts as the daemon's user.

While the state file cannot be written (a full disk) nothing is accepted or
started and requests are refused; those that were to be written wait, as they
may still be taken in, and say so. After --patience the daemon ends. What runs
runs on.

Checkpoints go to --checkpoints: a folder, or s3://bucket/prefix in storage that
speaks S3, with the variables and files of the AWS tools (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL). Of each task the last two
are kept, until it is over; of one that failed they stay.

A failed attempt is tried again as often as its task says, after its backoff,
doubled each time, and up to half of that more, drawn by task and attempt.
--retry-budget 10% bounds this besides: of a tenant's attempts of the last hour,
so many may be retries, but 10 at any rate; a failure beyond is final, and
"live explain" says so. 10%,window=10m,min=5,per=queue says it otherwise; per is
tenant, queue, tenant+queue or all.

--queues FILE makes queues scale, see "live queues --help".

--alert-command or --alert-url tells somebody what went wrong; "live alerts
--help" says how.`,
		Example: "  schedlab live serve --policy 'easy+best-fit'\n  schedlab live serve --node '(8cpu,32gb,4xA100:80gb)'\n  schedlab live serve --checkpoints s3://lab/checkpoints --mtbf 12h",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"gpus", "others"} {
				if o.node != "" && cmd.Flags().Changed(name) {
					return usagef("--%s is for what the machine is found to have; --node says all that it offers", name)
				}
			}
			if o.keepLogs >= 0 && time.Duration(o.keepLogs) < time.Minute {
				return usagef("--keep-logs must be at least 1m, not %s", &o.keepLogs)
			}
			if err := o.alerts.targeted(cmd); err != nil {
				return err
			}
			o.policySaid = cmd.Flags().Changed("policy")
			return serve(cmd.Context(), &o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.policy, "policy", "fifo", "the policy of a new state")
	f.StringVar(&o.node, "node", "", "what this machine offers (default: its cores, memory and GPUs)")
	gpusFlag(cmd, &o.gpus)
	f.StringSliceVar(&o.labels, "label", nil, "key=value of this machine, which tasks can ask for (submit --label); node-type=edge brings the taint edge-node=true:NoSchedule")
	f.StringSliceVar(&o.taints, "taint", nil, "key=value:Effect of this machine, which keeps tasks off that do not tolerate it (submit --toleration); NoSchedule or NoExecute (PreferNoSchedule keeps nothing off: it makes a node the last to be taken, and here is one node)")
	f.StringVar(&o.window, "window", "10ms-50ms", "the decision window: MIN-MAX under load, one duration for always, or 0 for none")
	f.StringVar(&o.metrics, "metrics", "", "also serve /metrics, /healthz and /readyz on this TCP address, as 127.0.0.1:9464")
	o.log, o.vram, o.others = "text", "warn", "count"
	f.Var(&choice{&o.log, []string{"text", "json"}}, "log", "how to log to standard error")
	f.Var(&choice{&o.vram, []string{"warn", "kill"}}, "vram-overrun", "what becomes of an attempt that holds more GPU memory than its gpu_mem_gb")
	f.Var(&choice{&o.others, []string{"count", "ignore"}}, "others", "whether the CPU and memory that others use lower what is offered (not with --node)")
	f.BoolVar(&o.cpuCap, "cpu-cap", false, "give an attempt no more CPUs than it asked for, though others are idle")
	f.Int64Var(&o.pids, "pids", 0, "processes and threads that an attempt may have (default: a quarter of the machine's)")
	f.BoolVar(&o.door.shared, "shared", false, "let every user of this machine in, each as who he is")
	f.StringVar(&o.door.listen, "listen", "", "also serve this TCP address, as :7433; it takes --tls-cert, --tls-key and --token-file")
	f.StringVar(&o.door.cert, "tls-cert", "", "the certificate's file (PEM)")
	f.StringVar(&o.door.key, "tls-key", "", "the file of its key (PEM)")
	f.StringVar(&o.door.token, "token-file", "", "the file of the token that lets in")
	f.StringVar(&o.checkpoints.place, "checkpoints", "", "where checkpoints are kept: a folder or s3://bucket/prefix (default: a folder of the state)")
	f.StringVar(&o.checkpoints.work, "work", "", "where running jobs write them; their users must be able to pass (default: beside the state, /var/lib/schedlab/work for root)")
	f.DurationVar(&o.checkpoints.mtbf, "mtbf", daemon.DefaultMTBF, "mean time between failures, for jobs with checkpoint young-daly")
	f.StringVar(&o.queues, "queues", "", "a YAML file that says which queues scale their workers")
	f.StringVar(&o.budget, "retry-budget", "none", "the share of attempts that may be retries, as 10%")
	o.alerts.flags(cmd)
	f.Var(&o.keepLogs, "keep-logs", "how long the logs of jobs that are over are kept, as 30d (default: until live clean)")
	f.DurationVar(&o.patience, "patience", o.patience, "how long to try again where the state file cannot be written")
	return cmd
}

// door says who is let in.
type door struct {
	shared                   bool
	listen, cert, key, token string
}

// open listens where the flags say.
func (o *door) open() (opts api.Options, err error) {
	opts.Shared = o.shared
	switch {
	case o.shared && os.Geteuid() != 0:
		return opts, usagef("--shared: only root's daemon can run other users' jobs as these users")
	case o.listen == "" && (o.cert != "" || o.key != "" || o.token != ""):
		return opts, usagef("--tls-cert, --tls-key and --token-file go with --listen")
	case o.listen == "":
		return opts, nil
	case o.cert == "" || o.key == "" || o.token == "":
		return opts, usagef("--listen is served over TLS and with a token only: give --tls-cert, --tls-key and --token-file")
	}
	r, err := api.Listen(o.listen, o.cert, o.key, o.token)
	if err != nil {
		return opts, asUsage(fmt.Errorf("--listen: %w", err))
	}
	opts.Remote = append(opts.Remote, r)
	return opts, nil
}

// checkpointing says where checkpoints go.
type checkpointing struct {
	place, work string
	mtbf        time.Duration
}

// fill finds what was not said.
func (c *checkpointing) fill(at folders.Folders) error {
	var err error
	if c.place != "" && !strings.HasPrefix(c.place, "s3://") {
		if strings.Contains(c.place, "://") {
			return usagef("--checkpoints: %q is neither a folder nor s3://bucket/prefix", c.place)
		}
		if c.place, err = filepath.Abs(c.place); err != nil {
			return err
		}
	}
	if c.mtbf <= 0 {
		return usagef("--mtbf must be more than 0")
	}
	switch {
	case c.work != "":
		c.work, err = filepath.Abs(c.work)
	case os.Geteuid() == 0 && os.Getenv(folders.HomeEnv) == "": // the folders of root are closed to its jobs' users
		c.work = "/var/lib/schedlab/work"
	default:
		c.work = filepath.Join(filepath.Dir(at.State), "work")
		if os.Getenv(folders.HomeEnv) == "" {
			c.work = filepath.Join(at.State, "work")
		}
	}
	if err == nil && c.place != "" {
		if _, err := checkpoint.Open(c.place); err != nil {
			return asUsage(fmt.Errorf("--checkpoints: %w", err))
		}
	}
	return err
}

func serve(ctx context.Context, o *serveFlags) error {
	if o.patience <= 0 {
		return usagef("--patience must be positive")
	}
	at, err := folders.Find(os.Getenv)
	if err != nil {
		return err
	}
	if err := o.checkpoints.fill(at); err != nil {
		return err
	}
	w, err := parseWindow(o.window)
	if err != nil {
		return asUsage(err)
	}
	o.policy = rooted(o.policy)
	if _, err := buildLive(o.policy); err != nil {
		return asUsage(err)
	}
	if o.pids < 0 {
		return usagef("--pids %d: a number from 1 on", o.pids)
	}
	if o.pids == 0 {
		o.pids = quarterOfPids()
	}
	c := daemon.Config{
		Dir: at.State, Policy: o.policy, Build: buildLive, Window: w, CPUCap: o.cpuCap, Pids: o.pids, IgnoreOthers: o.others == "ignore", KillVRAM: o.vram == "kill",
		KeepLogs: time.Duration(max(o.keepLogs, 0)),
	}
	if c.Retry, err = retry.ParseLimit(o.budget); err != nil {
		return asUsage(fmt.Errorf("--retry-budget: %w", err))
	}
	if o.queues != "" {
		text, err := os.ReadFile(o.queues)
		if err == nil {
			c.Queues, err = daemon.ParseQueues(text, o.queues)
		}
		if err != nil {
			return fmt.Errorf("--queues: %w", err)
		}
	}
	if c.Alert, err = o.alerts.config(); err != nil {
		return asUsage(err)
	}
	closeMachine, err := machine(&c, o.node, o.gpus)
	if err != nil {
		return err
	}
	defer closeMachine()
	if err := mark(&c.Node, o.labels, o.taints); err != nil {
		return asUsage(err)
	}
	if err := os.MkdirAll(at.State, 0o700); err != nil {
		return err
	}
	if c.Exe, err = os.Executable(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if o.log == "json" {
		log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	c.Log = log
	if c.Header, err = json.Marshal(journalSettings{Driver: "live", MeanEstimate: int64(liveMeanEstimate)}); err != nil {
		return err
	}
	if err := os.Chmod(at.State, 0o700); err != nil { // it may have been there, and be open to all
		return err
	}
	let, err := o.door.open()
	if err != nil {
		return err
	}
	c.Patience, c.Checkpoints, c.Work, c.MTBF = o.patience, o.checkpoints.place, o.checkpoints.work, o.checkpoints.mtbf
	var groups *cgroup.Manager
	c.Groups = func() *cgroup.Manager {
		groups = cgroup.Open(cgroup.Options{Name: groupsOf(at.State), MoveSelf: true})
		return groups
	}
	d, err := daemon.Open(ctx, c)
	if err != nil {
		for i := range let.Remote {
			err = errors.Join(err, let.Remote[i].Close())
		}
		return err
	}
	if let.Socket, err = api.OpenSocket(at.Run, let.Shared); err != nil {
		return errors.Join(err, d.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var seen net.Listener
	if o.metrics != "" {
		if seen, err = net.Listen("tcp", o.metrics); err != nil {
			return errors.Join(asUsage(fmt.Errorf("--metrics: %w", err)), let.Socket.Close(), d.Close())
		}
		go func() {
			if err := api.ServeObserved(ctx, d, seen); err != nil {
				log.Error("metrics are no longer served", "err", err)
			}
		}()
		log.Info("metrics", "address", seen.Addr().String())
	}
	served := make(chan error, 1)
	go func() {
		err := api.Serve(ctx, d, at.Run, let)
		stop() // without its socket the daemon is of no use
		served <- err
	}()
	s := d.Status()
	log.Info("serving", "socket", filepath.Join(at.Run, api.SocketFile), "policy", s.Policy, "node", s.Nodes[0].Name, "gpus", c.GPUsSay,
		"groups", groups.Level(), "jobs", s.Jobs, "running", s.Running)
	if o.policySaid && !samePolicy(o.policy, s.Policy) {
		log.Warn("the state keeps its policy: --policy counts for a new one; `schedlab live policy set` changes it", "policy", s.Policy, "asked", o.policy)
	}
	if at := closedToOthers(at.Run); let.Shared && at != "" {
		log.Warn("other users do not get to the socket: they cannot pass through a folder above it; chmod o+x would let them", "folder", at)
	}
	for i := range let.Remote {
		log.Info("serving over TLS", "address", let.Remote[i].Addr().String())
	}
	err = d.Run(ctx)
	stop()
	return errors.Join(err, <-served)
}

// groupsOf names the folder of control groups of the daemon with a state: two daemons need two.
func groupsOf(state string) string {
	if abs, err := filepath.Abs(state); err == nil {
		state = abs
	}
	sum := sha256.Sum256([]byte(state))
	return "schedlab-" + hex.EncodeToString(sum[:4])
}

// closedToOthers returns the topmost folder above path that other users cannot pass through; "" if there is none.
func closedToOthers(path string) (closed string) {
	for at := filepath.Dir(path); ; at = filepath.Dir(at) {
		if st, err := os.Stat(at); err == nil && st.Mode()&0o001 == 0 {
			closed = at
		}
		if at == filepath.Dir(at) {
			return closed
		}
	}
}

// quarterOfPids returns a quarter of the processes and threads that this machine can have: what forks without end leaves the rest alive.
func quarterOfPids() int64 {
	least := int64(1 << 22)
	for _, file := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		b, err := os.ReadFile(file)
		if n, perr := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && perr == nil && n > 0 {
			least = min(least, n)
		}
	}
	return max(least/4, 1)
}

// buildLive builds a policy as the live mode has them.
func buildLive(name string) (sched.Policy, error) {
	spec, err := policies.Parse(name)
	if err != nil {
		return nil, err
	}
	if spec.Estimates != "" {
		return nil, fmt.Errorf("policy %q: live, nobody knows other estimates than the submitted ones", name)
	}
	return policies.Build(spec, policies.Hints{MeanEstimate: liveMeanEstimate})
}

// samePolicy reports whether two names, which can be built, mean the same.
func samePolicy(a, b string) bool {
	x, err := policies.Parse(a)
	y, err2 := policies.Parse(b)
	return err == nil && err2 == nil && reflect.DeepEqual(x, y)
}

// machine describes this machine in the config, as it is found to be or as the text says, and how it is sampled. The caller closes it once the
// daemon is done.
func machine(c *daemon.Config, text string, gpus device.Options) (closeAll func(), err error) {
	var open []func() error
	closeAll = func() {
		for _, f := range slices.Backward(open) {
			_ = f() // only read
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	o := node.Options{}
	if text != "" {
		if strings.HasPrefix(text, "(") {
			text = "1x" + text
		}
		nodes, err := cluster.Parse(text)
		if err == nil && len(nodes) != 1 {
			err = fmt.Errorf("%q is %d nodes, and this is one machine", text, len(nodes))
		}
		if err != nil {
			return closeAll, asUsage(fmt.Errorf("--node: %w", err))
		}
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "localhost"
		}
		nodes[0].Name = host
		c.Node, c.Declared, c.GPUsSay = nodes[0], true, "declared by --node"
	} else {
		found, err := device.Open(gpus)
		if err != nil {
			return closeAll, asUsage(err)
		}
		open = append(open, found.Close)
		o.Driver = device.Guard(found, 5*time.Second)
		c.Cards, c.GPUsSay = found.List(), found.Says()
		o.CPU, o.Mem = cgroup.Own()
	}
	s, err := node.Open(o)
	if err != nil {
		return closeAll, err
	}
	open = append(open, s.Close)
	c.Sampler = s
	if c.Declared {
		return closeAll, nil
	}
	p := s.Sample(node.Own{}).Profile(s.ID(), time.Time{})
	c.Node, err = p.Spec()
	c.Node.NetworkLatency = 0 // it was measured just now; samples tell it
	return closeAll, err
}

// mark gives the machine its labels and taints, and an edge node its own.
func mark(n *sched.NodeSpec, labels, taints []string) error {
	for _, text := range labels {
		k, v, ok := strings.Cut(text, "=")
		if !ok || k == "" || strings.Contains(k, "!") {
			return fmt.Errorf("--label %q: write it as key=value", text)
		}
		if slices.ContainsFunc(n.Labels, func(l sched.Label) bool { return l.Key == k }) {
			return fmt.Errorf("--label %q: there is a label of that key already", text)
		}
		n.Labels = append(n.Labels, sched.Label{Key: k, Value: v})
	}
	for _, text := range taints {
		t, err := cluster.ParseTaint(text)
		if err != nil {
			return fmt.Errorf("--taint: %w", err)
		}
		n.Taints = append(n.Taints, t)
	}
	cluster.TaintEdge(n)
	return nil
}

// parseWindow reads the flag --window.
func parseWindow(text string) (sched.BatchWindow, error) {
	w, err := sched.ParseBatchWindow(text)
	if err != nil {
		return w, fmt.Errorf("--%w", err)
	}
	return w, nil
}
