package live_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// checkpointPlaces are where a shim can be told to die while it takes, stores, removes or restores a checkpoint.
var checkpointPlaces = []string{
	"checkpoint-taken", "checkpoint-renaming", "checkpoint-file-put", "checkpoint-committing", "checkpoint-committed", "checkpoint-removing",
	"checkpoint-noted", "checkpoint-restored", "checkpoint-renamed",
}

// course is a trainer in a yard, and what it notes.
type course struct {
	*yard
	out, trace string
	interval   time.Duration
	steps      int
}

func newCourse(t *testing.T, steps int, env ...string) *course {
	t.Helper()
	c := &course{yard: newYard(t, env...), interval: 200 * time.Millisecond, steps: steps}
	c.out, c.trace = filepath.Join(c.notes, "out"), filepath.Join(c.notes, "trace")
	path := filepath.Join(c.notes, "trainer")
	if out, err := exec.Command("go", "build", "-o", path, "./checkpoint/trainer").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := exec.Command(path, "-steps", strconv.Itoa(steps), "-pace", "1us").Output() // never killed
	if err != nil {
		t.Fatal(err)
	}
	c.start()
	text, err := json.Marshal(map[string]any{"tasks": []map[string]any{{
		"id": "a", "command": []string{path, "-steps", strconv.Itoa(steps), "-pace", "2ms", "-ballast", "1500000", "-trace", c.trace, "-out", c.out}, "dir": "/",
		"retries": 1000, "backoff_s": 0.001, "grace_s": 2, "checkpoint": map[string]string{"every": c.interval.String()},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.Submit(context.Background(), text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if got, err := os.ReadFile(c.out); !t.Failed() && (err != nil || string(got) != string(want)) {
			t.Errorf("the answer is %q, %v; want %q", got, err, want)
		}
	})
	return c
}

// note is a line of the trainer's trace.
type note struct {
	what string
	step int
	at   time.Duration
}

func (c *course) read() []note {
	b, _ := os.ReadFile(c.trace)
	var out []note
	for l := range strings.Lines(string(b)) {
		var n note
		if _, err := fmt.Sscan(l, &n.what, &n.step, &n.at); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// verdict is what judge finds.
type verdict struct {
	wrong    []string
	attempts int
	most     time.Duration // work that was repeated
	slow     int           // attempts that repeated more since the machine was late: with a request, or a checkpoint, slower than any of the last ones
}

// judge looks at every attempt's beginning: it must resume from a checkpoint that was written, no older than the one before the last that
// was taken (the last may not have been stored), and repeat no more than an interval of work. Requests leave room for as long as the last
// checkpoints took: more than the interval may be repeated only where the one under way had already taken longer than each of them, or the
// request itself came late, the machine having no time for it; and in one attempt of ten at most.
func (c *course) judge() (v verdict) {
	c.t.Helper()
	all := c.read()
	when := map[int]time.Duration{} // each step, when it was last done
	var taken []int                 // by what lies in the store, as far as the trainer knows
	saves := map[int]bool{0: true}
	last, asked := note{}, note{}
	for _, n := range all {
		switch n.what {
		case "start":
			v.attempts++
			oldest := 0
			if len(taken) >= 2 {
				oldest = taken[len(taken)-2]
			}
			if !saves[n.step] || n.step < oldest {
				v.wrong = append(v.wrong, fmt.Sprintf("attempt %d resumed at step %d: saved were %v", v.attempts, n.step, taken))
			}
			if n.step < last.step {
				from := when[n.step+1]
				again, until, under := last.at-from, last.at-from, time.Duration(0)
				if asked.step > n.step { // it was not whole in the store
					until, under = asked.at-from, last.at-asked.at
				}
				if v.most = max(v.most, again); again > c.interval {
					// What was left beyond the request is half as much again as the slowest took: a third of it for the request itself.
					next := c.next(v.attempts - 1)
					room := max(c.interval-next, 0)
					if under > room*2/3 || next <= c.interval && until > next+room/3 {
						v.slow++
						c.t.Logf("attempt %d: %v of work was repeated; the request was due after %v and came after %v, and %v later the checkpoint was not whole",
							v.attempts, again, next, until, under)
					} else {
						v.wrong = append(v.wrong, fmt.Sprintf("attempt %d: %v of work was repeated at an interval of %v; the request was due after %v and came after %v, and the checkpoint was under way for %v",
							v.attempts, again, c.interval, next, until, under))
					}
				}
			}
			taken, asked = []int{n.step}, note{}
		case "save":
			saves[n.step], asked = true, n
		case "taken":
			taken = append(taken, n.step)
		case "step":
			when[n.step], last = n.at, n
		}
	}
	if v.slow > 1+v.attempts/10 {
		v.wrong = append(v.wrong, fmt.Sprintf("in %d attempts of %d requests were late, or checkpoints slower than those before", v.slow, v.attempts))
	}
	return v
}

// next returns the time between two requests that an attempt noted last; the interval where it noted none.
func (c *course) next(attempt int) time.Duration {
	paths, _ := filepath.Glob(filepath.Join(c.home, "state", "attempts", "0", "0", strconv.Itoa(attempt)+"*", "checkpoint"))
	s := struct {
		NextS float64 `json:"next_s"`
	}{c.interval.Seconds()}
	if len(paths) == 0 {
		c.t.Fatalf("attempt %d has left no note of its checkpoints", attempt)
	}
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			_ = json.Unmarshal(b, &s)
		}
	}
	return time.Duration(s.NextS * 1e9)
}

// signal kills the processes whose command lines hold a text.
func (c *course) signal(text string) {
	for _, pid := range c.processes() {
		if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(args), text) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// storm kills the job at random: itself, or its shim, or the daemon with it. The job must run that long.
func (c *course) storm(kills int) {
	c.t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(kills)))
	for done, limit := 0, time.Now().Add(time.Duration(kills)*5*time.Second+time.Minute); done < kills; done++ {
		before := len(c.read())
		for len(c.read()) < before+20 { // it has got going
			time.Sleep(2 * time.Millisecond)
			if _, err := os.Stat(c.out); err == nil || time.Now().After(limit) {
				c.t.Fatalf("%d kills of %d came about (it has ended: %v)", done, kills, err == nil)
			}
		}
		time.Sleep(time.Duration(rng.Int64N(int64(600 * time.Millisecond))))
		switch done % 5 {
		case 3:
			c.kill()
			c.start()
			c.signal("/trainer")
		case 4:
			c.signal("__shim")
		default:
			c.signal("/trainer")
		}
	}
}

// A job killed at random comes to the right answer, and repeats no more than one interval of work each time.
func TestAJobThatIsKilledAtRandomRepeatsNoMoreThanAnInterval(t *testing.T) {
	if testing.Short() {
		t.Skip("it kills real processes")
	}
	kills := 15
	if n, err := strconv.Atoi(os.Getenv("CHECKPOINT_KILLS")); err == nil {
		kills = n
	}
	c := newCourse(t, 400*kills)
	c.storm(kills)
	c.settle()
	v := c.judge()
	t.Logf("%d kills, %d attempts, at most %v of work repeated at an interval of %v; %d times more, the machine being late",
		kills, v.attempts, v.most, c.interval, v.slow)
	if len(v.wrong) > 0 {
		t.Error(strings.Join(v.wrong, "\n"))
	}
	if v.attempts < kills/2 {
		t.Errorf("%d attempts at %d kills", v.attempts, kills)
	}
}

// The judge of checkpoints sees what it is there for.
func TestTheJudgeConvictsAShimThatSavesCarelessly(t *testing.T) {
	if testing.Short() {
		t.Skip("it kills real processes")
	}
	convicted := func(c *course, want string) {
		t.Helper()
		if v := c.judge(); !strings.Contains(strings.Join(v.wrong, "\n"), want) {
			t.Errorf("judged %q, want %q", v.wrong, want)
		}
	}
	// One that removes the last checkpoint before the new one is whole, and is killed in between.
	armed := filepath.Join(t.TempDir(), "armed")
	c := newCourse(t, 600, "SCHEDLAB_NAIVE=overwrite", "SCHEDLAB_FAILPOINT=checkpoint-committing="+armed)
	for end := time.Now().Add(30 * time.Second); strings.Count(fmt.Sprint(c.read()), "taken") < 3 && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	if err := os.WriteFile(armed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.settle()
	convicted(c, "resumed at step 0")
	// One that asks a hundred times as seldom as it was told.
	c = newCourse(t, 2500, "SCHEDLAB_NAIVE=lazy")
	for since, end := time.Duration(0), time.Now().Add(30*time.Second); since < 5*c.interval && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		saved := note{}
		for _, n := range c.read() {
			if n.what != "step" || saved.at == 0 {
				saved = n
			}
			since = n.at - saved.at
		}
	}
	c.signal("/trainer")
	c.settle()
	convicted(c, "of work was repeated")
}

// Wherever the shim dies about a checkpoint, the answer is right.
func TestAShimThatDiesAboutACheckpointLosesNothingThatWasSaved(t *testing.T) {
	if testing.Short() {
		t.Skip("it kills real processes")
	}
	for _, place := range checkpointPlaces {
		t.Run(place, func(t *testing.T) {
			armed := filepath.Join(t.TempDir(), "armed")
			c := newCourse(t, 500, "SCHEDLAB_FAILPOINT="+place+"="+armed)
			for end := time.Now().Add(30 * time.Second); !strings.Contains(fmt.Sprint(c.read()), "taken") && time.Now().Before(end); {
				time.Sleep(2 * time.Millisecond)
			}
			if err := os.WriteFile(armed, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if place == "checkpoint-restored" { // that is at the beginning of an attempt
				c.signal("/trainer")
			}
			c.settle()
			if _, err := os.Stat(armed); err == nil {
				t.Error("nobody died there")
			}
			if v := c.judge(); len(v.wrong) > 0 || v.attempts < 2 {
				t.Errorf("%d attempts; %s", v.attempts, strings.Join(v.wrong, "\n"))
			}
		})
	}
}
