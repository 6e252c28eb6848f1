package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// swfProcs is the size of the pool that the log of makeSWF is for.
const swfProcs = 128

// makeSWF writes a log of n rigid jobs as a batch system of one pool keeps it: 1 to 32 processors in powers of two, lognormal run times
// (median 600 s, sigma 1.5, cut at 2 days), Poisson arrivals at a rate that swings by half over a day, offered load 0.85, requested times 1 to 8 times
// too long and then rounded up to 5 minutes. The same seed gives the same bytes.
func makeSWF(out io.Writer, n int, seed uint64) error {
	const median, sigma, longest = 600.0, 1.5, 172800.0
	share := []float64{0.4, 0.6, 0.75, 0.87, 0.95, 1} // of 1, 2, 4, 8, 16, 32 processors, cumulated
	arrivals, jobs := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	// The work of n jobs first: the load is exact and not the mean of heavy tails.
	type job struct{ run, procs, request int64 }
	all, work := make([]job, n), 0.0
	for i := range all {
		run := math.Ceil(min(median*math.Exp(sigma*jobs.NormFloat64()), longest))
		size, u := 0, jobs.Float64()
		for u >= share[size] {
			size++
		}
		request := math.Ceil(run*math.Exp(jobs.Float64()*math.Log(8))/300) * 300
		all[i] = job{int64(run), 1 << size, int64(request)}
		work += run * float64(all[i].procs)
	}
	rate := 0.85 * swfProcs * float64(n) / work // jobs a second
	w := bufio.NewWriterSize(out, 64<<10)
	fmt.Fprintf(w, "; Version: 2.2\n; Computer: none, made by seed %d\n; MaxJobs: %d\n; MaxRecords: %d\n; MaxNodes: %d\n; MaxProcs: %d\n", seed, n, n, swfProcs, swfProcs)
	at := 0.0
	for i, j := range all {
		at += arrivals.ExpFloat64() / (rate * (1 + 0.5*math.Sin(2*math.Pi*at/86400)))
		user := jobs.IntN(50) + 1
		// Columns as wide as in the archive's files.
		fmt.Fprintf(w, "%7d %9d %6d %6d %4d %6d %6d %4d %6d %6d %2d %4d %3d %3d %2d %2d %2d %2d\n",
			i+1, int64(at), -1, j.run, j.procs, -1, -1, j.procs, j.request, -1, 1, user, user%7+1, user*31%9+1, jobs.IntN(3)+1, 1, -1, -1)
	}
	return w.Flush()
}

// buildCXXFloor builds the loop in C++ and returns its path; the error is a reason to leave it out.
func buildCXXFloor(source, dir string) (string, error) {
	out := filepath.Join(dir, "floor")
	return out, build("g++", "-O2", "-o", out, source)
}

func build(name string, args ...string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("no %s here", name)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s does not build it: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

func makeSWFFile(file string, n int, seed uint64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(makeSWF(f, n, seed), f.Close())
}
