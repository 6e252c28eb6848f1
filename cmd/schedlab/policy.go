package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
)

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "List and explain the scheduling policies",
		Long: `List and explain the scheduling policies. A policy is named as
  name{key=value,...}+placement
with the brackets and the placement left out for the defaults, as in fifo,
rr{quantum=30s} or sjf{skip=false}+best-fit. Quote brackets from the shell.
A priority of your own is written
  expr: wait/estimate + 2*critical
(larger runs first); "schedlab policy show expr" lists what it may use.`,
		Example: `  schedlab policy list
  schedlab policy show easy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	narrow(cmd)
	cmd.AddCommand(policyListCommand(), policyShowCommand())
	return cmd
}

// policyJSON is a policy for programs.
type policyJSON struct {
	Name       string      `json:"name"`
	Canonical  string      `json:"canonical,omitempty"` // show: the policy as it prints and parses back
	Summary    string      `json:"summary"`
	About      string      `json:"about"`
	Source     string      `json:"source"`
	Parameters []paramJSON `json:"parameters"`
	Placements []string    `json:"placements"`          // what may follow a +; empty: it chooses its nodes itself
	Starves    bool        `json:"starves"`             // it may leave a task waiting for ever; about says which
	Variables  []paramJSON `json:"variables,omitempty"` // expr: what an expression may name
	Order      string      `json:"order,omitempty"`     // expr: when the order of its tasks changes
}

type paramJSON struct {
	Name    string   `json:"name"`
	Default string   `json:"default"`
	Value   string   `json:"value,omitempty"` // show: as given
	About   string   `json:"about"`
	Choices []string `json:"choices,omitempty"`

	example string
}

func describe(e *policies.Entry, spec *policies.Spec) policyJSON {
	p := policyJSON{Name: e.Name, Summary: e.Summary, About: e.About, Source: e.Source, Parameters: []paramJSON{}, Placements: []string{}, Starves: e.Starves}
	given := map[string]string{}
	if spec != nil {
		p.Canonical = spec.String()
		for _, kv := range spec.Set {
			given[kv.Key] = kv.Value
		}
		if spec.Estimates != "" {
			given[policies.Estimates] = spec.Estimates
		}
	}
	list := append(append([]policies.Param{}, e.Params...), policies.Param{
		Name: policies.Estimates, Default: "as --estimates says",
		About: "run times that the policy sees: trace, perfect, or factor:x (x times the true ones)",
	})
	for _, q := range list {
		p.Parameters = append(p.Parameters, paramJSON{q.Name, q.Default, given[q.Name], q.About, q.Choices, q.Example})
	}
	if e.Placed {
		p.Placements = policies.PlacementNames()
	}
	if e.Name == "expr" {
		for _, v := range policies.ExpressionVariables() {
			p.Variables = append(p.Variables, paramJSON{Name: v.Name, About: v.About})
		}
	}
	return p
}

func policyListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the policies",
		Long:    "List the policies, each in a sentence.",
		Example: "  schedlab policy list\n  schedlab policy list -o json | jq -r '.[].name'",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					list := []policyJSON{}
					for i := range policies.Catalogue {
						list = append(list, describe(&policies.Catalogue[i], nil))
					}
					list = append(list, describe(policies.Find("expr"), nil))
					return writeJSON(w, list)
				}
				wide := 0
				for _, name := range append(policies.Names(), "expr: ...") {
					wide = max(wide, len(name)+2)
				}
				for _, e := range policies.Catalogue {
					entry(w, e.Name, wide, e.Summary)
				}
				entry(w, "expr: ...", wide, policies.Find("expr").Summary)
				_, err := fmt.Fprintf(w, "\n%s\n\"schedlab policy show NAME\" explains one with its parameters.\n",
					wrap("Placements (policy+placement): "+strings.Join(policies.PlacementNames(), ", ")+".", 79))
				return err
			})
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// entry writes a word and its explanation beside it, wrapped at 80 columns. Errors show at the flush.
func entry(w io.Writer, key string, at int, text string) {
	text = indent(wrap(text, 79-at), at)
	if len(key) < at {
		text = text[len(key):]
	} else {
		text = "\n" + text
	}
	_, _ = io.WriteString(w, key+text)
}

func policyShowCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Explain a policy or a placement and its parameters",
		Long: `Explain a policy: how it decides, what it does not promise, where it comes from,
