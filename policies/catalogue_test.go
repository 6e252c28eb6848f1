package policies_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
)

// drawSpec draws a way to write a policy of the catalogue: parameters in any order, spaces here and there.
func drawSpec(t *rapid.T, e policies.Entry) (text string, set map[string]string, placement, estimates string) {
	space := rapid.SampledFrom([]string{"", "", " ", "\t "})
	set = map[string]string{}
	var pairs []string
	for _, p := range e.Params {
		if !rapid.Bool().Draw(t, "give "+p.Name) {
			continue
		}
		var v string
		switch {
		case p.Form != nil:
			v = rapid.SampledFrom([]string{p.Default, p.Example}).Draw(t, p.Name)
		case len(p.Choices) > 0:
			v = rapid.SampledFrom(p.Choices).Draw(t, p.Name)
		case p.Default == "true" || p.Default == "false":
			v = rapid.SampledFrom([]string{"true", "false"}).Draw(t, p.Name)
		case p.Default == "auto":
			v = rapid.SampledFrom([]string{"auto", "1ns", "30s", "1h2m3s", "0.5ms"}).Draw(t, p.Name)
		default:
			v = fmt.Sprint(rapid.SampledFrom([]float64{0, 1, 0.25, 12, 1e9, 1e-3}).Draw(t, p.Name))
			if strings.Contains(v, "+") {
				v = "1000000000"
			}
		}
		set[p.Name] = v
		pairs = append(pairs, p.Name+space.Draw(t, "space")+"="+space.Draw(t, "space")+v)
	}
	if rapid.Bool().Draw(t, "estimates") {
		estimates = rapid.SampledFrom([]string{"perfect", "trace", "factor:2.5"}).Draw(t, "how")
		pairs = append(pairs, "estimates="+estimates)
	}
	pairs = rapid.Permutation(pairs).Draw(t, "order")
	text = space.Draw(t, "space") + e.Name
	if len(pairs) > 0 || rapid.Bool().Draw(t, "brackets") {
		text += "{" + strings.Join(pairs, ","+space.Draw(t, "space")) + "}"
	}
	if e.Placed && rapid.Bool().Draw(t, "placed") {
		names := policies.PlacementNames()
		if set["repack"] == "true" {
			names = slices.DeleteFunc(names, func(name string) bool { return policies.FindPlacement(name).Company })
		}
		placement = rapid.SampledFrom(names).Draw(t, "placement")
		text += space.Draw(t, "space") + "+" + space.Draw(t, "space") + placement
		var given []string
		for _, p := range policies.FindPlacement(placement).Params {
			if rapid.Bool().Draw(t, "give "+p.Name) {
				given = append(given, p.Name+space.Draw(t, "space")+"="+rapid.SampledFrom(append([]string{p.Default}, append(p.Choices, p.Example)...)).Draw(t, p.Name))
			}
		}
		given = slices.DeleteFunc(given, func(kv string) bool { return strings.HasSuffix(kv, "=") })
		if given = rapid.Permutation(given).Draw(t, "order"); len(given) > 0 {
			text += "{" + strings.Join(given, ", ") + "}"
		}
	}
	return text + space.Draw(t, "space"), set, placement, estimates
}

func TestEveryPolicyPrintsAsItParses(t *testing.T) {
	for _, e := range policies.Catalogue {
		t.Run(e.Name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				text, set, placement, estimates := drawSpec(rt, e)
				spec, err := policies.Parse(text)
				if err != nil {
					rt.Fatalf("%q: %v", text, err)
				}
				if spec.Name != e.Name || spec.Placement != placement || spec.Estimates != estimates {
					rt.Fatalf("%q is read as %+v", text, spec)
				}
				for _, p := range e.Params {
					want, given := set[p.Name]
					i := slices.IndexFunc(spec.Set, func(kv policies.Setting) bool { return kv.Key == p.Name })
					switch {
					case given && i < 0 && !sameValue(want, p.Default), !given && i >= 0:
						rt.Fatalf("%q is read as %+v", text, spec)
					case i >= 0 && !sameValue(spec.Set[i].Value, want):
						rt.Fatalf("%q: %s is read as %q", text, p.Name, spec.Set[i].Value)
					}
				}
				again, err := policies.Parse(spec.String())
				if err != nil || again.String() != spec.String() || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", spec) {
					rt.Fatalf("%q prints as %q, which is read as %+v (%v)", text, spec.String(), again, err)
				}
				if p, err := policies.Build(spec, policies.Hints{}); err != nil || p == nil {
					rt.Fatalf("%q: %v", text, err)
				}
				if list := policies.Split(spec.String() + ", " + text); len(list) != 2 || list[0] != spec.String() {
					rt.Fatalf("a list of %q and %q splits into %q", spec.String(), text, list)
				}
			})
		})
	}
}

