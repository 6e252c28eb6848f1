package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/pprof/profile"
)

// hot is the profile by which the go command compiles schedlab, and so what is measured here: https://go.dev/doc/pgo. It finds it beside the main package; this
// program has none of its own.
const hot = "cmd/schedlab/default.pgo"

// profiledFor is how long, in ns of user CPU, a child with a profile works at least: some two thousand samples where the kernel takes 250 a second.
const profiledFor = 8e9

const module = "github.com/schedlab/schedlab"

// moduleRoot is the folder of the module's sources.
func moduleRoot() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	return strings.TrimSpace(string(root)), err
}

// compile builds a main package of the module as users get schedlab: optimized for what is hot.
func compile(to, pkg string, flags ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-o", to, "-pgo=" + filepath.Join(root, filepath.FromSlash(hot))}
	cmd := exec.Command("go", append(append(args, flags...), module+"/"+pkg)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build of %s: %w", pkg, err)
	}
	return nil
}

// unbound is what a policy without a budget weighs in the profile, where the others weigh 1: few planners with one hot loop each would else decide for all.
const unbound = 0.1

// guide profiles what the table measures and writes the sum to the file.
func guide(h *house, to string) error {
	var all []*profile.Profile
	file := filepath.Join(h.dir, "cpu.prof")
	take := func(what string, weight float64, err error) error {
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		p, err := profile.ParseData(data)
		if err != nil {
			return err
		}
		if err := weigh(p, weight); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		all = append(all, p)
		fmt.Fprintln(os.Stderr, what)
		return nil
	}
	done := map[string]bool{}
	for _, r := range table {
		if what := r.policy + " of " + r.load; r.policy != "" && !done[what] {
			done[what] = true
			_, err := h.child("simulate", min(r.tasks, million), "-policy", r.policy, "-load", r.load, "-cpuprofile", file)
			weight := 1.0
			if slow[r.policy].why != "" {
				weight = unbound
			}
			if err := take(what, weight, err); err != nil {
				return err
			}
		}
	}
	for _, format := range []string{"csv", "parquet", "swf"} {
		for _, named := range []bool{false, true} {
			if named && format == "swf" { // it has numbers only
				continue
			}
			trace, err := h.file(format, named, million)
			if err != nil {
				return err
			}
			_, err = h.child("read", million, "-file", trace, "-cpuprofile", file)
			if err := take(fmt.Sprintf("%s, named %v", format, named), 1, err); err != nil {
				return err
			}
		}
	}
	trace, err := h.file("parquet", false, million)
	if err != nil {
		return err
	}
	for _, flag := range []string{"--journal", "--tasks-csv"} {
		out := filepath.Join(h.dir, "written")
		for range 4 { // a run is short, and writing a part of it
			_, err := h.run(1, false, h.schedlab, "run", trace, "--cluster", diurnalCluster, "--policy", "fifo", "-o", "json", flag, out, "--cpuprofile", file)
			if err := take(flag, 1, errors.Join(err, os.RemoveAll(out))); err != nil {
				return err
			}
		}
	}
	sum, err := profile.Merge(all)
	if err != nil {
		return err
	}
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(sum.Write(w), w.Close())
}

// weigh gives a profile a weight, and takes from it what only the machine knows that it was measured on.
func weigh(p *profile.Profile, weight float64) error {
	index, err := p.SampleIndexByName("cpu")
	if err != nil {
		return err
	}
	total := int64(0)
	for _, s := range p.Sample {
		total += s.Value[index]
	}
	if total == 0 {
		return errors.New("a profile without samples")
	}
	p.Scale(1e10 * weight / float64(total))
	p.TimeNanos, p.DurationNanos, p.Comments, p.Mapping = 0, 0, nil, nil
	for _, l := range p.Location {
		l.Mapping = nil
	}
	return p.Aggregate(true, true, true, true, false, false)
}
