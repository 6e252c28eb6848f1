package traces

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// readBoth reads a log with the quick reading of plain lines and without it, and reports where they differ.
func readBoth(log []byte) string {
	read := func(slow bool) (*Builder, error) {
		b := NewBuilder("t", "swf")
		r := newSWFReader(bytes.NewReader(log), b)
		r.slow = slow
		return b, r.all()
	}
	quick, err := read(false)
	plain, err2 := read(true)
	if fmt.Sprint(err) != fmt.Sprint(err2) {
		return fmt.Sprintf("%v, and line by line %v", err, err2)
	}
	quick.ids.next, plain.ids.next = nil, nil
	if !reflect.DeepEqual(quick, plain) {
		return fmt.Sprintf("%+v, and line by line %+v", quick, plain)
	}
	return ""
}

func TestPlainSWFLinesReadAsAnyLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.SampledFrom([]string{"-1", "0", "1", "2", "3", "5", "12", "64", "-0", "007"})
		number := rapid.OneOf(small, small, rapid.StringMatching(`-?[0-9]{1,11}`))
		cell := rapid.Map(rapid.SliceOfN(number, 18, 18), func(c []string) []string { return c })
		strange := rapid.SampledFrom([]string{"", "+1", "1.5", "1e3", "-", ".", "99999999999999999", "12345678901234567890", "x", "\x00", "\v", "\t", ";", "-1 -1", "\xc3\xa9", "/", ":"})
		gap := rapid.SampledFrom([]string{" ", " ", " ", "  ", "         ", "\t", " \t"})
		var log strings.Builder
		for range rapid.IntRange(1, 8).Draw(t, "lines") {
			c := cell.Draw(t, "cells")
			odd := rapid.IntRange(0, 60).Draw(t, "odd cell")
			if odd < len(c) {
				c[odd] = strange.Draw(t, "odd")
			}
			sep := gap.Draw(t, "gap")
			if rapid.Bool().Draw(t, "pad") {
				log.WriteString(sep)
			}
			for i, s := range c {
				if i > 0 {
					log.WriteString(sep)
				}
				if rapid.IntRange(0, 9).Draw(t, "wide") == 0 {
					log.WriteString("      ")
				}
				log.WriteString(s)
			}
			log.WriteString(rapid.SampledFrom([]string{"\n", "\n", " \n", "\r\n", " -1\n", "\n; MaxProcs: 64\n", "\n\n"}).Draw(t, "end"))
		}
		if odd := readBoth([]byte(log.String())); odd != "" {
			t.Fatalf("%q reads as %s", log.String(), odd)
		}
	})
}

func FuzzSWFLines(f *testing.F) {
	f.Add([]byte("; MaxProcs: 128\n 1 0 -1 100 8 -1 -1 8 600 -1 1 3 1 2 1 -1 -1 -1\n2 5 -1 10 8 -1 -1 8 60 -1 1 3 1 2 1 -1 -1 -1"))
	f.Fuzz(func(t *testing.T, log []byte) {
		if odd := readBoth(log); odd != "" {
			t.Fatalf("%q reads as %s", log, odd)
		}
	})
}

func TestSWFRowsAreReadWithoutAllocation(t *testing.T) {
	log := func(n int) []byte {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, "%d %d -1 %d %d -1 -1 %d 3600 -1 1 %d 1 %d 1 -1 -1 -1\n", i+1, i, i%100+1, 1<<(i%5), 1<<(i%5), i%30, i%3)
		}
		return b.Bytes()
	}
	allocs := func(data []byte) float64 {
		return testing.AllocsPerRun(3, func() {
			if err := readSWF(bytes.NewReader(data), NewBuilder("t", "swf")); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocs(log(5000)), allocs(log(50_000)); many > few+40 { // the tables grow now and then
		t.Errorf("%v allocations for 5,000 rows, %v for 50,000", few, many)
	}
}
