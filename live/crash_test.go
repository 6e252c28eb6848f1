package live_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/daemon"
)

// The crash tests run the real program, built with its failpoints, and kill it: at each named place, and at random. Their judge shares no
// code with it: every command writes when it begins and when it ends, and what was accepted must be done, at most once an attempt, never
// two of a task at a time, with no process left.

// places are where a process of the program can be told to die. shim: the shim does, not the daemon.
var places = []struct {
	name string
	shim bool
}{
	{"store-making", false},
	{"store-made", false},
	{"store-named", false},
	{"store-beginning", false},
	{"store-committing", false},
	{"store-committed", false},
	{"daemon-durable", false},
	{"daemon-answering", false},
	{"daemon-answered", false},
	{"runner-group-made", false},
	{"runner-spec-written", false},
	{"runner-spawned", false},
	{"runner-gate-opening", false},
	{"runner-gate-open", false},
	{"spec-renaming", false},
	{"spec-renamed", false},
	{"stop-renaming", false},
	{"stop-renamed", false},
	{"runner-stop-writing", false},
	{"shim-locked", true},
	{"shim-gate-passed", true},
	{"started-renaming", true},
	{"started-renamed", true},
	{"shim-started-written", true},
	{"shim-executed", true},
	{"shim-exit-writing", true},
	{"exit-renaming", true},
	{"exit-renamed", true},
	{"shim-exit-written", true},
}

var crashProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "schedlab-crash")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "schedlab")
	out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "../cmd/schedlab").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// yard is a state, the daemons on it one after the other, and the judge's notes.
type yard struct {
	t             *testing.T
	program       string
	home, notes   string
	env           []string
	args          []string                         // more of the daemon's
	wrap          func(*exec.Cmd) (started func()) // changes how the daemon is started; nil: not at all
	cmd           *exec.Cmd
	gone          chan struct{}
	client        *api.Client
	accepted      map[string]bool // selectors of tasks that the daemon has answered for
	mayBeCanceled map[string]bool
}

func newYard(t *testing.T, env ...string) *yard {
	t.Helper()
	program, err := crashProgram()
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{t: t, program: program, home: t.TempDir(), notes: t.TempDir(), env: env, accepted: map[string]bool{}, mayBeCanceled: map[string]bool{}}
	y.client = api.NewClient(filepath.Join(y.home, "run"))
	t.Cleanup(func() {
		if y.cmd != nil && !y.dead() { // at its end a daemon removes the folder of its control groups
			_ = y.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-y.gone:
			case <-time.After(10 * time.Second):
			}
		}
		y.kill()
		for _, pid := range y.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for end := time.Now().Add(5 * time.Second); len(y.processes()) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
	})
	return y
}

// start starts a daemon and waits until it answers or has died.
func (y *yard) start(env ...string) {
	y.t.Helper()
	y.cmd = exec.Command(y.program, append([]string{"live", "serve", "--node", "(4cpu,8gb,4xA100)", "--window", "2ms-10ms"}, y.args...)...)
	y.cmd.Env = append(append(os.Environ(), "SCHEDLAB_HOME="+y.home), append(y.env, env...)...)
	var log strings.Builder
	y.cmd.Stderr = &log
	started := func() {}
	if y.wrap != nil {
		started = y.wrap(y.cmd)
	}
	if err := y.cmd.Start(); err != nil {
		y.t.Fatal(err)
	}
	started()
	gone := make(chan struct{})
	y.gone = gone
	cmd := y.cmd
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := y.client.Policy(context.Background()); err == nil {
			return
		}
		select {
		case <-gone:
			if !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
				y.t.Fatalf("the daemon did not start: %s", log.String())
			}
			return
		default:
		}
		if time.Now().After(end) {
			y.t.Fatal("the daemon does not answer")
		}
	}
}

// kill ends the daemon as a power failure would.
func (y *yard) kill() {
	if y.cmd != nil {
		_ = y.cmd.Process.Kill()
		<-y.gone
		y.cmd = nil
	}
}

func (y *yard) dead() bool {
	select {
	case <-y.gone:
		return true
	default:
		return false
	}
}

