package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slurm runs the jobs as one job array under a Slurm of its own (munged, slurmctld, a slurmd with 64 CPUs), all in a temporary folder. Its
// scheduler is told to look at the whole queue whenever something happens, which its defaults do not.
func slurm(ctx context.Context, o options, n int) (float64, error) {
	tools := map[string]string{}
	for _, t := range []string{"munged", "slurmctld", "slurmd", "sbatch", "sinfo", "squeue"} {
		for _, path := range []string{t, "/usr/sbin/" + t, "/sbin/" + t} {
			if found, err := exec.LookPath(path); err == nil {
				tools[t] = found
				break
			}
		}
		if tools[t] == "" {
			return 0, fmt.Errorf("%s: %w (Debian: apt-get install slurm-wlm munge)", t, exec.ErrNotFound)
		}
	}
	dir, err := os.MkdirTemp(o.dir, "slurm")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	host, err := os.Hostname()
	if err != nil {
		return 0, err
	}
	host, _, _ = strings.Cut(host, ".")
	me, err := user.Current()
	if err != nil {
		return 0, err
	}
	port, err := freePorts(2)
	if err != nil {
		return 0, err
	}
	key := make([]byte, 1024)
	_, _ = rand.Read(key)
	conf := fmt.Sprintf(`ClusterName=bench
SlurmctldHost=%[1]s(127.0.0.1)
SlurmUser=%[2]s
SlurmdUser=%[2]s
AuthType=auth/munge
AuthInfo=socket=%[3]s/munge.socket
CredType=cred/munge
SlurmctldPort=%[4]d
SlurmctldPidFile=%[3]s/slurmctld.pid
SlurmdPidFile=%[3]s/slurmd.pid
StateSaveLocation=%[3]s/state
SlurmdSpoolDir=%[3]s/spool
SlurmctldLogFile=%[3]s/slurmctld.log
SlurmdLogFile=%[3]s/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobCompType=jobcomp/filetxt
JobCompLoc=%[3]s/ended
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,default_queue_depth=10000,max_array_tasks=%[6]d
MaxArraySize=%[6]d
MaxJobCount=100000
ReturnToService=2
NodeName=n0 NodeHostname=%[1]s NodeAddr=127.0.0.1 Port=%[5]d CPUs=64 RealMemory=4096
PartitionName=all Nodes=n0 Default=YES State=UP MaxTime=10
`, host, me.Username, dir, port, port+1, n+1)
	file := filepath.Join(dir, "slurm.conf")
	err = errors.Join(os.WriteFile(filepath.Join(dir, "munge.key"), key, 0o400), os.WriteFile(file, []byte(conf), 0o644),
		os.Chmod(dir, 0o711), os.Chmod(o.dir, 0o711), os.Mkdir(filepath.Join(dir, "state"), 0o755), os.Mkdir(filepath.Join(dir, "spool"), 0o755))
	if err != nil {
		return 0, err
	}
	command := func(tool string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, tools[tool], args...)
		cmd.Env, cmd.Dir = append(os.Environ(), "SLURM_CONF="+file), dir
		return cmd
	}
	var daemons []*exec.Cmd
	defer func() {
		for _, d := range slices.Backward(daemons) {
			_ = d.Process.Signal(syscall.SIGTERM)
			kill := time.AfterFunc(5*time.Second, func() { _ = d.Process.Kill() })
			_ = d.Wait()
			kill.Stop()
		}
	}()
	start := func(tool string, args ...string) error {
		cmd := command(tool, args...)
		if err := cmd.Start(); err != nil {
			return err
		}
		daemons = append(daemons, cmd)
		return nil
	}
	ask := func(tool string, args ...string) string {
		out, _ := command(tool, args...).Output() // while it comes up there is no answer
		return string(bytes.TrimSpace(out))
	}
	wait := func(limit time.Duration, what string, ok func() bool) error {
		for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				return errors.New(what)
			}
		}
		return nil
	}
	sock := filepath.Join(dir, "munge.socket")
	if err := start("munged", "--foreground", "--force", "--socket="+sock, "--key-file="+filepath.Join(dir, "munge.key"),
		"--pid-file="+filepath.Join(dir, "munged.pid"), "--log-file="+filepath.Join(dir, "munged.log"), "--seed-file="+filepath.Join(dir, "munged.seed")); err != nil {
		return 0, err
	}
	if err := wait(10*time.Second, "munged does not come up", func() bool { _, err := os.Stat(sock); return err == nil }); err != nil {
		return 0, err
	}
	if err := errors.Join(start("slurmctld", "-D", "-i"), start("slurmd", "-D", "-N", "n0")); err != nil {
		return 0, err
	}
	if err := wait(30*time.Second, "its node does not come up", func() bool { return ask("sinfo", "--noheader", "--format=%T") == "idle" }); err != nil {
		return 0, err
	}
	began := time.Now()
	out, err := command("sbatch", "--quiet", "--array=0-"+strconv.Itoa(n-1), "--output=/dev/null", "--wrap=/bin/true").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	// Its own --wait asks every 10 s.
	var ended []byte
	err = wait(10*time.Minute, "its jobs do not end", func() bool {
		ended, err = os.ReadFile(filepath.Join(dir, "ended"))
		return bytes.Count(ended, []byte("\n")) >= n
	})
	took := time.Since(began)
	if err == nil && bytes.Count(ended, []byte("JobState=COMPLETED ")) != n {
		err = errors.New("not all of its jobs ended well")
	}
	return float64(n) / took.Seconds(), err
}

// freePorts returns the first of n ports in a row that nobody listens at.
func freePorts(n int) (int, error) {
	for range 100 {
		r, err := rand.Int(rand.Reader, big.NewInt(20000))
		if err != nil {
			return 0, err
		}
		first, free := 20000+int(r.Int64()), true
		for p := first; p < first+n && free; p++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
			if free = err == nil; free {
				_ = l.Close()
			}
		}
		if free {
			return first, nil
		}
	}
	return 0, errors.New("no free ports")
}
