package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/folders"
	"github.com/schedlab/schedlab/policies"
)

func liveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "live",
		Short: "Run real jobs on this machine, scheduled by the same policies",
		Long: `Run real jobs on this machine, scheduled by the same policies that the simulator
compares. "live serve" is the daemon; the other commands talk to it over a unix
socket. All state lies under $SCHEDLAB_HOME where it is set, else in the folders
of the XDG rules (~/.local/state/schedlab). With SCHEDLAB_ADDRESS=host:port and
SCHEDLAB_TOKEN_FILE they talk to a daemon elsewhere, over TLS ("serve
--listen"); SCHEDLAB_TLS_CA names the certificate that its own is signed by.

Jobs are selected by number: 12, 3-8,12, a task as 12/train, last, all.`,
		Example: `  schedlab live serve --policy critical-path &
  schedlab live submit --gpus 1 --estimate 10m -- python train.py
  schedlab live list
  schedlab live logs -f last
  schedlab live ui`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	narrow(cmd)
	cmd.AddCommand(
		serveCommand(), submitCommand(), listCommand(), showCommand(), explainCommand(), logsCommand(), waitCommand(), statusCommand(),
		actCommand("cancel", "Stop jobs and drop what comes after them", `Cancels tasks: what runs is stopped (SIGTERM, then SIGKILL after its grace),
what waits is dropped, and so is all that comes after. It returns when no
process of them is left. A task that is over stays as it is. A job that recurs
does so all the same unless --recurrence ends that.`),
		actCommand("hold", "Keep jobs from starting", `Holds tasks: they are not started until they are released. What runs runs on.`),
		actCommand("release", "Let held jobs start", `Lets held tasks start again.`),
		actCommand("preempt", "Stop running jobs and put them back in the queue", `Stops running tasks (SIGTERM, then SIGKILL after their grace) and puts them back
in the queue; the policy starts them again. Tasks with checkpoints are asked for
one first, and have their grace for it. It returns when they have stopped.`),
		retryCommand(), updateCommand(), drainCommand(true), drainCommand(false), cleanCommand(), quotaCommand(), queuesCommand(), alertsCommand(), eventsCommand(), livePolicyCommand(), liveExportCommand(), liveJournalCommand(),
		liveUICommand(), liveNodesCommand(), liveDoctorCommand(), notifyCommand(),
	)
	return cmd
}

// What tells the client of a daemon on another machine.
const (
	addressEnv = "SCHEDLAB_ADDRESS"    // host:port
	tokenEnv   = "SCHEDLAB_TOKEN_FILE" // of the daemon's --token-file
	caEnv      = "SCHEDLAB_TLS_CA"     // what the daemon's certificate is signed by, where the system does not know it
)

// client returns a client of the daemon at $SCHEDLAB_ADDRESS, else of this $SCHEDLAB_HOME, else of this user. It says on standard error why an order waits.
func client() (*api.Client, error) {
	c, err := silentClient()
	if err == nil {
		c.Waits = func(problem string) {
			fmt.Fprintf(shown{os.Stderr}, "schedlab: this waits: %s; the daemon tries again\n", problem)
		}
	}
	return c, err
}

// silentClient is client for who has the terminal.
func silentClient() (*api.Client, error) {
	if address := os.Getenv(addressEnv); address != "" {
		token := os.Getenv(tokenEnv)
		if token == "" {
			return nil, usagef("$%s is set, and $%s is not: the daemon's token is wanted", addressEnv, tokenEnv)
		}
		c, err := api.NewRemote(address, token, os.Getenv(caEnv))
		if err != nil {
			return nil, asUsage(err)
		}
		return c, nil
	}
	f, err := folders.Find(os.Getenv)
	if err != nil {
		return nil, err
	}
	return api.NewClient(f.Run), nil
}

// refused makes a refusal of what was asked a usage error.
func refused(err error) error {
	var r *api.Refusal
	if errors.As(err, &r) && r.Bad() {
		return asUsage(err)
	}
	return err
}

// rooted has the files that a policy names here found by whatever daemon builds it again, wherever that runs.
func rooted(policy string) string {
	spec, err := policies.Parse(policy)
	if err != nil {
		return policy // who builds it says what is wrong
	}
	was := spec.String()
	spec.MapFiles(func(path string) string {
		if at, err := filepath.Abs(path); err == nil {
			if _, err := os.Stat(at); err == nil {
				return at
			}
		}
		return path
	})
	if _, err := policies.Parse(spec.String()); err != nil || spec.String() == was { // a folder's name may have signs that no parameter can have
		return policy
	}
	return spec.String()
}
