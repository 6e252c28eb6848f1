package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/folders"
)

func find(t *testing.T, checks []Check, name string) Check {
	t.Helper()
	for _, c := range checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %q in %+v", name, checks)
	return Check{}
}

func TestEveryCheckSaysWhyAndWhatToDo(t *testing.T) {
	dir := t.TempDir()
	checks := Look(Options{GPUs: device.Options{Library: "/nonexistent/libnvidia-ml.so", Root: dir}, Folder: folders.Folders{State: dir + "/s", Run: dir + "/r"}})
	seen := map[string]bool{}
	for _, c := range checks {
		if c.Why == "" || seen[c.Name] || c.State != OK && c.State != Limited && c.State != Missing {
			t.Errorf("%+v", c)
		}
		seen[c.Name] = true
		if c.State == OK && (c.Fix != "" || c.Stops) {
			t.Errorf("%+v", c)
		}
		if c.State != OK && c.Fix == "" && c.Name != "GPUs: sample" {
			t.Errorf("%+v", c)
		}
	}
	for _, want := range []string{"group: memory", "group: kill", "GPUs: nvml", "GPUs: sysfs", "state folder", "socket", "node profile"} {
		find(t, checks, want)
	}
	if Stops(checks) {
		t.Errorf("%+v", checks)
	}
	// Nothing is left behind.
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
}

func TestAStateFolderThatCannotBeWrittenStopsTheDaemon(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "state"), "/proc/schedlab"} {
		if c := stateFolder(path); c.State != Missing || !c.Stops || !strings.Contains(c.Fix, "SCHEDLAB_HOME") {
			t.Errorf("%s: %+v", path, c)
		}
		if c := socket(path); c.State != Missing || !c.Stops {
			t.Errorf("%s: %+v", path, c)
		}
	}
	if c := socket(filepath.Join(dir, strings.Repeat("x", 120))); c.State != OK { // longer than an address, which the daemon can do
		t.Errorf("%+v", c)
	}
	checks := state(Options{FolderErr: errors.New("no home")})
	if len(checks) != 1 || !Stops(checks) || checks[0].Why != "no home" {
		t.Errorf("%+v", checks)
	}
}

func TestDeclaredGPUsAreReportedAsSuch(t *testing.T) {
	checks := gpus(device.Options{Use: "8xH100:80gb"})
	if c := find(t, checks, "GPUs: declared"); c.State != OK || c.Why != "8 H100 of 80 GiB" {
		t.Errorf("%+v", c)
	}
	if c := find(t, checks, "GPUs: sample"); c.State != Limited || !strings.Contains(c.Why, "tells no processes") {
		t.Errorf("%+v", c)
	}
	if checks = gpus(device.Options{Use: "8"}); len(checks) != 1 || checks[0].State != Missing {
		t.Errorf("%+v", checks)
	}
}
