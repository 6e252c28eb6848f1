package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// functions returns the names of all functions of the module, as profiles write them, without type parameters.
func functions(t *testing.T, root string) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := path.Join(module, filepath.ToSlash(folder))
		if f.Name.Name == "main" {
			pkg = "main"
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := fn.Name.Name
			if fn.Recv != nil {
				name = receiver(fn.Recv.List[0].Type) + "." + name
			}
			known[pkg+"."+name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// receiver writes a receiver's type as profiles do, without type parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "(*" + receiver(e.X) + ")"
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

var (
	parameters = regexp.MustCompile(`\[.*\]`)
	closure    = regexp.MustCompile(`\.(func\d+|gowrap\d+|\d+|deferwrap\d+)(\.\d+)*$`)
)

// plain returns the name of the declared function that a profile's one is of.
func plain(name string) string {
	name = parameters.ReplaceAllString(name, "")
	for name != closure.ReplaceAllString(name, "") {
		name = closure.ReplaceAllString(name, "")
	}
	return name
}

// The compiler knows hot functions by their names: what the profile has under names that are gone is lost without a word.
func TestTheProfileNamesTheFunctionsThatThereAre(t *testing.T) {
	root := filepath.Join("..", "..")
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(hot)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(data)
	if err != nil {
		t.Fatal(err)
	}
	index, err := p.SampleIndexByName("cpu")
	if err != nil {
		t.Fatal(err)
	}
	known := functions(t, root)
	var all, gone float64
	lost := map[string]bool{}
	for _, s := range p.Sample {
		name := s.Location[0].Line[0].Function.Name
		if !strings.HasPrefix(name, module) {
			continue
		}
		all += float64(s.Value[index])
		if !known[plain(name)] {
			gone += float64(s.Value[index])
			lost[name] = true
		}
	}
	if all == 0 || gone > all/10 {
		t.Errorf("%.0f %% of %s is of functions that there are no more (make pgo measures it again): %v", 100*gone/all, hot, lost)
	}
	t.Logf("%.2f %% of functions that there are no more: %v", 100*gone/all, lost)
	for _, f := range p.Function {
		if path.IsAbs(f.Filename) {
			t.Errorf("%s: a path of the machine that it was measured on", f.Filename)
		}
	}
	if len(p.Mapping) > 1 || len(p.Mapping) == 1 && p.Mapping[0].File != "" {
		t.Errorf("what the machine had in memory: %v", p.Mapping)
	}
}

func TestAProfileWeighsWhatItIsToldTo(t *testing.T) {
	f := &profile.Function{ID: 1, Name: "f", Filename: "f.go"}
	m := &profile.Mapping{ID: 1, File: "/tmp/program"}
	at := func(id uint64, line int64) *profile.Location {
		return &profile.Location{ID: id, Mapping: m, Address: 0x1000 + id, Line: []profile.Line{{Function: f, Line: line}}}
	}
	a, b := at(1, 5), at(2, 5)
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
		TimeNanos: 1, DurationNanos: 2, Mapping: []*profile.Mapping{m}, Location: []*profile.Location{a, b}, Function: []*profile.Function{f},
		Sample: []*profile.Sample{{Location: []*profile.Location{a}, Value: []int64{1, 4}}, {Location: []*profile.Location{b}, Value: []int64{3, 12}}},
	}
	if err := weigh(p, 0.5); err != nil {
		t.Fatal(err)
	}
	if v := p.Sample[0].Value[1] + p.Sample[1].Value[1]; v != 5e9 {
		t.Errorf("all samples together weigh %d", v)
	}
	sum, err := profile.Merge([]*profile.Profile{p, p.Copy()})
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Sample) != 1 || sum.Sample[0].Value[1] != 1e10 || sum.TimeNanos != 0 || len(sum.Mapping) > 0 {
		t.Errorf("one line at two addresses, twice: %v", sum)
	}
	if err := weigh(&profile.Profile{SampleType: p.SampleType}, 1); err == nil {
		t.Error("a profile without samples was taken")
	}
}
