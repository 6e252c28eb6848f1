// Package cluster checks what its folder holds for running sweeps on clusters.
package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schema is as much of JSON Schema as Kubernetes' OpenAPI uses.
type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Format     string            `json:"format"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	Additional *schema           `json:"additionalProperties"`
	OneOf      []schema          `json:"oneOf"`
}

type schemas map[string]schema

func loadSchemas(t *testing.T) schemas {
	data, err := os.ReadFile("testdata/job.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Schemas schemas `json:"schemas"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Schemas
}

// errors lists what is wrong with a value, as strictly as the API server with fieldValidation=Strict: fields that are not known are errors.
func (all schemas) errors(at string, v any, s schema) []string {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		target, ok := all[name]
		if !ok {
			return []string{at + ": no schema " + name}
		}
		return all.errors(at, v, target)
	}
	if len(s.OneOf) > 0 {
		var errs []string
		for _, one := range s.OneOf {
			e := all.errors(at, v, one)
			if len(e) == 0 {
				return nil
			}
			errs = append(errs, e...)
		}
		return errs
	}
	wrong := []string{fmt.Sprintf("%s: %v is no %s", at, v, s.Type)}
	var errs []string
	switch x := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			return wrong
		}
		for _, key := range s.Required {
			if _, ok := x[key]; !ok {
				errs = append(errs, at+": lacks "+key)
			}
		}
		for key, field := range x {
			switch p, ok := s.Properties[key]; {
			case ok:
				errs = append(errs, all.errors(at+"."+key, field, p)...)
			case s.Additional != nil:
				errs = append(errs, all.errors(at+"."+key, field, *s.Additional)...)
			default:
				errs = append(errs, at+": no field "+key)
			}
		}
	case []any:
		if s.Type != "array" {
			return wrong
		}
		for i, item := range x {
			errs = append(errs, all.errors(fmt.Sprintf("%s[%d]", at, i), item, *s.Items)...)
		}
	case string:
		if s.Type != "string" {
			return wrong
		}
	case int:
		if s.Type != "integer" && s.Type != "number" || s.Format == "int32" && int(int32(x)) != x {
			return wrong
		}
	case float64:
		if s.Type != "number" {
			return wrong
		}
	case bool:
		if s.Type != "boolean" {
			return wrong
		}
	default:
		return wrong
	}
	slices.Sort(errs)
	return errs
}

func manifest(t *testing.T) string {
	text, err := os.ReadFile("job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (all schemas) check(t *testing.T, text string) []string {
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return all.errors("job", doc, schema{Ref: "#/components/schemas/io.k8s.api.batch.v1.Job"})
}

func TestTheManifestIsValidByTheAPIsSchema(t *testing.T) {
	if errs := loadSchemas(t).check(t, manifest(t)); len(errs) > 0 {
		t.Error(strings.Join(errs, "\n"))
	}
}

func TestTheSchemaRefusesWhatTheAPIServerRefuses(t *testing.T) {
	all, good := loadSchemas(t), manifest(t)
	for _, c := range []struct{ old, new, want string }{
		{"completions: 16", "completion: 16", "no field completion"},
		{"completions: 16", "completions: \"16\"", "job.spec.completions: 16 is no integer"},
		{"completions: 16", "completions: 5000000000", "is no integer"},
		{"          image: schedlab:latest\n", "", ""}, // optional in the schema: pod templates may be completed later
		{"- name: compare", "- nam: compare", "containers[0]: lacks name"},
		{"value: \"16\"", "value: 16", "env[0].value: 16 is no string"},
		{"runAsNonRoot: true", "runAsNonRoot: yep", "is no boolean"},
		{"drop: [ALL]", "drop: ALL", "is no array"},
		{"mountPath: /parts", "mountpath: /parts", "lacks mountPath"},
		{"  template:", "  templates:", "lacks template"},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("the manifest has no %q any more", c.old)
		}
		errs := strings.Join(all.check(t, strings.Replace(good, c.old, c.new, 1)), "\n")
		if c.want == "" && errs != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%q instead of %q: want %q, got %q", c.new, c.old, c.want, errs)
		}
	}
}

func TestTheManifestTellsItsPodsHowManyTheyAre(t *testing.T) {
	var job struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Spec       struct {
			CompletionMode           string `yaml:"completionMode"`
			Completions, Parallelism int
			Template                 struct {
				Spec struct {
					RestartPolicy string `yaml:"restartPolicy"`
					Containers    []struct {
						Env          []struct{ Name, Value string }
						VolumeMounts []struct{ Name string } `yaml:"volumeMounts"`
					}
					Volumes []struct{ Name string }
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(manifest(t)), &job); err != nil {
		t.Fatal(err)
	}
	if job.APIVersion != "batch/v1" || job.Kind != "Job" || job.Spec.CompletionMode != "Indexed" {
		t.Errorf("%s %s in mode %s is no Indexed Job of batch/v1", job.APIVersion, job.Kind, job.Spec.CompletionMode)
	}
	pod := job.Spec.Template.Spec
	if pod.RestartPolicy != "Never" && pod.RestartPolicy != "OnFailure" {
		t.Errorf("a Job's pods cannot have the restart policy %q", pod.RestartPolicy)
	}
	told := ""
	for _, e := range pod.Containers[0].Env {
		if e.Name == "JOB_COMPLETIONS" {
			told = e.Value
		}
	}
	if told != strconv.Itoa(job.Spec.Completions) || job.Spec.Parallelism > job.Spec.Completions {
		t.Errorf("JOB_COMPLETIONS is %q with %d completions, %d at a time", told, job.Spec.Completions, job.Spec.Parallelism)
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if !slices.ContainsFunc(pod.Volumes, func(v struct{ Name string }) bool { return v.Name == m.Name }) {
			t.Errorf("there is no volume %s to mount", m.Name)
		}
	}
}
