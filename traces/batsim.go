package traces

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/mismatch"
)

func detectBatsim(head []byte, _ string) bool {
	head = bytes.TrimSpace(head)
	return len(head) > 0 && head[0] == '{' && (bytes.Contains(head, []byte(`"nb_res"`)) ||
		bytes.Contains(head, []byte(`"subtime"`)) && bytes.Contains(head, []byte(`"profile"`)))
}

// jsonStream reads a JSON document value by value. No value may be larger than maxLine, whatever the document's size.
type jsonStream struct {
	*json.Decoder
	in       io.Reader
	left     int // bytes that may be read before the next value ends
	read     int64
	ends     []int64 // offsets of line ends that the decoder has not passed
	passed   int
	tooLarge bool
}

func newJSONStream(in io.Reader) *jsonStream {
	s := &jsonStream{in: in}
	s.reset()
	s.Decoder = json.NewDecoder(s)
	return s
}

// reset is called after each value: the decoder may hold what it read ahead, so twice the limit is let through.
func (s *jsonStream) reset() { s.left = 2 * maxLine }

func (s *jsonStream) Read(p []byte) (int, error) {
	if s.left <= 0 {
		s.tooLarge = true
		return 0, errors.New("a value is larger than 1 MiB")
	}
	n, err := s.in.Read(p[:min(len(p), s.left)])
	s.left -= n
	for i, c := range p[:n] {
		if c == '\n' {
			s.ends = append(s.ends, s.read+int64(i))
		}
	}
	s.read += int64(n)
	return n, err
}

// line returns the number of the line that the decoder stands in.
func (s *jsonStream) line() int {
	at, i := s.InputOffset(), 0
	for i < len(s.ends) && s.ends[i] < at {
		i++
	}
	s.passed += i
	s.ends = append(s.ends[:0], s.ends[i:]...)
	return s.passed + 1
}

// delim reads one token, which must be the delimiter.
func (s *jsonStream) delim(want json.Delim) error {
	s.reset()
	t, err := s.Token()
	if err != nil {
		return noEOF(err)
	}
	if t != want {
		names := map[json.Token]string{json.Delim('{'): "an object", json.Delim('['): "a list"}
		if name, ok := names[want]; ok {
			return fmt.Errorf("%s is wanted, not %s", name, cmp.Or(names[t], clip(fmt.Sprint(t))))
		}
		return fmt.Errorf("%v instead of %v", t, want)
	}
	return nil
}

// key reads an object's next key; false at its end.
func (s *jsonStream) key() (string, bool, error) {
	s.reset()
	if !s.More() {
		return "", false, s.delim('}')
	}
	t, err := s.Token()
	if err != nil {
		return "", false, noEOF(err)
	}
	k, ok := t.(string)
	if !ok {
		return "", false, errors.New("an object without a key")
	}
	return k, true, nil
}

// value reads the next value into v.
func (s *jsonStream) value(v any) error {
	s.reset()
	return noEOF(s.Decode(v))
}