// command is what every task runs: it notes that it begins, that none of its task runs beside it, and that it ends.
func (y *yard) command(sleep string) string {
	return fmt.Sprintf(`cd %s; me=$(echo $SCHEDLAB_ID | tr / _); echo "begin $SCHEDLAB_ID $SCHEDLAB_ATTEMPT_DIR" >>log; `+
		`( flock -n 9 || echo "double $SCHEDLAB_ID" >>log; sleep %s; echo "end $SCHEDLAB_ID" >>log ) 9>lock.$me`, y.notes, sleep)
}

// submit submits a small DAG and notes it if it was accepted.
func (y *yard) submit(sleep string) (selector string, ok bool) {
	y.t.Helper()
	cmd := y.command(sleep)
	text, err := json.Marshal(map[string]any{"tasks": []map[string]any{
		{"id": "a", "command": cmd, "dir": "/", "retries": 20, "backoff_s": 0.01, "grace_s": 0.2},
		{"id": "b", "command": cmd, "dir": "/", "retries": 20, "backoff_s": 0.01, "gpus": 1, "after": []string{"a"}, "grace_s": 0.2},
	}})
	if err != nil {
		y.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ids, err := y.client.Submit(ctx, text)
	if err != nil {
		var r *api.Refusal
		if errors.As(err, &r) && r.Bad() {
			y.t.Fatal(err)
		}
		return "", false
	}
	for _, task := range []string{"/a", "/b"} {
		y.accepted[strconv.Itoa(int(ids[0]))+task] = true
	}
	return strconv.Itoa(int(ids[0])), true
}

// processes returns those that carry an attempt of this state in their environment, and its shims.
func (y *yard) processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		if strings.Contains(string(stat), ") Z ") {
			continue
		}
		if strings.Contains(string(env), "SCHEDLAB_ATTEMPT_DIR="+y.home) || strings.Contains(string(args), "__shim\x00"+y.home) {
			out = append(out, pid)
		}
	}
	return out
}

// groups returns the control groups of attempts of this state.
func (y *yard) groups() []string {
	sum := sha256.Sum256([]byte(filepath.Join(y.home, "state")))
	name := "schedlab-" + hex.EncodeToString(sum[:4])
	var left []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && filepath.Base(filepath.Dir(path)) == name {
			left = append(left, path)
		}
		return nil
	})
	return left
}

// settle waits until all is over under a daemon that nobody kills.
func (y *yard) settle() []daemon.Task {
	y.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if list, _, err := y.client.Tasks(ctx, "", "", 1); err == nil && len(list) > 0 {
		if _, err := y.client.Wait(ctx, "all"); err != nil {
			list, _, _ := y.client.Tasks(context.Background(), "", "open", 10)
			y.t.Fatalf("%v: %+v", err, list)
		}
	}
	tasks, _, err := y.client.Tasks(ctx, "", "", 0)
	if err != nil {
		y.t.Fatal(err)
	}
	return tasks
}

// judge returns what is wrong.
func (y *yard) judge(tasks []daemon.Task) []string {
	y.t.Helper()
	var wrong []string
	state := map[string]string{}
	for _, v := range tasks {
		state[v.ID] = v.State
	}
	begins, ends, doubles := map[string]int{}, map[string]int{}, map[string]int{}
	if f, err := os.Open(filepath.Join(y.notes, "log")); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			w := strings.Fields(s.Text())
			switch w[0] {
			case "begin":
				if begins[w[2]]++; begins[w[2]] > 1 {
					wrong = append(wrong, "attempt "+w[2]+" began twice")
				}
			case "end":
				ends[w[1]]++
			case "double":
				doubles[w[1]]++
			}
		}
	}
	for id := range doubles {
		wrong = append(wrong, "two attempts of "+id+" ran at a time")
	}
	for id := range y.accepted {
		switch s := state[id]; {
		case s == "":
			wrong = append(wrong, "accepted task "+id+" is lost")
		case s == "done":
			if ends[id] == 0 {
				wrong = append(wrong, "task "+id+" counts as done and did not run to its end")
			}
		case y.mayBeCanceled[id] && s == "dropped":
		default:
			wrong = append(wrong, "task "+id+" is "+s)
		}
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := y.processes()
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			wrong = append(wrong, fmt.Sprintf("processes %v are left", left))
			break
		}
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := y.groups()
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			wrong = append(wrong, fmt.Sprintf("control groups %v are left", left))
			break
		}
	}
	s, err := y.client.Status(context.Background())
	if err != nil {
		y.t.Fatal(err)
	}
	if n := s.Nodes[0]; n.GPUsFree != 4 || n.CPUFree != 4 {
		wrong = append(wrong, fmt.Sprintf("resources are leaked: %+v", n))
	}
	return wrong
}

