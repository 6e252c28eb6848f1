package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/checkpoint"
)

func notifyCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "notify checkpoint_done|not_now|restored|progress=TEXT",
		Short: "Say something of the job that this runs in",
		Long: `For jobs with --checkpoint, from a shell. checkpoint_done: the files of a
checkpoint lie in $CKPT_DIR/new; it returns when they have been taken and the
folder is empty again, while they are being stored. not_now: the job cannot save
its work now. restored: it has loaded $CKPT_DIR/last, and what it does from here
on is work. progress=TEXT: what "live show" says of it.`,
		Example: "  trap 'cp state $CKPT_DIR/new/ && schedlab live notify checkpoint_done' USR1",
		Args:    arguments("checkpoint_done|not_now|restored|progress=TEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := args[0]
			if what != checkpoint.SaysDone && what != checkpoint.SaysNotNow && what != checkpoint.SaysRestored && !strings.HasPrefix(what, checkpoint.SaysProgress) {
				return usagef("notify of what? checkpoint_done, not_now, restored or progress=TEXT, not %q", what)
			}
			j, err := checkpoint.OpenJob()
			if err != nil {
				return err
			}
			if what == checkpoint.SaysDone {
				ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
				defer cancel()
				err = j.Done(ctx)
			} else {
				err = j.Say(what)
			}
			return errors.Join(err, j.Close())
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait until a checkpoint is taken")
	return cmd
}
