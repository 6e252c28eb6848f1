package job

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestInputsAreReadAndPlaced(t *testing.T) {
	j, err := Parse([]byte(`
dir: /data
params: {set: train}
tasks:
  - id: a
    command: "true"
    array: 1-2
    inputs: ["{set}/part-{index}.bin", "/abs/x.bin:as=in/x", "https://host:8443/a/b.tar?v=1", {from: /big, link: true}, "http://h/y:as=y:link.z"]
`), "j")
	if err != nil {
		t.Fatal(err)
	}
	want := []Input{
		{From: "/data/train/part-2.bin", As: "part-2.bin"},
		{From: "/abs/x.bin", As: "in/x"},
		{From: "https://host:8443/a/b.tar?v=1", As: "b.tar"},
		{From: "/big", As: "big", Link: true},
		{From: "http://h/y:as=y:link.z", As: "y:as=y:link.z"},
	}
	if got := j.Tasks[1].Inputs; !reflect.DeepEqual(got, want) {
		t.Errorf("inputs %+v\nwant   %+v", got, want)
	}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(text, "json"); err != nil || !reflect.DeepEqual(again.Tasks[1].Inputs, want) {
		t.Errorf("read back as %+v, %v", again, err)
	}
	for _, c := range []struct{ text, want string }{
		{`["../x"]`, "leads out of the folder of the job"},
		{`["x:as=../y"]`, "leads out of the folder of the inputs"},
		{`["x:as=/y"]`, "leads out of the folder of the inputs"},
		{`["/"]`, "leads out of the folder of the inputs"},
		{`["x", "sub/x"]`, "another is called x too"},
		{`["x:as=a", "y:as=a/b"]`, "lies below input a"},
		{`["ftp://h/x"]`, "http and https"},
		{`["http://h/x:link"]`, "cannot be linked"},
		{`[""]`, "a path or a URL"},
		{`[{from: x, ass: y}]`, "unknown field ass"},
		{`["a\0b"]`, "a path or a URL"},
	} {
		_, err := Parse([]byte("dir: /data\ntasks: [{id: a, command: x, inputs: "+c.text+"}]"), "j")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
	if _, err := Parse([]byte(`{"tasks":[{"id":"a","command":"x","env":{"INPUT_DIR":"/"}}]}`), "j"); err == nil {
		t.Error("INPUT_DIR can be set")
	}
}
