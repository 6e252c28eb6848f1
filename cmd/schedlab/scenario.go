package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/benchmarks/scenarios"
)

func scenarioCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scenario",
		Short: "Scenarios: a cluster, a workload and what happens, in one file",
		Long: `A scenario is a YAML file, version 1: cluster or nodes, workload (mix, gen or
trace), policies, seeds, and the models under simulation. Those that come with
schedlab have names. compare, run and tui take them with --scenario NAME|FILE
(run the first policy and seed, tui two policies); what other flags say goes
before what the scenario says, also where they say none: --checkpoint ''. A file
that it names (a trace, a cluster, one of a policy's parameter) lies beside it,
or where the command runs.`,
		Example: `  schedlab scenario list
  schedlab scenario show open-autoglm > mine.yaml
  schedlab scenario run mine.yaml`,
	}
	cmd.AddCommand(scenarioListCommand(), scenarioShowCommand(), scenarioRunCommand())
	return cmd
}

func scenarioListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the scenarios that come with schedlab", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := scenarios.All()
			if err != nil {
				return err
			}
			name := 0
			for _, s := range all {
				name = max(name, len(s.Name)+2)
			}
			return toStdout(cmd, func(w io.Writer) error {
				for _, s := range all {
					fmt.Fprintf(w, "%-*s%s", name, s.Name, indent(wrap(s.Summary(), 80-name), name)[name:])
				}
				return nil
			})
		},
	}
}

func scenarioShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME|FILE", Short: "Print a scenario, checked, as its file says it", Args: arguments("NAME|FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openScenario(args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(s.Text)
			return err
		},
	}
}

// openScenario opens a scenario; a name that there is not is a usage error, and what its file says of policies and seeds is not.
func openScenario(name string) (*scenarios.Scenario, error) {
	s, err := scenarios.Open(name)
	if errors.Is(err, scenarios.ErrUnknown) {
		return nil, asUsage(err)
	}
	if err != nil {
		return nil, err
	}
	if len(s.Policies) > 0 {
		if _, err := parsePolicies(strings.Join(s.Policies, ",")); err != nil {
			return nil, fmt.Errorf("%s: policies: %v", s.Source, err)
		}
	}
	if s.Seeds != "" {
		if _, err := parseSeeds(s.Seeds); err != nil {
			return nil, fmt.Errorf("%s: %s", s.Source, strings.TrimPrefix(err.Error(), "--"))
		}
	}
	return s, nil
}

// scenarioRunCommand is compare --scenario.
func scenarioRunCommand() *cobra.Command {
	cmd := compareCommand()
	run := cmd.RunE
	cmd.Use, cmd.Short = "run NAME|FILE", "Compare the scenario's policies on it: compare --scenario"
	cmd.Long = "The same as schedlab compare --scenario NAME|FILE, with its flags."
	cmd.Example = "  schedlab scenario run open-autoglm --seeds 31-100"
	cmd.Args = arguments("NAME|FILE")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f := cmd.Flags().Lookup("scenario"); f.Changed {
			return usagef("scenario run takes its scenario without a flag: schedlab scenario run %s", strings.TrimSpace(f.Value.String()))
		}
		if err := cmd.Flags().Set("scenario", args[0]); err != nil {
			return err
		}
		return run(cmd, nil)
	}
	return cmd
}