its parameters with their defaults, and its placements. NAME may carry
parameters and a placement; they are checked, and the canonical form is printed.
+NAME explains a placement.`,
		Example: `  schedlab policy show critical-path
  schedlab policy show 'rr{quantum=30s}+best-fit'
  schedlab policy show +fgd`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e := policies.FindPlacement(strings.TrimPrefix(strings.TrimSpace(args[0]), "+")); e != nil {
				return toStdout(cmd, func(w io.Writer) error {
					p := describePlacement(e)
					if output == "json" {
						return writeJSON(w, p)
					}
					return p.text(w)
				})
			}
			spec, err := policies.Parse(args[0])
			if strings.TrimSpace(args[0]) == "expr" {
				spec, err = policies.Spec{Name: "expr", Expr: "wait/estimate + 2*critical"}, nil
			}
			if err == nil && spec.Estimates != "" {
				if _, err = experiment.ParseEstimates(spec.Estimates); err != nil {
					err = fmt.Errorf("policy %q: %w", args[0], err)
				}
			}
			var built sched.Policy
			if err == nil {
				built, err = policies.Build(spec, policies.Hints{})
			}
			if err != nil {
				return asUsage(err)
			}
			p := describe(policies.Find(spec.Name), &spec)
			if e, ok := built.(*policies.Expression); ok {
				p.Order = e.Changes()
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, p)
				}
				return p.text(w)
			})
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// placementJSON is a placement for programs.
type placementJSON struct {
	Name       string      `json:"name"`
	About      string      `json:"about"`
	Source     string      `json:"source"`
	Parameters []paramJSON `json:"parameters"`
}

func describePlacement(e *policies.PlacementEntry) placementJSON {
	p := placementJSON{e.Name, e.About, e.Source, []paramJSON{}}
	for _, q := range e.Params {
		p.Parameters = append(p.Parameters, paramJSON{Name: q.Name, Default: q.Default, About: q.About, Choices: q.Choices, example: q.Example})
	}
	return p
}

func (p *placementJSON) text(w io.Writer) error {
	fmt.Fprintf(w, "+%s\n\n%s.\n\n", p.Name, wrap(strings.ToUpper(p.About[:1])+p.About[1:], 78))
	entry(w, "Source:", 9, p.Source+".")
	example := ""
	if len(p.Parameters) > 0 {
		fmt.Fprint(w, "\nParameters:\n")
		wide := 0
		for _, q := range p.Parameters {
			wide = max(wide, len(q.Name)+4)
		}
		for _, q := range p.Parameters {
			q.line(w, wide)
		}
		example = "{" + p.Parameters[0].setting() + "}"
	}
	_, err := fmt.Fprintf(w, "\nExample:\n  schedlab compare --policies 'fifo,fifo+%s%s'\n", p.Name, example)
	return err
}

// line writes what a parameter means.
func (q *paramJSON) line(w io.Writer, wide int) {
	about := q.About
	if q.Choices != nil {
		about += " (" + strings.Join(q.Choices, ", ") + ")"
	}
	value := "default " + q.Default
	if q.Name == policies.Estimates {
		value = "default: " + q.Default
	}
	if q.Value != "" {
		value = q.Value + " here; " + value
	}
	entry(w, "  "+q.Name, wide, about+"; "+value)
}

func (p *policyJSON) text(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n%s\n\n%s\n\n", p.Canonical, wrap(p.Summary, 79), wrap(p.About, 79))
	if p.Order != "" {
		fmt.Fprintf(w, "%s\n\n", wrap(p.Order, 79))
	}
	entry(w, "Source:", 9, p.Source)
	fmt.Fprint(w, "\nParameters:\n")
	wide := 0
	for _, q := range p.Parameters {
		wide = max(wide, len(q.Name)+4)
	}
	example := ""
	for _, q := range p.Parameters {
		q.line(w, wide)
		if example == "" {
			example = q.setting()
		}
	}
	if len(p.Variables) > 0 {
		fmt.Fprint(w, "\nVariables:\n")
		for _, v := range p.Variables {
			wide = max(wide, len(v.Name)+4)
		}
		for _, v := range p.Variables {
			entry(w, "  "+v.Name, wide, v.About)
		}
	}
	if len(p.Placements) == 0 {
		fmt.Fprint(w, "\nIt chooses its nodes itself and takes no +placement.\n")
	} else {
		fmt.Fprintf(w, "\nPlacements:\n%s", indent(wrap("+"+strings.Join(p.Placements, ", +")+" (`schedlab policy show +"+p.Placements[0]+"` explains one)", 77), 2))
	}
	example = p.Name + "{" + example + "}"
	if p.Canonical != p.Name {
		example = p.Canonical
	}
	_, err := fmt.Fprintf(w, "\nExample:\n  schedlab compare --policies '%s,%s'\n", map[bool]string{false: "fifo", true: "sjf"}[p.Name == "fifo"], example)
	return err
}

// setting sets the parameter to something else than its default.
func (q *paramJSON) setting() string {
	v := "0.5"
	switch {
	case q.example != "":
		v = q.example
	case q.Choices != nil:
		v = q.Choices[len(q.Choices)-1]
	case q.Default == "true":
		v = "false"
	case q.Default == "false":
		v = "true"
	case q.Default == "auto":
		v = "30s"
	case q.Name == policies.Estimates:
		v = "perfect"
	}
	return q.Name + "=" + v
}
