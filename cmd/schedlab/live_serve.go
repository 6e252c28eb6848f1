package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/folders"
	"github.com/schedlab/schedlab/live/node"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

// liveMeanEstimate is what live policies are told of the mean estimate, from which they derive defaults such as rr's quantum of a tenth.
const liveMeanEstimate = 10 * time.Minute

func serveCommand() *cobra.Command {
	var policy, machine, window, metrics, logFormat string
	var gpus device.Options
	var door door
	patience := time.Minute
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Runs the daemon in the foreground until SIGTERM or Ctrl-C. Jobs that run then
run on, and the next daemon takes them up. What it accepted is on the disk
before it answers. --policy counts for a new state; "live policy set" changes it
later.

--node says what the machine offers where that is not to be found out, in the
shorthand of clusters: (8cpu,32gb,4xA100:80gb). A user's job runs as that user
where the daemon is root.

Only the daemon's user and root can reach its socket. --shared lets every user
of the machine in: they see all jobs, and act on their own (the daemon must be
root). --listen serves a TCP address besides, over TLS and to whoever has the
token, who acts as the daemon's user.

While the state file cannot be written (a full disk) nothing is accepted or
started and requests are refused; after --patience the daemon ends. What runs
runs on.`,
		Example: "  schedlab live serve --policy 'easy+best-fit'\n  schedlab live serve --node '(8cpu,32gb,4xA100:80gb)'",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), policy, machine, window, metrics, logFormat, gpus, door, patience)
		},
	}
	f := cmd.Flags()
	f.StringVar(&policy, "policy", "fifo", "the policy of a new state")
	f.StringVar(&machine, "node", "", "what this machine offers (default: its cores, memory and GPUs)")
	gpusFlag(cmd, &gpus)
	f.StringVar(&window, "window", "10ms-50ms", "the decision window under load: MIN-MAX, or 0 for none")
	f.StringVar(&metrics, "metrics", "", "also serve /metrics, /healthz and /readyz on this TCP address, as 127.0.0.1:9464")
	f.BoolVar(&door.shared, "shared", false, "let every user of this machine in, each as who he is")
	f.StringVar(&door.listen, "listen", "", "also serve this TCP address, as :7433; it takes the next three flags")
	f.StringVar(&door.cert, "tls-cert", "", "the certificate's file (PEM)")
	f.StringVar(&door.key, "tls-key", "", "the file of its key (PEM)")
	f.StringVar(&door.token, "token-file", "", "the file of the token that lets in")
	f.DurationVar(&patience, "patience", patience, "how long to try again where the state file cannot be written")
	logFormat = "text"
	f.Var(&choice{&logFormat, []string{"text", "json"}}, "log", "how to log to standard error")
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

func serve(ctx context.Context, policy, text, window, metrics, logFormat string, gpus device.Options, door door, patience time.Duration) error {
	if patience <= 0 {
		return usagef("--patience must be positive")
	}
	at, err := folders.Find(os.Getenv)
	if err != nil {
		return err
	}
	spec, says, err := machine(text, gpus)
	if err != nil {
		return err
	}
	w, err := parseWindow(window)
	if err != nil {
		return asUsage(err)
	}
	if _, err := buildLive(policy); err != nil {
		return asUsage(err)
	}
	if err := os.MkdirAll(at.State, 0o700); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if logFormat == "json" {
		log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	header, err := json.Marshal(journalSettings{Driver: "live", MeanEstimate: int64(liveMeanEstimate)})
	if err != nil {
		return err
	}
	if err := os.Chmod(at.State, 0o700); err != nil { // it may have been there, and be open to all
		return err
	}
	let, err := door.open()
	if err != nil {
		return err
	}
	d, err := daemon.Open(ctx, daemon.Config{Dir: at.State, Node: spec, Policy: policy, Build: buildLive, Exe: exe, Log: log, Window: w, Header: header, Patience: patience})
	if err != nil {
		for i := range let.Remote {
			err = errors.Join(err, let.Remote[i].Close())
		}
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var seen net.Listener
	if metrics != "" {
		if seen, err = net.Listen("tcp", metrics); err != nil {
			return errors.Join(asUsage(fmt.Errorf("--metrics: %w", err)), d.Close())
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
	log.Info("serving", "socket", filepath.Join(at.Run, api.SocketFile), "policy", s.Policy, "node", s.Nodes[0].Name, "gpus", says, "jobs", s.Jobs, "running", s.Running)
	for i := range let.Remote {
		log.Info("serving over TLS", "address", let.Remote[i].Addr().String())
	}
	err = d.Run(ctx)
	stop()
	return errors.Join(err, <-served)
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

// machine describes this machine, as it is found to be or as the text says, and says how its GPUs were found.
func machine(text string, gpus device.Options) (spec sched.NodeSpec, says string, err error) {
	if text != "" {
		if strings.HasPrefix(text, "(") {
			text = "1x" + text
		}
		nodes, err := cluster.Parse(text)
		if err == nil && len(nodes) != 1 {
			err = fmt.Errorf("%q is %d nodes, and this is one machine", text, len(nodes))
		}
		if err != nil {
			return spec, "", asUsage(fmt.Errorf("--node: %w", err))
		}
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "localhost"
		}
		nodes[0].Name = host
		return nodes[0], "declared by --node", nil
	}
	found, err := device.Open(gpus)
	if err != nil {
		return spec, "", asUsage(err)
	}
	defer func() { _ = found.Close() }() // only read
	o := node.Options{Driver: device.Guard(found, 5*time.Second)}
	o.CPU, o.Mem = cgroup.Own()
	s, err := node.Open(o)
	if err != nil {
		return spec, "", err
	}
	defer func() { _ = s.Close() }() // only read
	p := s.Sample(node.Own{}).Profile(s.ID(), time.Time{})
	spec, err = p.Spec()
	return spec, found.Says(), err
}

// parseWindow reads 10ms-50ms or 0.
func parseWindow(text string) (sched.BatchWindow, error) {
	var lo, hi time.Duration
	if text == "0" {
		return sched.BatchWindow{}, nil
	}
	bad := fmt.Errorf("--window %q: write it as 10ms-50ms, or 0 for none", text)
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return sched.BatchWindow{}, bad
	}
	var err, err2 error
	lo, err = time.ParseDuration(from)
	hi, err2 = time.ParseDuration(to)
	if err != nil || err2 != nil || lo <= 0 || hi < lo || hi > time.Minute {
		return sched.BatchWindow{}, bad
	}
	return sched.BatchWindow{Min: lo, Max: hi}, nil
}
