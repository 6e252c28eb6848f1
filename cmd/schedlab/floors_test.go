package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/schedlab/schedlab/"

// floor says what the packages of a folder may import of the module. Imports point down only (the package comment of policies/sched is
// the manual).
type floor struct {
	folder string   // and all below it; the first floor that matches counts
	may    []string // folders, and all below them
	only   bool     // nothing outside the standard library and may
	advice string
	but    string // what only does not forbid: a module
}

var floors = []floor{
	{"policies/sched", nil, true, "the kernel is a pure function of facts: let the driver pass in what it needs as a fact, or declare a small interface in policies/sched", ""},
	{"policies/policytest", []string{"policies/sched", "policies/policytest"}, false, "take the driver or the policy as a function, so that the checkers share no code with what they check", ""},
	{"policies/internal/priority", []string{"policies/sched"}, true, "it parses expressions with expr-lang and evaluates them by itself: what it knows is the Scope", "github.com/expr-lang/expr"},
	{"policies", []string{"policies"}, true, "a policy sees the State only: keep what it needs in policies/internal or in sched.State", ""},
	{"traces", []string{"policies/sched", "traces"}, false, "readers, generators and metrics know the types of policies/sched, not policies or drivers: move what both need down into traces or policies/sched", ""},
	{"sim", []string{"policies/sched", "traces"}, true, "a driver gets its policy as a sched.Policy: let cmd or benchmarks build it. What sim and live both need stands in policies/sched", ""},
	{"live", []string{"policies/sched", "traces", "live"}, false, "a driver gets its policy as a sched.Policy: let cmd build it. What sim and live both need stands in policies/sched", ""},
	{"tui", []string{"policies/sched", "traces", "tui"}, false, "declare a small Source interface in tui and let cmd implement it with sim or live", ""},
	{"benchmarks", []string{"sim", "policies", "traces", "benchmarks"}, false, "an experiment runs the simulator; what needs live or tui is wired in cmd", ""},
	{"cmd", []string{"cmd", "benchmarks", "tui", "live", "sim", "traces", "policies"}, false, "", ""},
}

func under(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

// breaks says what is wrong with a package (its path in the module) importing another (the full path), "" if nothing.
func breaks(pkg, imported string) string {
	i := slices.IndexFunc(floors, func(f floor) bool { return under(pkg, f.folder) })
	if i < 0 {
		return fmt.Sprintf("%s stands on no floor: put it below one of sim policies live traces tui benchmarks cmd", pkg)
	}
	f := floors[i]
	if in, ok := strings.CutPrefix(imported, module); ok {
		if !slices.ContainsFunc(f.may, func(m string) bool { return under(in, m) }) {
			return fmt.Sprintf("%s imports %s; instead: %s", pkg, in, f.advice)
		}
		return ""
	}
	if f.only && (f.but == "" || !under(imported, f.but)) && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
		return fmt.Sprintf("%s imports %s, and %s does with the standard library: %s", pkg, imported, f.folder, f.advice)
	}
	return ""
}

type listed struct {
	ImportPath, Name, Dir                          string
	GoFiles, IgnoredGoFiles, CgoFiles, TestGoFiles []string
	Imports                                        []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	// Compiled by a profile, the packages below cmd/schedlab stand in the list a second time, as its variants.
	cmd := exec.Command("go", "list", "-pgo=off", "-json=ImportPath,Name,Dir,GoFiles,IgnoredGoFiles,CgoFiles,TestGoFiles,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var list []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 20 {
		t.Fatalf("go list knows only %d packages", len(list))
	}
	return list
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if why := breaks(pkg, imported); why != "" {
				t.Error(why)
			}
		}
	}
}

func TestTheFloorsForbidWhatPointsUpOrSideways(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		ok            bool
	}{
		{"policies/sched", "slices", true},
		{"policies/sched", "pgregory.net/rapid", false},
		{"policies/sched", module + "traces", false},
		{"policies/sched", module + "policies/internal/heap", false},
		{"policies", module + "policies/sched", true},
		{"policies", module + "traces", false},
		{"policies", module + "sim", false},
		{"policies", "gonum.org/v1/gonum/stat", false},
		{"policies", "github.com/expr-lang/expr", false},
		{"policies/internal/priority", "github.com/expr-lang/expr/ast", true},
		{"policies/internal/priority", "gonum.org/v1/gonum/stat", false},
		{"policies/internal/priority", module + "policies", false},
		{"policies/policytest/check", module + "policies/sched", true},
		{"policies/policytest/check", module + "policies", false},
		{"traces/graph", module + "traces", true},
		{"traces/graph", module + "policies/sched", true},
		{"traces/graph", module + "policies", false},
		{"traces", module + "sim", false},
		{"sim", module + "traces/metrics", true},
		{"sim", module + "policies", false},
		{"sim", module + "live", false},
		{"live", module + "sim", false},
		{"live/store", module + "live", true},
		{"live", module + "tui", false},
		{"tui", module + "live", false},
		{"tui", "github.com/charmbracelet/bubbletea", true},
		{"benchmarks/report", module + "sim", true},
		{"benchmarks/report", module + "benchmarks/stats", true},
		{"benchmarks/report", module + "live", false},
		{"benchmarks", module + "cmd/schedlab", false},
		{"cmd/schedlab", module + "live", true},
		{"helpers", "fmt", false},
		{"simulator", module + "sim", false}, // the name of a floor is not the floor
	} {
		if why := breaks(c.pkg, c.imported); (why == "") != c.ok {
			t.Errorf("%s imports %s: %q", c.pkg, c.imported, why)
		}
	}
}