func TestNothingIsLostAndNothingRunsTwiceWhereverAProcessIsKilled(t *testing.T) {
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			y := newYard(t)
			arm := filepath.Join(t.TempDir(), "armed")
			if err := os.WriteFile(arm, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			y.start("SCHEDLAB_FAILPOINT=" + p.name + "=" + arm)
			for range 2 {
				y.submit("0.02")
			}
			if strings.HasPrefix(p.name, "stop-") || strings.HasPrefix(p.name, "runner-stop") {
				if sel, ok := y.submit("5"); ok {
					y.cancel(sel)
				}
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat(arm); err != nil {
					break
				}
				if time.Now().After(end) {
					t.Fatal("nobody came by the place")
				}
			}
			if !p.shim {
				<-y.gone
				y.cmd = nil
				y.start()
			}
			if wrong := y.judge(y.settle()); len(wrong) > 0 {
				t.Error(strings.Join(wrong, "\n"))
			}
		})
	}
}

// cancel cancels a job once it runs, whatever comes of it.
func (y *yard) cancel(selector string) {
	y.mayBeCanceled[selector+"/a"], y.mayBeCanceled[selector+"/b"] = true, true
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	for ctx.Err() == nil && !y.dead() {
		if log, err := os.ReadFile(filepath.Join(y.notes, "log")); err == nil && strings.Contains(string(log), "begin "+selector+"/a ") {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	_, _ = y.client.Act(ctx, daemon.Cancel, selector)
}

// crashKills is how often the random test kills: 100, or what CRASH_KILLS says (`make crash`: 1000).
func crashKills(t *testing.T) int {
	if text := os.Getenv("CRASH_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("CRASH_KILLS=%q is no number of kills", text)
		}
		return n
	}
	if testing.Short() {
		return 10
	}
	return 100
}

func TestNothingIsLostAndNothingRunsTwiceUnderRandomKills(t *testing.T) {
	kills := crashKills(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CRASH_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("repeat with CRASH_SEED=%d CRASH_KILLS=%d go test ./live -run UnderRandomKills", seed, kills)
	y := newYard(t)
	y.storm(rand.New(rand.NewPCG(seed, 1)), kills)
	y.start()
	tasks := y.settle()
	if wrong := y.judge(tasks); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
	attempts := 0
	for _, v := range tasks {
		attempts += int(v.Attempts)
	}
	t.Logf("%d kills, %d accepted tasks, %d attempts", kills, len(y.accepted), attempts)
	if len(y.accepted) < kills/2 {
		t.Errorf("only %d tasks were accepted under %d kills: this proves little", len(y.accepted), kills)
	}
}

// storm submits and cancels while the daemon is killed again and again, at times that hit its start, its work and its recovery.
func (y *yard) storm(rng *rand.Rand, kills int) {
	for range kills {
		y.start()
		timer := time.AfterFunc(time.Duration(rng.Int64N(int64(120*time.Millisecond))), func() { _ = y.cmd.Process.Kill() })
		for !y.dead() {
			sel, ok := y.submit("0.0" + strconv.Itoa(rng.IntN(10)))
			if ok && rng.IntN(4) == 0 {
				y.mayBeCanceled[sel+"/a"], y.mayBeCanceled[sel+"/b"] = true, true
				ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
				_, _ = y.client.Act(ctx, daemon.Cancel, sel)
				stop()
			}
			time.Sleep(time.Duration(rng.Int64N(int64(30 * time.Millisecond))))
		}
		timer.Stop()
		<-y.gone
	}
	y.cmd = nil
}

func TestTheJudgeConvictsADaemonThatSpawnsBeforeItRecords(t *testing.T) {
	for seed := range uint64(20) {
		y := newYard(t, "SCHEDLAB_NAIVE=start")
		y.storm(rand.New(rand.NewPCG(seed, 2)), 10)
		y.start()
		if wrong := y.judge(y.settle()); len(wrong) > 0 {
			t.Logf("seed %d: %s", seed, wrong[0])
			return
		}
	}
	t.Error("200 kills of a daemon without the protocol were judged harmless")
}
