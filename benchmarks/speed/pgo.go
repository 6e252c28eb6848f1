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
	file := filepath.Join(h.dir, "cpu.prof")
	all, err := h.hotWork(file)
	if err != nil {
		return err
	}
	var parts []*profile.Profile
	for _, w := range all {
		if err := w.run(); err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		p, err := profile.ParseData(data)
		if err == nil {
			err = weigh(p, w.weight)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.what, err)
		}
		parts = append(parts, p)
		fmt.Fprintln(os.Stderr, w.what)
	}
	sum, err := profile.Merge(parts)
	if err != nil {
		return err
	}
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(sum.Write(w), w.Close())
}

// hotWork is something that is to be fast.
type hotWork struct {
	what   string
	weight float64
	run    func() error // writes its profile
}

// hotWork returns all that is to be fast; each writes its profile to the file.
func (h *house) hotWork(file string) ([]hotWork, error) {
	var all []hotWork
	done := map[string]bool{}
	for _, r := range table {
		what := r.policy + " of " + r.load
		if r.policy == "" || done[what] {
			continue
		}
		done[what] = true
		weight := 1.0
		if slow[r.policy].why != "" {
			weight = unbound
		}
		all = append(all, hotWork{what, weight, func() error {
			_, err := h.child("simulate", min(r.tasks, million), "-policy", r.policy, "-load", r.load, "-cpuprofile", file)
			return err
		}})
	}
	for _, f := range []struct {
		format string
		named  bool
	}{{"csv", false}, {"csv", true}, {"parquet", false}, {"parquet", true}, {"swf", false}} {
		trace, err := h.file(f.format, f.named, million)
		if err != nil {
			return nil, err
		}
		all = append(all, hotWork{fmt.Sprintf("%s, named %v", f.format, f.named), 1, func() error {
			_, err := h.child("read", million, "-file", trace, "-cpuprofile", file)
			return err
		}})
	}
	trace, err := h.file("parquet", false, million)
	if err != nil {
		return nil, err
	}
	for _, flag := range []string{"--journal", "--tasks-csv"} {
		w := hotWork{flag, 1, func() error {
			out := filepath.Join(h.dir, "written")
			_, err := h.run(1, false, h.schedlab, "run", trace, "--cluster", diurnalCluster, "--policy", "fifo", "-o", "json", flag, out, "--cpuprofile", file)
			return errors.Join(err, os.RemoveAll(out))
		}}
		all = append(all, w, w, w, w) // a run is short, and writing a part of it
	}
	return all, nil
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