// sameValue reports whether two texts are one value.
func sameValue(a, b string) bool {
	x, xerr := time.ParseDuration(a)
	y, yerr := time.ParseDuration(b)
	v, verr := strconv.ParseFloat(a, 64)
	w, werr := strconv.ParseFloat(b, 64)
	return a == b || xerr == nil && yerr == nil && x == y || verr == nil && werr == nil && v == w
}

func TestWhatMeansTheSamePrintsTheSame(t *testing.T) {
	for want, same := range map[string][]string{
		"rr{quantum=10m}":                      {"rr{quantum=600s}", "rr{ quantum = 0h10m0s }", "rr{quantum=10m0s}"},
		"rr{quantum=1h}":                       {"rr{quantum=60m}", "rr{quantum=3600s}"},
		"rr{quantum=1m30s}":                    {"rr{quantum=90s}"},
		"rr":                                   {"rr{}", "rr{quantum=auto}"},
		"2d-las{queues=3600/7200,promote=0.5}": {"2d-las{promote=.50,queues=3600.0/7.2e3}", "2d-las{queues=3600/7200,fifo=start,promote=0.5}"},
		"2d-las":                               {"2d-las{queues=3600.0,promote=0e0}"},
		"fair-share":                           {"fair-share{half-life=604800s}"},
		"critical-path{rank=0.25,age=1000}":    {"critical-path{age=1e3,rank=0x1p-2}"},
		"critical-path{rank=1e-07}":            {"critical-path{rank=0.0000001}", "critical-path{rank=1e-7}"},
		"easy{scan=sjbf}+random{seed=3}":       {"easy{scan=sjbf,depth=" + strconv.Itoa(policies.DefaultDepth) + "}+random{seed=003}"},
		"sjf+random":                           {"sjf+random{seed=" + policies.FindPlacement("random").Params[0].Default + "}"},
	} {
		for _, text := range append(same, want) {
			spec, err := policies.Parse(text)
			if err != nil || spec.String() != want {
				t.Errorf("%s prints as %s, want %s (%v)", text, spec, want, err)
			}
		}
	}
}

func TestDefaultsAreValuesThatTheirParametersTake(t *testing.T) {
	for _, e := range policies.Catalogue {
		if e.Summary == "" || e.About == "" || e.Source == "" {
			t.Errorf("%s explains itself badly", e.Name)
		}
		for _, p := range e.Params {
			if _, err := policies.Parse(e.Name + "{" + p.Name + "=" + p.Default + "}"); err != nil {
				t.Errorf("%s: the default of %s is refused: %v", e.Name, p.Name, err)
			}
			if p.About == "" {
				t.Errorf("%s: %s is not explained", e.Name, p.Name)
			}
		}
	}
	if len(policies.Names()) != len(policies.Catalogue) || policies.Find("no such") != nil {
		t.Error("Names or Find")
	}
	for _, e := range policies.Placements {
		if e.About == "" || e.Source == "" {
			t.Errorf("placement %s is not explained", e.Name)
		}
		for _, p := range e.Params {
			if _, err := policies.Parse("fifo+" + e.Name + "{" + p.Name + "=" + p.Default + "}"); err != nil || p.About == "" {
				t.Errorf("placement %s: the default of %s is refused, or it is not explained: %v", e.Name, p.Name, err)
			}
		}
	}
	if len(policies.PlacementNames()) != len(policies.Placements) || policies.FindPlacement("no such") != nil {
		t.Error("PlacementNames or FindPlacement")
	}
}

