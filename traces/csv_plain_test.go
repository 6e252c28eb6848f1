package traces

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func readCSVBoth(file []byte) string {
	return differs(func(slow bool) (*Builder, error) {
		b := NewBuilder("t", "csv")
		s, err := newNativeCSV(bytes.NewReader(file), b)
		if err != nil {
			return b, err
		}
		s.plain.usable = s.plain.usable && !slow
		return b, s.all()
	})
}

func TestPlainCSVRowsReadAsAnyRow(t *testing.T) {
	heads := []string{
		"id,submit_s,run_s,estimate_s,cpu,mem_gb,gpus,tenant", "submit_s,id,run_s", "tenant,queue,id,job,submit_s,run_s,cpu,gpus,after", "id,run_s,submit_s,deadline_s,period_s",
		"run_s,submit_s,estimate_s,kind,id", "id,run_s", "id,name,submit_s,run_s,retries,run_on",
	}
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.SampledFrom(heads).Draw(t, "head")
		columns := strings.Split(head, ",")
		decimals := rapid.IntRange(0, 9).Draw(t, "decimals")
		strange := rapid.SampledFrom([]string{"", "-1", "1.5", ".5", "5.", "1e3", "+1", " 7", "7 ", "x", "1..2", "12-3", "a b", `"1"`, `"a,b"`, `"a""b"`, "a;b", "12345678901", "123456789.123456789", "0.1234567890", "\xc2\xa01", "\xff", "/", ":", "1:2"})
		var file strings.Builder
		file.WriteString(head + "\n")
		for i := range rapid.IntRange(1, 30).Draw(t, "rows") {
			for c, name := range columns {
				if c > 0 {
					file.WriteByte(',')
				}
				switch odd := rapid.IntRange(0, 60).Draw(t, "odd") == 0; {
				case odd:
					file.WriteString(strange.Draw(t, "strange"))
				case name == "id":
					file.WriteString(rapid.SampledFrom([]string{fmt.Sprint(i + 1), fmt.Sprint(i + 1), fmt.Sprint(i + 1), fmt.Sprint(i + 1), fmt.Sprint(i + 1), fmt.Sprint(i + 1), "0" + fmt.Sprint(i+1), "job-" + fmt.Sprint(i)}).Draw(t, "id"))
				case name == "submit_s", name == "run_s":
					fmt.Fprintf(&file, "%.*f", decimals, rapid.Float64Range(0, 2e5).Draw(t, "s"))
				case name == "estimate_s":
					file.WriteString(rapid.SampledFrom([]string{"", "0", "0.000", "100.25", "7.125", "3.001"}).Draw(t, "estimate"))
				case name == "tenant", name == "queue", name == "kind", name == "name":
					file.WriteString(rapid.SampledFrom([]string{"", "a", "user1", "a-team-with-a-long-name", "other-team-with-a-long-name"}).Draw(t, "text"))
				case name == "job", name == "after", name == "run_on":
					file.WriteString(rapid.SampledFrom([]string{"", "", "", "", "J", "1", "A=1"}).Draw(t, "rare"))
				default:
					file.WriteString(rapid.SampledFrom([]string{"", "0", "1", "2", "4"}).Draw(t, "number"))
				}
			}
			file.WriteString(rapid.SampledFrom([]string{"\n", "\n", "\n", "\n", "\n", "\n", "\r\n", "\n\n", ",\n", " \n", "\n1\n"}).Draw(t, "end"))
		}
		if odd := readCSVBoth([]byte(file.String())); odd != "" {
			t.Fatalf("%s reads as %s", file.String(), odd)
		}
	})
}

func TestNearlyAllRowsOfACSVAreTakenAsPlain(t *testing.T) {
	b := NewBuilder("t", "csv")
	s, err := newNativeCSV(strings.NewReader(benchCSV(10_000)), b)
	if err != nil {
		t.Fatal(err)
	}
	slow := 0
	for ; ; slow++ {
		if err := s.plainRows(); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.next(); err != nil {
			t.Fatal(err)
		} else if !ok {
			break
		}
		if err := s.task(); err != nil {
			t.Fatal(err)
		}
	}
	if slow > 1000 || b.Len() != 10_000 {
		t.Errorf("%d of %d rows were read one by one", slow, b.Len())
	}
}

func FuzzPlainCSV(f *testing.F) {
	f.Add([]byte("id,submit_s,run_s,estimate_s,cpu,tenant\n1,0.5,1.25,2.5,4,a\n2,1.5,1.25,2.5,4,a\n3,2.5,11.25,,4,a\n4,2.5,11.25,7,4,\"a\"\n5,3.5,1,1.25,4,a\n"))
	f.Add([]byte("tenant,id,job,submit_s,run_s,cpu,after\nu,1,,0,10,1,\nu,2,,5,10,1,\nu,3,,5,10,1,2\nu,4,J,5,10,1,\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if odd := readCSVBoth(file); odd != "" {
			t.Fatalf("%q reads as %s", file, odd)
		}
	})
}
