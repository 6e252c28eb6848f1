package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/device/fakenvml"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"schedlab": func() { os.Exit(run()) }, "panicking-ui": panickingUI})
}

// TestScripts runs the commands as a user does: testdata/script/*.txt. A script that needs the recorded traces begins with
// `[!shared] skip` and finds them under $SHARED. With UPDATE_SCRIPTS set, the expected outputs are rewritten.
func TestScripts(t *testing.T) {
	shared := sharedFolder()
	clusters, err := filepath.Abs(filepath.Join("..", "..", "benchmarks", "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SHARED", shared)
			e.Setenv("CLUSTERS", clusters)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("SCHEDLAB_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("FAKELIB", fakeNVML(t)) // "" without a C compiler
			e.Setenv(device.LibraryEnv, filepath.Join(e.WorkDir, "no-library.so"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"pprof": isProfile},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "shared":
				return shared != "", nil
			case "fakenvml":
				return device.NVMLBuilt && fakeNVML(t) != "", nil
			case "devfull":
				_, err := os.Stat("/dev/full")
				return err == nil, nil
			}
			return false, nil
		},
	})
}

var fakeLibrary struct {
	sync.Once
	path string
}

// fakeNVML builds the fake NVML library once and returns its path; "" where there is no C compiler.
func fakeNVML(t *testing.T) string {
	fakeLibrary.Do(func() {
		lib, err := fakenvml.Build(t.TempDir(), fakenvml.New)
		if err != nil && !errors.Is(err, fakenvml.ErrNoCompiler) {
			t.Error(err)
		}
		fakeLibrary.path = lib
	})
	return fakeLibrary.path
}

// isProfile is the command "pprof FUNCTION FILE": the file is a whole pprof profile, and the function is in it; a FUNCTION of "" need not be.
func isProfile(ts *testscript.TestScript, _ bool, args []string) {
	p, err := profile.ParseData([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(p.CheckValid())
	for _, f := range p.Function {
		if strings.Contains(f.Name, args[0]) {
			return
		}
	}
	if args[0] != "" {
		ts.Fatalf("%s is not in %s", args[0], args[1])
	}
}

// sharedFolder returns the folder of recorded traces and references, beside the module, or "".
func sharedFolder() string {
	dir := os.Getenv("SCHEDLAB_SHARED")
	if dir == "" {
		at, err := os.Getwd()
		for err == nil {
			if _, e := os.Stat(filepath.Join(at, "go.mod")); e == nil {
				dir = filepath.Join(at, "..", "shared")
				break
			}
			up := filepath.Dir(at)
			if up == at {
				break
			}
			at = up
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "traces")); dir == "" || err != nil {
		return ""
	}
	return dir
}