func TestNoPackageIsADrawerForEverything(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range append(strings.Split(strings.TrimPrefix(p.ImportPath, module), "/"), p.Name) {
			switch name {
			case "util", "utils", "common", "helper", "helpers", "misc", "base", "shared":
				t.Errorf("%s is called %s, which says nothing: name it for what it does, or move its functions to where they are used", p.ImportPath, name)
			}
		}
	}
}

// clockUses are what package time offers that asks for the time or waits for it.
var clockUses = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// ownRandom are what the packages math/rand and math/rand/v2 offer that does not draw from their global source.
var ownRandom = []string{"New", "NewSource", "NewZipf", "NewPCG", "NewChaCha8", "Rand", "Source", "Source64", "Zipf", "PCG", "ChaCha8"}

// forbidden returns what a file takes from the clock (where clock says so) and from the global random source.
func forbidden(fset *token.FileSet, file *ast.File, clock bool) []string {
	var out []string
	names := map[string]string{} // as used in the file -> import path
	for _, im := range file.Imports {
		at := strings.Trim(im.Path.Value, `"`)
		if at != "time" && at != "math/rand" && at != "math/rand/v2" {
			continue
		}
		name := path.Base(strings.TrimSuffix(at, "/v2"))
		if im.Name != nil {
			name = im.Name.Name
		}
		if name == "." {
			out = append(out, fmt.Sprintf("%s: do not import %s with a dot", fset.Position(im.Pos()), at))
		}
		names[name] = at
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch at := names[x.Name]; {
		case at == "":
		case at == "time" && clock && slices.Contains(clockUses, sel.Sel.Name):
			out = append(out, fmt.Sprintf("%s: time.%s; instead: the core never asks the time, take it as an argument or from State.Now", fset.Position(sel.Pos()), sel.Sel.Name))
		case at != "time" && !slices.Contains(ownRandom, sel.Sel.Name):
			out = append(out, fmt.Sprintf("%s: rand.%s draws from the global source; instead: rand.New(rand.NewPCG(seed, ...)), so that a seed reproduces everything", fset.Position(sel.Pos()), sel.Sel.Name))
		}
		return true
	})
	return out
}

func TestNothingAsksTheClockOrTheGlobalRandomSource(t *testing.T) {
	files := 0
	for _, p := range packages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles, p.CgoFiles) {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			files++
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, what := range forbidden(fset, file, under(pkg, "policies") || under(pkg, "traces")) {
				t.Error(what)
			}
		}
	}
	if files < 60 {
		t.Errorf("only %d files were read", files)
	}
}

func TestForbiddenUsesAreFound(t *testing.T) {
	for text, want := range map[string]int{
		`import "time"; var x = time.Now()`:                                                  1,
		`import "time"; var x = time.Since`:                                                  1,
		`import clock "time"; var x = clock.Now()`:                                           1,
		`import . "time"; var x = 1`:                                                         1,
		`import "time"; var x = time.Second`:                                                 0,
		`import "math/rand"; var x = rand.Intn(3)`:                                           1,
		`import "math/rand/v2"; var x = rand.IntN(3)`:                                        1,
		`import "math/rand/v2"; var x = rand.New(rand.NewPCG(1, 2)).IntN(3)`:                 0,
		`import "math/rand/v2"; func f(r *rand.Rand) int { return r.IntN(3) }`:               0,
		`import "math/rand/v2"; func f() { rand.Shuffle(1, nil); _ = rand.Float64 }`:         2,
		`import "crypto/rand"; var x = rand.Reader`:                                          0,
		`type c struct{ time s }; type s struct{ Now int }; var y c; var x = y.time`:         0,
		`import "time"; func f(s interface{ Now() time.Time }) time.Time { return s.Now() }`: 0,
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x\n"+text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := forbidden(fset, file, true); len(got) != want {
			t.Errorf("%s: %q, wanted %d", text, got, want)
		}
	}
}
