package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/folders"
)

func liveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "live",
		Short: "Run real jobs on this machine, scheduled by the same policies",
		Long: `Run real jobs on this machine, scheduled by the same policies that the simulator
compares. "live serve" is the daemon; the other commands talk to it over a unix
socket. All state lies under $SCHEDLAB_HOME where it is set, else in the folders
of the XDG rules (~/.local/state/schedlab).

Jobs are selected by number: 12, 3-8,12, a task as 12/train, last, all.`,
		Example: `  schedlab live serve --policy critical-path &
  schedlab live submit --gpus 1 --estimate 10m -- python train.py
  schedlab live list
  schedlab live logs -f last`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	narrow(cmd)
	cmd.AddCommand(
		serveCommand(), submitCommand(), listCommand(), showCommand(), explainCommand(), logsCommand(), waitCommand(), statusCommand(),
		actCommand("cancel", "Stop jobs and drop what comes after them", `Cancels tasks: what runs is stopped (SIGTERM, then SIGKILL after its grace),
what waits is dropped, and so is all that comes after. It returns when no
process of them is left. A task that is over stays as it is.`),
		actCommand("hold", "Keep jobs from starting", `Holds tasks: they are not started until they are released. What runs runs on.`),
		actCommand("release", "Let held jobs start", `Lets held tasks start again.`),
		actCommand("preempt", "Stop running jobs and put them back in the queue", `Stops running tasks (SIGTERM, then SIGKILL after their grace) and puts them back
in the queue; the policy starts them again. Tasks with checkpoints are asked for
one first, and have their grace for it. It returns when they have stopped.`),
		retryCommand(), updateCommand(), drainCommand(true), drainCommand(false), quotaCommand(), eventsCommand(), livePolicyCommand(), liveExportCommand(), liveJournalCommand(),
		liveNodesCommand(), liveDoctorCommand(), notifyCommand(),
	)
	return cmd
}

// client returns a client of the daemon of this user, or of this $SCHEDLAB_HOME.
func client() (*api.Client, error) {
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
