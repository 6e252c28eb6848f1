package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/policies"
)

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print what makes a shell complete commands, flags and names",
		Long: `Prints a script that makes a shell complete commands and flags, and names: jobs,
queues, tenants and states of the running daemon, policies, and the words that a
flag takes.

  bash        source <(schedlab completion bash)
              for good: in /etc/bash_completion.d/schedlab
  zsh         source <(schedlab completion zsh)
              for good: in "${fpath[1]}/_schedlab"
  fish        schedlab completion fish | source
              for good: in ~/.config/fish/completions/schedlab.fish
  powershell  schedlab completion powershell | Out-String | Invoke-Expression`,
		Example:   "  source <(schedlab completion bash)",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			return toStdout(cmd, func(w io.Writer) error {
				switch args[0] {
				case "bash":
					return root.GenBashCompletionV2(w, true)
				case "zsh":
					return root.GenZshCompletion(w)
				case "fish":
					return root.GenFishCompletion(w, true)
				}
				return root.GenPowerShellCompletionWithDesc(w)
			})
		},
	}
}

// askTime bounds how long a completion waits for the daemon.
const askTime = time.Second

// ask asks the daemon for what completes a word; nothing where none answers.
func ask(f func(ctx context.Context, c *api.Client) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		words, _ := f(ctx, c)
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// shownJobs bounds the jobs that are completed: the newest.
const shownJobs = 100

// jobsIn completes jobs with a task in one of the states, the newest first, with what they are.
func jobsIn(states string, tasks bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		words, how := ask(func(ctx context.Context, c *api.Client) ([]string, error) {
			list, _, err := c.Tasks(ctx, "", states, shownJobs)
			return jobWords(list, tasks || strings.Contains(word, "/")), err
		})(cmd, args, word)
		// What stands before the last comma stays.
		if i := strings.LastIndexByte(word, ','); i >= 0 {
			for k := range words {
				words[k] = word[:i+1] + words[k]
			}
		}
		return words, how | cobra.ShellCompDirectiveKeepOrder
	}
}

// jobWords returns jobs, or tasks, as the commands take them, each with its name and state behind a tab.
func jobWords(list []daemon.Task, tasks bool) []string {
	var out []string
	seen := map[int32]bool{}
	for _, v := range slices.Backward(list) {
		if id := strconv.Itoa(int(v.Job)); !tasks && v.ID != id {
			if !seen[v.Job] {
				out = append(out, id+"\t"+v.JobName)
			}
			seen[v.Job] = true
			continue
		}
		out = append(out, v.ID+"\t"+v.JobName+" "+v.State)
	}
	if len(out) > 0 {
		out = append(out, "last\tthe newest job", "all")
	}
	return out
}

func queueWords(ctx context.Context, c *api.Client) ([]string, error) {
	s, err := c.Queues(ctx)
	var out []string
	for _, q := range s.Queues {
		if q.Name != "" {
			out = append(out, fmt.Sprintf("%s\t%d ready, %d running", q.Name, q.Ready, q.Running))
		}
	}
	return out, err
}

func tenantWords(ctx context.Context, c *api.Client) ([]string, error) {
	list, _, err := c.Tasks(ctx, "", "", 1000)
	quotas, err2 := c.Quotas(ctx)
	if err == nil {
		err = err2
	}
	var out []string
	for i := range list {
		out = append(out, list[i].Tenant)
	}
	for i := range quotas {
		out = append(out, quotas[i].Tenant)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return s == "" }), err
}

func nodeWords(ctx context.Context, c *api.Client) ([]string, error) {
	s, err := c.Status(ctx)
	var out []string
	for _, n := range s.Nodes {
		out = append(out, n.Name)
	}
	return out, err
}

// policyWords completes the name of a policy or, behind a +, of a placement, with list the last of several by commas.
func policyWords(list bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		before := ""
		if i := strings.LastIndexByte(word, ','); list && i >= 0 {
			before = word[:i+1]
		}
		var out []string
		how := cobra.ShellCompDirectiveNoFileComp
		switch name, _, placed := strings.Cut(word[len(before):], "+"); {
		case !list && len(args) > 0:
			return nil, how
		case placed:
			for _, place := range policies.PlacementNames() {
				out = append(out, before+name+"+"+place)
			}
		default:
			for _, name := range policies.Names() {
				out = append(out, before+name+"\t"+policies.Find(name).Summary)
			}
		}
		if list {
			how |= cobra.ShellCompDirectiveNoSpace
		}
		return out, how
	}
}

// oneOf completes one of some words, with list the last of several by commas.
func oneOf(all []string, list bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		before, how := "", cobra.ShellCompDirectiveNoFileComp
		if i := strings.LastIndexByte(word, ','); list && i >= 0 {
			before = word[:i+1]
		}
		if list {
			how |= cobra.ShellCompDirectiveNoSpace
		}
		out := make([]string, len(all))
		for i := range all {
			out[i] = before + all[i]
		}
		return out, how
	}
}

// addCompletions says of all commands below root what completes their arguments and flags.
func addCompletions(root *cobra.Command) {
	args := map[string]cobra.CompletionFunc{
		"live list": jobsIn("", false), "live show": jobsIn("", false), "live explain": jobsIn("", false), "live logs": jobsIn("", true), "live wait": jobsIn("open", false),
		"live cancel": jobsIn("open", false), "live hold": jobsIn("open", false), "live release": jobsIn("held", false), "live preempt": jobsIn("running", false),
		"live retry": jobsIn("failed,dropped", false), "live update": jobsIn("open", false), "live export": jobsIn("done", false),
		"live drain": ask(nodeWords), "live undrain": ask(nodeWords), "live policy set": policyWords(false), "policy show": policyWords(false),
		"live notify": oneOf([]string{"checkpoint_done", "not_now", "restored", "progress="}, false),
	}
	flags := map[string]cobra.CompletionFunc{
		"live serve --policy": policyWords(false), "run --policy": policyWords(false), "compare --policies": policyWords(true),
		"live submit --queue": ask(queueWords), "live submit --tenant": ask(tenantWords), "live submit --to": jobsIn("", false), "live quota --queue": ask(queueWords),
		"live quota --tenant": ask(tenantWords), "live list --state": oneOf(daemon.States(), true), "live submit --checkpoint": oneOf([]string{"5s", "young-daly", "off"}, false),
		"live serve --alert-on": oneOf([]string{"all", "job-failed", "retries-used-up", "job-lost", "node-down", "disk-full"}, true),
		"live clean --older":    oneOf([]string{"1d", "7d", "30d"}, false), "live serve --keep-logs": oneOf([]string{"7d", "30d", "365d"}, false),
		"live serve --gpus": oneOf([]string{"auto", "nvml", "sysfs", "none"}, false),
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		path := strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
		if f := args[path]; f != nil {
			c.ValidArgsFunction = f
		}
		c.Flags().VisitAll(func(flag *pflag.Flag) {
			f := flags[path+" --"+flag.Name]
			if v, ok := flag.Value.(*choice); ok && f == nil {
				f = oneOf(v.words, false)
			}
			if f != nil {
				_ = c.RegisterFlagCompletionFunc(flag.Name, f) // it fails where there is one already
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
