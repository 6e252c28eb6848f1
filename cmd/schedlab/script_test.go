package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"schedlab": func() { os.Exit(run()) }})
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
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"pprof": isProfile},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "shared":
				return shared != "", nil
			case "devfull":
				_, err := os.Stat("/dev/full")
				return err == nil, nil
			}
			return false, nil
		},
	})
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
