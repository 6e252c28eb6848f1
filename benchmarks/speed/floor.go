package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
)

// The floors are the least that one task can cost a simulator: one pop and one push on a binary heap of 8000 running tasks, and the reading
// and writing of the task's record of 64 bytes among 1e7. Ew takes the records in the trace's order, E at random.
const (
	floorRunning = 8000
	floorRecords = 10_000_000
)

type record struct {
	_               int64 // arrival
	run, start, end int64 // ns
	_               [32]byte
}

type entry struct {
	at int64
	id int32
}

// plainHeap is a binary heap; the order of equal times does not matter here.
type plainHeap []entry

func (h *plainHeap) push(e entry) {
	q := append(*h, e)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 2
		if q[up].at <= e.at {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = e
	*h = q
}

func (h *plainHeap) pop() entry {
	q := *h
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	i := 0
	for {
		c := 2*i + 1
		if c >= len(q) {
			break
		}
		if c+1 < len(q) && q[c+1].at < q[c].at {
			c++
		}
		if last.at <= q[c].at {
			break
		}
		q[i] = q[c]
		i = c
	}
	if len(q) > 0 {
		q[i] = last
	}
	*h = q
	return top
}

func floorTable() []record {
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]record, floorRecords)
	for i := range records {
		records[i].run = int64(600e9*math.Exp(1.5*rng.NormFloat64())) + 1
	}
	return records
}

// floorLoop returns ns of user CPU a task.
func floorLoop(records []record, iterations int, random bool) float64 {
	q := make(plainHeap, 0, floorRunning)
	for i := range floorRunning {
		q.push(entry{records[i].run, int32(i)})
	}
	state := uint64(88172645463325252)
	before := userNS()
	for i := range iterations {
		done := q.pop()
		records[done.id].end = done.at
		next := int32(i % len(records))
		if random { // xorshift64
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			next = int32((state >> 32) * uint64(len(records)) >> 32)
		}
		r := &records[next]
		r.start = done.at
		q.push(entry{done.at + r.run, next})
	}
	return (userNS() - before) / float64(iterations)
}

// serveFloor answers each line "Ew N" or "E N" with the floor measured over N tasks, so that a runner can ask again and again without
// paying for the table each time. In the runner's own process the table would show in the children's peak memory.
func serveFloor(in io.Reader, out io.Writer) error {
	records := floorTable()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var unit string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &unit, &n); err != nil {
			return fmt.Errorf("floor: %q: %w", lines.Text(), err)
		}
		fmt.Fprintln(out, floorLoop(records, n, unit == "E"))
	}
	return nil
}

// floors asks a process of its own for the floors.
type floors struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startFloors(self string) (*floors, error) {
	f := &floors{cmd: exec.Command(self, "-child", "floors")}
	f.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	f.cmd.Stderr = os.Stderr
	var err error
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.out = bufio.NewReader(out)
	return f, f.cmd.Start()
}

// measure returns ns of user CPU a task at this moment.
func (f *floors) measure(unit string, n int) (ns float64, err error) {
	if _, err = fmt.Fprintln(f.in, unit, n); err == nil {
		_, err = fmt.Fscanln(f.out, &ns)
	}
	if err != nil {
		return 0, fmt.Errorf("floor: %w", err)
	}
	return ns, nil
}

func (f *floors) stop() error {
	_ = f.in.Close()
	return f.cmd.Wait()
}
