package main

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

func traceClusterCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "cluster SPEC",
		Short: "Say what a cluster description means",
		Long: `Say what a cluster description means: a table of its kinds of nodes, the node
profiles in JSON (an array, as live mode and --cluster read it), or YAML.

SPEC is a file (YAML, openb node list, Muri or Tiresias cluster file, node
profiles in JSON; - is standard input) or a shorthand:
  pool:64cpu,16gpu            one node that holds everything
  8x8xA100                    8 nodes of 8 A100
  4x16cpu                     4 nodes of 16 CPUs
  1000x(64cpu,512gb,8xH100)   1000 nodes of 64 CPUs, 512 GiB of RAM and 8 H100
  2x(8xA100:80gb)+6x8xV100    two kinds; an A100 has 80 GiB of memory
  4x(8xA100,speed=2)+1x(8cpu,node-type=edge)
                              a faster kind; any other key=value is a label
What is not stated (CPU, RAM, GPU memory) is not modelled and never runs out.`,
		Example: `  schedlab trace cluster "2x(8xA100:80gb)+6x8xV100"
  schedlab trace cluster openb_node_list_gpu_node.csv
  schedlab trace cluster 4x16cpu -o yaml > cluster.yaml`,
		Args: arguments("SPEC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var nodes []sched.NodeSpec
			var profiles []cluster.Profile
			err := await(cmd.Context(), func() (err error) {
				stdin := args[0] == "-"
				switch {
				case output == "json" && stdin:
					profiles, err = cluster.ReadProfiles(cmd.InOrStdin(), "stdin")
				case output == "json":
					profiles, err = cluster.ParseProfiles(args[0])
				case stdin:
					nodes, err = cluster.Read(cmd.InOrStdin(), "stdin")
				default:
					nodes, err = cluster.Parse(args[0])
				}
				return err
			})
			if err != nil {
				if args[0] == "-" {
					return err
				}
				return asUsageUnlessFile(err, args[0])
			}
			return toStdout(cmd, func(w io.Writer) error {
				switch output {
				case "json":
					return writeJSON(w, profiles)
				case "yaml":
					return cluster.WriteYAML(w, nodes)
				}
				return clusterTable(w, nodes)
			})
		},
	}
	outputFlag(cmd, &output, "table", "json", "yaml")
	return cmd
}

// kind is a number of nodes that differ in nothing but their names.
type kind struct {
	count       int
	first, last string
	spec        sched.NodeSpec
}

// clusterTable writes one line for each kind of node, in the order of the first of the kind.
func clusterTable(w io.Writer, nodes []sched.NodeSpec) error {
	var kinds []kind
	at := map[string]int{} // by all that can be compared; equals are then compared in full
	for i := range nodes {
		n := nodes[i]
		n.Name = ""
		key := fmt.Sprintf("%+v", n)
		if k, ok := at[key]; ok && reflect.DeepEqual(kinds[k].spec, n) {
			kinds[k].count++
			kinds[k].last = nodes[i].Name
			continue
		}
		at[key] = len(kinds)
		kinds = append(kinds, kind{1, nodes[i].Name, nodes[i].Name, n})
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", cluster.Format(nodes)); err != nil {
		return err
	}
	type column struct {
		name string
		cell func(k *kind) string
		must bool
	}
	amount := func(v int64, unit float64) string {
		if v >= sched.Unlimited {
			return "-"
		}
		return strconv.FormatFloat(float64(v)/unit, 'f', -1, 64)
	}
	positive := func(v float64) string {
		if v == 0 {
			return "-"
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	columns := []column{
		{"nodes", func(k *kind) string { return strconv.Itoa(k.count) }, true},
		{"GPUs", func(k *kind) string { return positive(float64(k.spec.GPUs)) }, false},
		{"type", func(k *kind) string {
			if k.spec.GPUType == "" {
				return "-"
			}
			return k.spec.GPUType
		}, false},
		{"GPU GiB", func(k *kind) string {
			if k.spec.GPUs == 0 {
				return "-"
			}
			return amount(k.spec.VRAM, cluster.GB)
		}, false},
		{"CPUs", func(k *kind) string { return amount(k.spec.CPU, 1000) }, false},
		{"GiB", func(k *kind) string { return amount(k.spec.Mem, cluster.GB) }, false},
		{"speed", func(k *kind) string {
			if k.spec.Reference() {
				return "1"
			}
			return positive(float64(k.spec.SpeedMilli) / 1000)
		}, false},
		{"disk ms", func(k *kind) string { return positive(float64(k.spec.StorageLatency) / 1e6) }, false},
		{"disk MB/s", func(k *kind) string { return positive(k.spec.StorageMBps) }, false},
		{"net Mb/s", func(k *kind) string { return positive(k.spec.NetworkMbps) }, false},
		{"names", func(k *kind) string {
			if k.count == 1 {
				return k.first
			}
			return k.first + " .. " + k.last
		}, true},
		{"labels and taints", func(k *kind) string {
			var s []string
			for _, l := range k.spec.Labels {
				s = append(s, l.Key+"="+l.Value)
			}
			for _, t := range k.spec.Taints {
				s = append(s, strings.TrimSuffix(t.Key+"="+t.Value, "=")+":"+t.Effect)
			}
			if s == nil {
				return "-"
			}
			return strings.Join(s, " ")
		}, false},
	}
	var shown []column
	for _, c := range columns {
		empty := !c.must
		for i := range kinds {
			v := c.cell(&kinds[i])
			empty = empty && (v == "-" || c.name == "speed" && v == "1")
		}
		if !empty {
			shown = append(shown, c)
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, c := range shown {
		fmt.Fprint(tw, c.name, "\t\n"[min(1, (i+1)/len(shown)):][:1])
	}
	for k := range kinds {
		for i, c := range shown {
			fmt.Fprint(tw, c.cell(&kinds[k]), "\t\n"[min(1, (i+1)/len(shown)):][:1])
		}
	}
	return tw.Flush()
}
