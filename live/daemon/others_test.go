package daemon

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

const nobody, stranger = 65534, 65533

// shared is a daemon of root's whose jobs' folders other users can pass.
func shared(t *testing.T) (d *running, public string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root's daemon runs other users' jobs")
	}
	public, err := os.MkdirTemp("", "schedlab-others")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(public) })
	if err := os.Chmod(public, 0o777); err != nil {
		t.Fatal(err)
	}
	return serve(t, t.TempDir(), func(c *Config) {
		c.Work, c.Checkpoints = filepath.Join(public, "work"), filepath.Join(public, "store")
	}), public
}

// as runs a shell's line as another user.
func as(uid uint32, line string) string {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, _ := cmd.CombinedOutput()
	return strings.TrimSpace(string(out))
}

func (r *running) submitAs(uid uint32, text string) {
	r.t.Helper()
	if _, err := r.Submit(r.t.Context(), Who{uid}, parse(r.t, text)); err != nil {
		r.t.Fatal(err)
	}
}

func TestUnderRootAnotherUsersCheckpointsAreHisAndNobodyElses(t *testing.T) {
	d, public := shared(t)
	path, err := trainer()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(public, "trainer")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(public, "trace")
	d.submitAs(nobody, fmt.Sprintf(`{"tasks":[{"id":"a","command":"umask 0; id -u; exec %s -steps 1000000 -trace %s","dir":"/","retries":5,"backoff_s":0.01,"checkpoint":{"every":"100ms"}}]}`, path, trace))
	checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Done >= 2 })
	readable := func(uid uint32, below string) string {
		return as(uid, "find "+filepath.Join(public, below)+" -type f -readable 2>/dev/null; cat "+filepath.Join(public, below)+"/*/*/*/* 2>/dev/null")
	}
	for uid, folders := range map[uint32][]string{stranger: {"work", "store"}, nobody: {"store"}} {
		for _, below := range folders {
			if got := readable(uid, below); got != "" {
				t.Errorf("user %d reads of %s: %s", uid, below, got)
			}
		}
	}
	for _, pid := range processesOf(d) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Resumed >= 2 && c.Done >= 1 })
	n := 0
	err = filepath.WalkDir(filepath.Join(d.ownWork(), "0", "job", "last"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s is of user %d", path, info.Sys().(*syscall.Stat_t).Uid)
		}
		n++
		return err
	})
	if err != nil || n < 2 {
		t.Errorf("%d files were given back, %v", n, err)
	}
	steps, err := os.ReadFile(trace)
	if err != nil || strings.Count(string(steps), "start 0 ") != 1 || strings.Count(string(steps), "start ") != 2 {
		t.Errorf("%d starts, %d of them at the beginning, %v", strings.Count(string(steps), "start "), strings.Count(string(steps), "start 0 "), err)
	}
	if _, err := d.Act(t.Context(), Who{stranger}, Cancel, mustSelect(t, d, "1")); err == nil {
		t.Error("a stranger has cancelled it")
	}
	if _, err := d.Act(t.Context(), Who{nobody}, Cancel, mustSelect(t, d, "1")); err != nil {
		t.Error(err)
	}
}

