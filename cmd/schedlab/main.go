// Command schedlab replays traces of GPU, batch and DAG workloads against scheduling policies and compares them. It only wires the packages
// together; see its help.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() { os.Exit(run()) }

// run returns the exit code: 0 done, 1 failed, 2 bad usage.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends it at once, whatever it does
	var prof profiles
	root := newProfiledRoot(&prof)
	helped := reportHelp(root)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	if err = errors.Join(err, *helped, prof.stop()); err == nil {
		return 0
	}
	fmt.Fprintln(shown{os.Stderr}, "schedlab:", err)
	var bad *usageError
	if errors.As(err, &bad) {
		return 2
	}
	var code *exitError
	if errors.As(err, &code) {
		return code.code
	}
	return 1
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is an error of the command line: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes a usage error.
func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// asUsage marks an error as one of the command line; nil stays nil, and so does that of a file, which the command line names rightly.
func asUsage(err error) error {
	var file *fs.PathError
	if err == nil || errors.As(err, &file) {
		return err
	}
	return &usageError{err}
}

func newRoot() *cobra.Command { return newProfiledRoot(&profiles{}) }

// newProfiledRoot makes the root command, which starts the profiles that its flags ask for. The caller stops them.
func newProfiledRoot(prof *profiles) *cobra.Command {
	root := &cobra.Command{
		Use:   "schedlab",
		Short: "A workbench for scheduling policies of GPU, batch and DAG workloads",
		Long: `schedlab replays recorded or generated workloads against scheduling policies in
a discrete-event simulator and compares waiting, utilization and throughput.

Start with:
  schedlab compare                 the built-in example, three policies
  schedlab tui                     the same to watch, two policies side by side
  schedlab compare TRACE --cluster 8x8xA100 --policies fifo,easy,critical-path`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentPreRunE = func(_ *cobra.Command, args []string) error { return prof.start(args) }
	prof.add(root)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(compareCommand(), runCommand(), traceCommand(), policyCommand(), analyzeCommand(), replayCommand(), verifyCommand(), mergeCommand(), tuiCommand(), liveCommand(), scenarioCommand(), completionCommand(), failuresTopic(), modelsTopic())
	addCompletions(root)
	narrow(root)
	strictHelp(root)
	markUsage(root)
	return root
}

// flagError says of a value that a flag cannot have what it must be, not how it was parsed.
func flagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	var none *pflag.NotExistError
	if errors.As(err, &none) && none.GetSpecifiedShortnames() == "" {
		return usagef("%w%s", err, meantFlag(cmd, none.GetSpecifiedName()))
	}
	if !errors.As(err, &bad) {
		return asUsage(err)
	}
	flag, must := bad.GetFlag(), ""
	switch flag.Value.Type() {
	case "int", "int32", "int64":
		must = "a whole number"
	case "uint", "uint32", "uint64":
		must = "a whole number from 0 on"
	case "float64":
		must = "a number"
	case "bool":
		must = "true or false"
	case "duration":
		must = "a duration such as 1h30m"
	default:
		if bad.GetValue() == "" {
			return usagef("--%s: %w", flag.Name, bad.Unwrap())
		}
		return usagef("--%s: %w, not %q", flag.Name, bad.Unwrap(), bad.GetValue())
	}
	if errors.Is(err, strconv.ErrRange) {
		return usagef("--%s: %s is too large", flag.Name, bad.GetValue())
	}
	return usagef("--%s must be %s, not %q", flag.Name, must, bad.GetValue())
}

// version says which program this is, for reports of what is wrong with it.
func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("%s, %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// reportHelp has the error of writing a help text stand where it points to: cobra prints it, and counts the command as done.
func reportHelp(root *cobra.Command) *error {
	var failed error
	write := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		out := cmd.OutOrStdout()
		var text bytes.Buffer
		cmd.SetOut(&text)
		write(cmd, args)
		cmd.SetOut(out)
		_, failed = out.Write(text.Bytes())
	})
	return &failed
}

// strictHelp has "help" refuse what is no command. By itself it shows the help of what comes before.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		panic(err) // it has just been made
	}
	show := help.Run
	help.Run = nil
	help.RunE = func(cmd *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		switch {
		case err != nil && len(args) > 0:
			return usagef("unknown command %q for %q%s", args[0], root.CommandPath(), meantCommand(root, args[0]))
		case len(rest) > 0:
			return usagef("unknown command %q for %q%s", rest[0], about.CommandPath(), meantCommand(about, rest[0]))
		}
		show(cmd, args)
		return nil
	}
}

// markUsage makes wrong numbers of arguments and unknown subcommands usage errors.
func markUsage(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() { // it would show its help whatever stands behind it
		c.Args = cobra.NoArgs
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if args := c.Args; args != nil {
		c.Args = func(cmd *cobra.Command, a []string) error {
			err := args(cmd, a)
			if err != nil && c.HasSubCommands() && len(a) > 0 { // the error is of the word that is none of them
				err = fmt.Errorf("%w%s", err, meantCommand(c, a[0]))
			}
			return asUsage(err)
		}
	}
	for _, sub := range c.Commands() {
		markUsage(sub)
	}
}
