package traces

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// daxDoc is what is read of a DAX document, versions 2 and 3.
type daxDoc struct {
	XMLName xml.Name `xml:"adag"`
	Jobs    []struct {
		ID      string     `xml:"id,attr"`
		Name    string     `xml:"name,attr"`
		Runtime *daxNumber `xml:"runtime,attr"`
		Cores   daxNumber  `xml:"numcores,attr"`
		Uses    []struct {
			File string    `xml:"file,attr"`
			Name string    `xml:"name,attr"` // version 3
			Link string    `xml:"link,attr"`
			Size daxNumber `xml:"size,attr"`
		} `xml:"uses"`
	} `xml:"job"`
	Children []struct {
		Ref     string `xml:"ref,attr"`
		Parents []struct {
			Ref string `xml:"ref,attr"`
		} `xml:"parent"`
	} `xml:"child"`
}

// daxNumber is an attribute whose error names it.
type daxNumber float64

func (n *daxNumber) UnmarshalXMLAttr(a xml.Attr) error {
	f, err := strconv.ParseFloat(strings.TrimSpace(a.Value), 64)
	if err != nil {
		return fmt.Errorf("%s: %q is not a number", a.Name.Local, clip(a.Value))
	}
	*n = daxNumber(f)
	return nil
}

// detectDAX: XML whose root is adag.
func detectDAX(head []byte, _ string) bool {
	return len(head) > 0 && head[0] == '<' && bytes.Contains(head, []byte("<adag"))
}

// readDAX reads a Pegasus DAX as one job called as the file, submitted at 0. Run times are seconds, sizes bytes. What an edge carries are the
// files that the parent writes and the child reads; a file that no job writes is input. A job asks for its numcores (1 if not stated).
// Records in errors and notes are jobs, counted from 1.
func readDAX(in io.Reader, b *Builder) error {
	b.noLine = true
	data, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err != nil {
		return b.Errorf(0, "%w", err)
	}
	if len(data) > maxDocument {
		return b.Errorf(0, "a DAX document of more than %d MiB", maxDocument>>20)
	}
	var doc daxDoc
	d := xml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&doc); err != nil {
		var syntax *xml.SyntaxError
		switch line, _ := d.InputPos(); {
		case errors.As(err, &syntax):
			return b.Errorf(syntax.Line, "not XML: %s", syntax.Msg)
		case err == io.EOF:
			return b.Errorf(0, "not XML: there is no element in it")
		default:
			return b.Errorf(line, "%w", err)
		}
	}
	job := filepath.Base(strings.TrimSuffix(strings.TrimSuffix(b.source, ".gz"), ".zst"))
	job = strings.TrimSuffix(strings.TrimSuffix(job, ".xml"), ".dax")
	index := make(map[string]int, len(doc.Jobs))
	written := map[string]bool{}
	writes := make([]map[string]bool, len(doc.Jobs))
	for i := range doc.Jobs {
		j := &doc.Jobs[i]
		if j.ID == "" {
			return b.Errorf(i+1, "a job without id")
		}
		index[j.ID], writes[i] = i, map[string]bool{}
		for k := range j.Uses {
			u := &j.Uses[k]
			if u.File == "" {
				u.File = u.Name
			}
			if !(u.Size >= 0 && u.Size < 1<<60) {
				return b.Errorf(i+1, "job %q: file %q has a size of %v", clip(j.ID), clip(u.File), u.Size)
			}
			if u.Link == "output" {
				written[u.File], writes[i][u.File] = true, true
			}
		}
	}
	after := make([][]int, len(doc.Jobs))
	for _, c := range doc.Children {
		i, ok := index[c.Ref]
		if !ok {
			return b.Errorf(0, "child: no job %q", clip(c.Ref))
		}
		for _, p := range c.Parents {
			at, ok := index[p.Ref]
			if !ok {
				return b.Errorf(i+1, "parent: no job %q", clip(p.Ref))
			}
			after[i] = append(after[i], at)
		}
	}
	for i := range doc.Jobs {
		j := &doc.Jobs[i]
		r := Row{ID: j.ID, Job: job, Kind: j.Name, Estimate: -1, Line: i + 1}
		switch {
		case j.Runtime == nil:
			b.Mend("no run time: taken as 0", i+1)
		case !(*j.Runtime >= 0 && float64(*j.Runtime) <= maxDuration.Seconds()):
			return b.Errorf(i+1, "job %q: a run time of %v s", clip(j.ID), *j.Runtime)
		default:
			r.Run = time.Duration(math.Round(float64(*j.Runtime) * 1e9))
		}
		r.Need.CPU = 1000
		if j.Cores != 0 {
			if !(j.Cores > 0 && j.Cores <= 1e9) {
				return b.Errorf(i+1, "job %q: %v cores", clip(j.ID), j.Cores)
			}
			r.Need.CPU = int64(math.Ceil(float64(j.Cores) * 1000))
		}
		size := func(use func(file, link string) bool) (int64, error) {
			sum := 0.0
			for _, u := range j.Uses {
				if use(u.File, u.Link) {
					sum += float64(u.Size)
				}
			}
			if sum >= 1<<60 {
				return 0, fmt.Errorf("job %q: files of more than 2^60 bytes", clip(j.ID))
			}
			return int64(sum), nil
		}
		if r.InputBytes, err = size(func(f, link string) bool { return link != "output" && !written[f] }); err != nil {
			return b.Errorf(i+1, "%w", err)
		}
		if r.OutputBytes, err = size(func(_, link string) bool { return link == "output" }); err != nil {
			return b.Errorf(i+1, "%w", err)
		}
		for _, p := range after[i] {
			sent, err := size(func(f, link string) bool { return link != "output" && writes[p][f] })
			if err != nil {
				return b.Errorf(i+1, "%w", err)
			}
			r.After, r.AfterBytes = append(r.After, doc.Jobs[p].ID), append(r.AfterBytes, sent)
		}
		if err := b.Add(&r); err != nil {
			return err
		}
	}
	return nil
}