// A job must not get at what is not its own by having root save and restore it.
func TestUnderRootACheckpointTakesInNothingThatIsAnothers(t *testing.T) {
	for _, c := range []struct {
		name, command string
		link          bool // root makes a second name of the secret there, as the job could where the kernel lets it
	}{
		{"a symbolic link to a file", `ln -s %s $CKPT_DIR/new/x`, false},
		{"a symbolic link to a folder", `ln -s $(dirname %s) $CKPT_DIR/new/x`, false},
		{"a link in place of the folder", `rmdir $CKPT_DIR/new && ln -s $(dirname %s) $CKPT_DIR/new`, false},
		{"a hard link", `: %s; touch $CKPT_DIR/ready; while [ ! -e $CKPT_DIR/new/x ]; do sleep 0.01; done`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, public := shared(t)
			vault := filepath.Join(public, "vault")
			if err := os.Mkdir(vault, 0o700); err != nil {
				t.Fatal(err)
			}
			secret := filepath.Join(vault, "secret")
			if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
				t.Fatal(err)
			}
			command := `[ $ATTEMPT = 2 ] && { cat $CKPT_DIR/last/x $CKPT_DIR/last/secret $CKPT_DIR/last/x/secret; exit 0; }; ` + fmt.Sprintf(c.command, secret) + `; exit 85`
			d.submitAs(nobody, fmt.Sprintf(`{"tasks":[{"id":"a","command":%q,"dir":"/","checkpoint":{},"retries":1,"backoff_s":0.01}]}`, command))
			if c.link {
				job := filepath.Join(d.ownWork(), "0", "job")
				for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
					if _, err := os.Stat(filepath.Join(job, "ready")); err == nil {
						break
					}
					if time.Now().After(end) {
						t.Fatal("the job does not run")
					}
				}
				if err := os.Link(secret, filepath.Join(job, "new", "x")); err != nil {
					t.Fatal(err)
				}
			}
			if v := d.wait("1")[0]; v.State != "done" || v.Attempts != 2 {
				t.Errorf("%+v", v)
			}
			for attempt := int32(1); attempt <= 2; attempt++ {
				log, err := os.ReadFile(d.runner.LogPath(0, attempt))
				if err != nil || bytes.Contains(log, []byte("hunter2")) {
					t.Errorf("attempt %d: %s %v", attempt, log, err)
				}
				if attempt == 1 && !bytes.Contains(log, []byte("a checkpoint failed")) {
					t.Errorf("that it was refused is not told: %s", log)
				}
			}
			if st, err := os.Stat(secret); err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 || st.Mode().Perm() != 0o600 {
				t.Errorf("the secret is now %v, %v", st, err)
			}
		})
	}
}

// Root, and whoever has the token, acts on everybody's jobs; none of them becomes root's by that.
func TestAJobThatSomebodyElseRunsAgainStaysItsOwners(t *testing.T) {
	d, _ := shared(t)
	for _, uid := range []uint32{nobody, 0} {
		d.submitAs(uid, `{"tasks":[{"id":"a","command":"id -u; exit 1","dir":"/"}]}`)
	}
	d.wait("all")
	jobs, err := d.Retry(t.Context(), Who{0}, d.All())
	if err != nil || len(jobs) != 2 {
		t.Fatal(jobs, err)
	}
	d.wait("all")
	for i, want := range []uint32{nobody, 0} {
		task := d.jobs[jobs[i]].First
		log, err := os.ReadFile(d.runner.LogPath(task, 1))
		if got := d.Tasks([]sched.TaskID{task})[0].UID; err != nil || got != want || string(log) != fmt.Sprintf("%d\n", want) {
			t.Errorf("user %d's job is now of user %d and ran as %s, %v", want, got, log, err)
		}
	}
	if _, err := d.Retry(t.Context(), Who{nobody}, d.All()); err == nil {
		t.Error("a user has run others' jobs again")
	}
}

// What one environment holds does not come into another: not the daemon's into a job's, not a job's into the shim's or another job's.
func TestEnvironmentsDoNotMix(t *testing.T) {
	t.Setenv("DAEMONS_SECRET", "hunter2")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"env; cat /proc/$PPID/environ | tr '\\0' '\\n' | sed 's/^/shim /'","dir":"/",
		"env":{"LD_PRELOAD":"/no/such.so","GODEBUG":"inittrace=1","GOTRACEBACK":"crash","PATH":"/usr/bin:/bin","IFS":"x","JOBS_SECRET":"line\nPATH=/evil","BASH_ENV":"/evil"}}]}`)
	d.wait("1")
	d.submit(`{"tasks":[{"id":"a","command":"env","dir":"/"}]}`)
	d.wait("2")
	for task, own := range []string{"JOBS_SECRET=line", "SCHEDLAB_JOB=2"} {
		log, err := os.ReadFile(d.runner.LogPath(d.jobs[task].First, 1))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(log, []byte("hunter2")) || !bytes.Contains(log, []byte(own)) {
			t.Errorf("job %d has\n%s", task+1, log)
		}
		for line := range strings.Lines(string(log)) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "shim "), "=")
			if shim := strings.HasPrefix(line, "shim "); shim && !strings.HasPrefix(name, "GO") || !shim && task == 1 && (name == "LD_PRELOAD" || name == "JOBS_SECRET" || name == "BASH_ENV") {
				t.Errorf("job %d: %s", task+1, line)
			}
			if line == "shim GODEBUG=inittrace=1\n" {
				t.Error("the job's environment is the shim's")
			}
		}
	}
	if _, err := d.Submit(t.Context(), Who{0}, parse(t, `{"tasks":[{"id":"a","command":"x","env":{"LD_PRELOAD":"a"},"dir":"/"}]}`)); err != nil {
		t.Error(err) // it is its own affair
	}
}