func TestErrorsOfParseSayWhatIsKnown(t *testing.T) {
	for text, parts := range map[string][]string{
		"":                                   {"unknown policy", "fifo", "critical-path"},
		"fifoo":                              {`"fifoo"`, "fifo", "easy"},
		"rr{quantumm=3s}":                    {`"quantumm"`, "quantum", "estimates"},
		"rr{quantum=3}":                      {"quantum", "30s", `"3"`},
		"rr{quantum=0s}":                     {"quantum", "positive"},
		"rr{quantum=-3s}":                    {"quantum", "positive"},
		"rr{quantum=3s":                      {"not closed"},
		"rr{quantum=3s}x":                    {"not closed"},
		"rr{quantum}":                        {`"quantum"`, "key=value"},
		"rr{=3s}":                            {"key=value"},
		"rr{quantum=}":                       {"key=value"},
		"rr{quantum=3s,quantum=4s}":          {"twice"},
		"rr{estimates=perfect,estimates=no}": {"twice"},
		"easy{scan=sjf}":                     {"arrival, sjbf, reverse, lookahead", `"sjf"`},
		"srtf{preempt=yes}":                  {"true or false", `"yes"`},
		"critical-path{rank=-1}":             {"rank", "number"},
		"critical-path{rank=NaN}":            {"rank", "number"},
		"critical-path{rank=Inf}":            {"rank", "number"},
		"critical-path{rank=much}":           {"rank", "number"},
		"critical-path{score=0.5}":           {"score", "whole number", `"0.5"`},
		"qssf{samples=0.5}":                  {"samples", "whole number from 1", `"0.5"`},
		"qssf{samples=0}":                    {"samples", "whole number from 1", `"0"`},
		"critical-path+seed":                 {"chooses its nodes itself"},
		"srtf{repack=true}+pack-by-tenant":   {"goes by who runs on a node"},
		"srsf{repack=true}+gpu-clustering":   {"goes by who runs on a node"},
		"fifo+besst-fit":                     {`"besst-fit"`, "best-fit", "first-fit", "worst-fit", "seed"},
		"fifo+":                              {"placement", "best-fit"},
		"fifo{skip=true}":                    {`"skip"`},
		"fifo{unplaced=drop}":                {"wait, reject", `"drop"`},
		"fifo+random{sed=3}":                 {`"sed"`, "it has seed"},
		"fifo+random{seed=-3}":               {"seed", "whole number", `"-3"`},
		"fifo+random{seed=1.5}":              {"seed", "whole number", `"1.5"`},
		"fifo+random{seed=3":                 {"not closed"},
		"fifo+random{estimates=perfect}":     {`"estimates"`, "it has seed"},
		"fifo+first-fit{seed=3}":             {`"seed"`, "it has none"},
		"fifo+best-fit{by=cpu}":              {"gpu, sum", `"cpu"`},
		"fifo+fgd{score=1,score=2}":          {"twice"},
		"fifo+fgd+seed":                      {`"fifo+fgd"`},
		"critical-path+fgd{score=1}":         {"chooses its nodes itself"},
	} {
		_, err := policies.Parse(text)
		if err == nil {
			t.Errorf("%q is accepted", text)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: the error %q does not say %q", text, err, part)
			}
		}
	}
}

func TestSplitCutsOutsideBracketsOnly(t *testing.T) {
	for list, want := range map[string][]string{
		"fifo":                            {"fifo"},
		"sjf+random{seed=3,x=1}, fifo":    {"sjf+random{seed=3,x=1}", "fifo"},
		"fifo,easy{scan=sjbf}, rr":        {"fifo", "easy{scan=sjbf}", "rr"},
		"rr{quantum=3s,estimates=x},fifo": {"rr{quantum=3s,estimates=x}", "fifo"},
		"expr: f(a,b), fifo":              {"expr: f(a,b)", "fifo"},
		"a,,b":                            {"a", "", "b"},
		"":                                {""},
	} {
		if got := policies.Split(list); !slices.Equal(got, want) {
			t.Errorf("%q splits into %q, wanted %q", list, got, want)
		}
	}
}

func TestTheDefaultQuantumIsATenthOfTheMeanEstimate(t *testing.T) {
	// Two tasks of 10 s share a core: with slices of 2 s the first stops at 2.
	w := workload(t, cores(0, 10, 1), cores(0, 10, 1))
	spec, err := policies.Parse("rr")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policies.Build(spec, policies.Hints{MeanEstimate: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	tap, text := orders()
	simulate(t, config(w, machines(1, 1, 0), p, tap))
	if want := "0 start 0@0, 2 stop 0, 2 start 1@0, 4 stop 1, 4 start 0@0"; !strings.HasPrefix(text(), want) {
		t.Errorf("orders %s, wanted %s first", text(), want)
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range policies.Catalogue {
		f.Add(e.Name)
		for _, p := range e.Params {
			f.Add(e.Name + "{" + p.Name + "=" + p.Default + "}")
		}
	}
	f.Add("easy{scan=sjbf,estimates=factor:2}+best-fit")
	f.Add("rr{quantum=1s,}+{}")
	f.Add("gittins{distribution=0}")
	f.Add("sjf + random{ seed=3 }")
	f.Add("critical-path{rank=0x1p-2,age=1e3}")
	f.Fuzz(func(t *testing.T, text string) {
		for _, part := range policies.Split(text) {
			spec, err := policies.Parse(part)
			if err != nil {
				if !strings.Contains(err.Error(), "policy") {
					t.Fatalf("%q: the error %q does not say what it is about", part, err)
				}
				continue
			}
			printed := spec.String()
			again, err := policies.Parse(printed)
			if err != nil || again.String() != printed {
				t.Fatalf("%q prints as %q, which is read as %q (%v)", part, printed, again, err)
			}
			if _, err := policies.Build(spec, policies.Hints{}); err != nil && !errors.Is(err, fs.ErrNotExist) { // a distribution may be a file
				t.Fatalf("%q: %v", part, err)
			}
		}
	})
}
