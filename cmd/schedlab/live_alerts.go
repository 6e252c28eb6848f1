package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/alert"
	"github.com/schedlab/schedlab/live/daemon"
)

// alerting says whom to tell what went wrong.
type alerting struct {
	command, url, on string
	timeout          time.Duration
	perMinute, queue int
}

// flags adds the flags to "live serve".
func (a *alerting) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.command, "alert-command", "", "a line for /bin/sh that is run when something went wrong, with the alert as JSON on its standard input")
	f.StringVar(&a.url, "alert-url", "", "a URL that the alert is posted to; @FILE: the URL is in the file")
	f.StringVar(&a.on, "alert-on", "all", "the events, by commas: job-failed, retries-used-up, job-lost, node-down, disk-full")
	f.DurationVar(&a.timeout, "alert-timeout", 10*time.Second, "how long one call may take")
	f.IntVar(&a.perMinute, "alert-rate", 30, "alerts that go out a minute; more are summed up in one")
	f.IntVar(&a.queue, "alert-queue", 100, "alerts that may wait for those before them; more are dropped and counted")
}

// targeted refuses what is said of alerts that nobody gets.
func (a *alerting) targeted(cmd *cobra.Command) error {
	if a.command != "" || a.url != "" {
		return nil
	}
	for _, name := range []string{"alert-on", "alert-timeout", "alert-rate", "alert-queue"} {
		if cmd.Flags().Changed(name) {
			return usagef("--%s says of what or how somebody is alerted, and not who: give --alert-command or --alert-url", name)
		}
	}
	return nil
}

// config returns what the flags say.
func (a *alerting) config() (alert.Config, error) {
	c := alert.Config{Command: a.command, URL: a.url, Timeout: a.timeout, PerMinute: a.perMinute, Queue: a.queue}
	if a.timeout <= 0 || a.perMinute <= 0 || a.queue <= 0 {
		return c, errors.New("--alert-timeout, --alert-rate and --alert-queue must be positive")
	}
	if path, ok := strings.CutPrefix(a.url, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("--alert-url: %w", err)
		}
		if c.URL = strings.TrimSpace(string(b)); c.URL == "" {
			return c, fmt.Errorf("--alert-url: %s is empty", path)
		}
	}
	var err error
	if c.Events, err = alert.ParseEvents(a.on); err != nil {
		return c, fmt.Errorf("--alert-on: %w", err)
	}
	_, err = alert.New(c)
	return c, err
}

func alertsCommand() *cobra.Command {
	var output string
	var test bool
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "Show whom the daemon alerts of what, or try it",
		Long: `Shows whether the daemon alerts somebody ("serve --alert-command" or
"--alert-url"), of which events, and what became of the alerts so far. --test
sends one, and fails where that does not go out.

An alert is one JSON object:

  {"schema":"schedlab/alert/v1","event":"retries-used-up",
   "at":"2026-01-02T03:04:05.678Z","host":"box",
   "message":"task 12/train (sweep): attempt 3 ended with 3; ...",
   "task":"12/train","job":12,"job_name":"sweep","tenant":"vision",
   "queue":"batch","uid":1000,"attempts":3,"exit_code":3,"suppressed":7}

  job-failed       it failed for good and was allowed no retry, or hit its limit
  retries-used-up  it failed for good: retries or the budget are spent
  job-lost         it failed for good: what its last attempt did is not known
  node-down        the machine is closed to new starts since a GPU is lost
  disk-full        the state cannot be written, or a log lost lines
  suppressed       so many alerts were left out: too many in a minute
  test             somebody ran this command

A command gets it on standard input, and the event in $SCHEDLAB_ALERT; what is
submitted by it raises no alerts. A URL gets it by POST and must answer 2xx;
redirects are not followed. A call that fails is made three times. Alerts that
wait are lost when the daemon is killed.`,
		Example: "  schedlab live alerts\n  schedlab live alerts --test",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			var s daemon.AlertsState
			if test {
				s, err = c.TestAlert(cmd.Context())
			} else {
				s, err = c.Alerts(cmd.Context())
			}
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, s)
				}
				if s.To == "none" {
					fmt.Fprintln(w, "nobody is alerted; see --alert-command and --alert-url of \"live serve\"")
					return nil
				}
				var on []string
				for _, e := range s.Events {
					on = append(on, string(e))
				}
				fmt.Fprintf(w, "to a %s, on %s\n", s.To, strings.Join(on, ", "))
				for _, r := range alert.Results() {
					fmt.Fprintf(w, "  %-14s %d\n", r, s.Counts[r])
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&test, "test", false, "send one alert")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}