// skip passes over the next value without keeping it, whatever its size.
func (s *jsonStream) skip() error {
	for depth := 0; ; {
		s.reset()
		t, err := s.Token()
		if err != nil {
			return noEOF(err)
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > 1000 {
				return errors.New("nested deeper than 1000")
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// batsimJob is what is kept of a job until the profiles are known; they may stand after the jobs.
type batsimJob struct {
	id, profile        string
	submit, res, limit int64 // ns, count, ns (-1 = none)
	line               int
}

// batsimProfile is a profile's run time in ns, or why it has none.
type batsimProfile struct {
	run  int64
	kind string
}

// readBatsim reads a Batsim workload: a job of res resources is a gang of res replicas of one CPU, nb_res names the cluster, the
// walltime is the estimate. Only profiles with a delay have a run time; jobs of others (parallel tasks, compositions) are dropped.
func readBatsim(in io.Reader, b *Builder) error {
	s := newJSONStream(in)
	fail := func(err error) error { return b.Errorf(s.line(), "%w", mismatch.JSON(err)) }
	if err := s.delim('{'); err != nil {
		return fail(err)
	}
	var jobs []batsimJob
	profiles := map[string]batsimProfile{}
	for {
		key, more, err := s.key()
		if err != nil {
			return fail(err)
		}
		if !more {
			break
		}
		switch key {
		case "nb_res":
			var n json.Number
			if err := s.value(&n); err != nil {
				return fail(err)
			}
			v, err := strconv.ParseInt(n.String(), 10, 64)
			if err != nil || v < 0 || v > 1<<20 {
				return b.Errorf(s.line(), "nb_res: %q is not a number of resources up to 2^20", clip(n.String()))
			}
			nodes := make([]sched.NodeSpec, v)
			for i := range nodes {
				nodes[i] = cpuNode("res"+strconv.Itoa(i), 1)
			}
			if v > 0 {
				b.SetCluster(nodes)
			}
		case "profiles":
			if err := s.delim('{'); err != nil {
				return fail(err)
			}
			for {
				name, more, err := s.key()
				if err != nil {
					return fail(err)
				}
				if !more {
					break
				}
				var p struct {
					Type  string       `json:"type"`
					Delay *json.Number `json:"delay"`
				}
				if err := s.value(&p); err != nil {
					return fail(err)
				}
				profile := batsimProfile{run: -1, kind: clip(p.Type)}
				if p.Delay != nil && (strings.EqualFold(p.Type, "delay") || p.Type == "DelayProfile") {
					profile.run, err = parseFixed([]byte(p.Delay.String()), 9)
					if err == nil && profile.run < 0 {
						err = fmt.Errorf("%s is negative", clip(p.Delay.String()))
					}
					if err != nil {
						return b.Errorf(s.line(), "profile %s: delay: %w", clip(name), err)
					}
				}
				profiles[name] = profile
			}
		case "jobs":
			if err := s.delim('['); err != nil {
				return fail(err)
			}
			for s.More() {
				s.reset()
				j, err := readBatsimJob(s)
				if err != nil {
					return fail(err)
				}
				jobs = append(jobs, j)
			}
			if err := s.delim(']'); err != nil {
				return fail(err)
			}
		default:
			if err := s.skip(); err != nil {
				return fail(err)
			}
		}
	}
	kinds := 0
	for i := range jobs {
		j := &jobs[i]
		p, ok := profiles[j.profile]
		switch {
		case !ok:
			return b.Errorf(j.line, "job %s: no profile %q", clip(j.id), clip(j.profile))
		case p.run < 0:
			reason := "profile of type " + p.kind + " has no run time"
			if kinds++; kinds > 100 { // the set of reasons stays small, whatever the file says
				reason = "profile has no run time"
			}
			b.Drop(reason, j.line)
			continue
		case p.run == 0:
			b.Drop("run time is 0", j.line)
			continue
		case j.res <= 0:
			b.Drop("asks for no resource", j.line)
			continue
		}
		r := Row{
			ID: j.id, Kind: j.profile, Submit: sched.Time(j.submit), Run: time.Duration(p.run), Estimate: time.Duration(j.limit),
			Need: sched.Need{CPU: 1000}, Gang: int32(j.res), Line: j.line,
		}
		if err := b.Add(&r); err != nil {
			return err
		}
	}
	return nil
}

func readBatsimJob(s *jsonStream) (batsimJob, error) {
	var v struct {
		ID       json.RawMessage `json:"id"`
		Profile  string          `json:"profile"`
		Subtime  json.Number     `json:"subtime"`
		Res      json.Number     `json:"res"`
		Walltime *json.Number    `json:"walltime"`
	}
	if err := s.value(&v); err != nil {
		return batsimJob{}, err
	}
	j := batsimJob{profile: v.Profile, line: s.line(), limit: -1}
	if len(v.ID) > 0 && v.ID[0] == '"' {
		if err := json.Unmarshal(v.ID, &j.id); err != nil {
			return j, err
		}
	} else {
		j.id = string(v.ID)
	}
	if j.id == "" || j.id == "null" || v.ID[0] == '{' || v.ID[0] == '[' {
		return j, errors.New("a job without an id")
	}
	var err error
	if j.submit, err = parseFixed([]byte(v.Subtime), 9); err != nil {
		return j, fmt.Errorf("job %s: subtime: %w", clip(j.id), err)
	}
	if j.res, err = parseFixed([]byte(v.Res), 0); err != nil || j.res > math.MaxInt32 || j.res < 0 {
		return j, fmt.Errorf("job %s: res: %q is not a count", clip(j.id), clip(v.Res.String()))
	}
	if v.Walltime != nil {
		if j.limit, err = parseFixed([]byte(*v.Walltime), 9); err != nil {
			return j, fmt.Errorf("job %s: walltime: %w", clip(j.id), err)
		}
		if j.limit <= 0 {
			j.limit = -1
		}
	}
	return j, nil
}
