// Package mismatch says in words of the file, not of Go, what in a JSON or YAML document does not fit what is read from it: which key, what it must be, what it is.
package mismatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

var (
	duration  = reflect.TypeFor[time.Duration]()
	anyNode   = reflect.TypeFor[yaml.Node]()
	ownReader = reflect.TypeFor[yaml.Unmarshaler]()
)

// noNumber is how encoding/json begins to say that a text stands for a json.Number.
const noNumber = "json: invalid number literal, trying to unmarshal "

// JSON puts an error of encoding/json into words; any other stays as it is. Its place is the caller's to say.
func JSON(err error) error {
	var misfit *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &misfit):
		is, number := misfit.Value, strings.TrimPrefix(misfit.Value, "number ")
		switch {
		case is == "string":
			is = "text"
		case is == "array":
			is = "a list"
		case is == "object":
			is = "an object"
		case is == "bool":
			is = "true or false"
		case is == "number":
			is = "a number"
		default:
			is = clip(number)
		}
		must := fits(misfit.Type, number)
		if misfit.Type.Kind() == reflect.Struct || misfit.Type.Kind() == reflect.Map {
			must = `an object ({"key": value})`
		}
		if misfit.Type.Kind() == reflect.Float64 && is == number {
			must = "a number below 1e308"
		}
		what := fmt.Errorf("%s is wanted, not %s", must, is)
		if misfit.Field != "" { // of an item of a list and of a value of an object too, so that "labels must be text" would be wrong
			what = fmt.Errorf("%s: %w", misfit.Field, what)
		}
		return what
	case errors.As(err, &syntax):
		return errors.New("not JSON: " + strings.TrimPrefix(syntax.Error(), "json: "))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not JSON: it ends in the middle")
	case strings.HasPrefix(err.Error(), noNumber):
		text, _, _ := strings.Cut(err.Error()[len(noNumber):], " into ")
		if plain, e := strconv.Unquote(text); e == nil {
			text = plain
		}
		return fmt.Errorf("%s is not a number", clip(text))
	case strings.HasPrefix(err.Error(), "json: "):
		return errors.New(err.Error()[len("json: "):])
	}
	return err
}

// aliasing is of the decoder's error of a document in which aliases multiply: to look for what does not fit would take for ever there.
const aliasing = "excessive aliasing"

// ReadYAML reads the one YAML document of a text into v, a pointer to a struct whose keys are all that are known. Errors begin with name:line, or with
// the name where the line is not known; where there is no document it is io.EOF.
func ReadYAML(text []byte, name string, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := d.Decode(&doc); err == io.EOF {
		return err
	} else if err != nil {
		return placed(name, "not YAML: ", err)
	}
	if err := d.Decode(new(yaml.Node)); err != io.EOF {
		return fmt.Errorf("%s: only one YAML document is read", name)
	}
	if line, what := badKeys(&doc); what != "" {
		return fmt.Errorf("%s:%d: %s", name, line, what)
	}
	err := doc.Decode(v)
	if err == nil || !strings.Contains(err.Error(), aliasing) {
		if line, what := YAML(&doc, reflect.TypeOf(v)); what != "" {
			return fmt.Errorf("%s:%d: %s", name, line, what)
		}
	}
	var many *yaml.TypeError
	if errors.As(err, &many) {
		err = errors.New(many.Errors[0])
	}
	if err != nil {
		return placed(name, "", err)
	}
	return nil
}

// maxKeys bounds those of one mapping: the decoder compares each with each other, and has a line to say of every pair that is equal.
const maxKeys = 2000

// badKeys finds the first mapping in which a key stands twice, or which has too many.
func badKeys(n *yaml.Node) (line int, what string) {
	if n.Kind == yaml.MappingNode {
		if len(n.Content) > 2*maxKeys {
			return n.Line, fmt.Sprintf("more than %d keys in one place", maxKeys)
		}
		seen := make(map[string]int, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode {
				return k.Line, "a key must be plain text"
			}
			if at, twice := seen[k.Value]; twice {
				return k.Line, fmt.Sprintf("key %q stands twice, first in line %d", clip(k.Value), at)
			}
			seen[k.Value] = k.Line
		}
	}
	for _, c := range n.Content {
		if line, what := badKeys(c); what != "" {
			return line, what
		}
	}
	return 0, ""
}

// placed puts the line of an error of the YAML decoder where people look for it.
func placed(name, before string, err error) error {
	line, what := cutLine(strings.TrimPrefix(err.Error(), "yaml: "))
	if line == 0 {
		return fmt.Errorf("%s: %s%s", name, before, what)
	}
	return fmt.Errorf("%s:%d: %s%s", name, line, before, what)
}

// cutLine cuts the line off an error of the YAML decoder; 0: it says none.
func cutLine(text string) (line int, rest string) {
	if number, what, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
		if n, err := strconv.Atoi(number); err == nil {
			return n, what
		}
	}
	return 0, text
}

// ReadJSON reads the one JSON value of a text into v, a pointer to a struct whose keys, which must be the same in JSON and YAML, are all that are known.
// Errors begin with name:line.
func ReadJSON(text []byte, name string, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err := d.Token(); err != io.EOF {
			return fmt.Errorf("%s: something comes after the JSON object", name)
		}
		return nil
	}
	var misfit *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	at := int64(len(text))
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.Is(err, io.ErrUnexpectedEOF):
	default: // JSON is YAML but for rare signs, and there the place can be found
		var doc yaml.Node
		if yaml.Unmarshal(text, &doc) == nil {
			if line, what := YAML(&doc, reflect.TypeOf(v)); what != "" {
				return fmt.Errorf("%s:%d: %s", name, line, what)
			}
		}
		if errors.As(err, &misfit) {
			at = misfit.Offset
		}
	}
	return fmt.Errorf("%s:%d: %w", name, 1+bytes.Count(text[:min(at, int64(len(text)))], []byte{'\n'}), JSON(err))
}

// YAML finds the first place in the document where it does not fit type t, its unknown keys included. An empty text: it fits.
func YAML(doc *yaml.Node, t reflect.Type) (line int, what string) {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		doc = doc.Content[0]
	}
	return in(doc, t, "")
}

func in(n *yaml.Node, t reflect.Type, path string) (int, string) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == anyNode || n.Tag == "!!null" {
		return 0, ""
	}
	must := fits(t, n.Value)
	wrong := func() (int, string) {
		if known := fields(t); known != "" {
			must = "keys and values (" + known + ")"
		}
		is := strconv.Quote(clip(n.Value))
		switch n.Kind {
		case yaml.SequenceNode:
			if is = "a list"; t.Kind() == reflect.Array {
				is += fmt.Sprintf(" of %d", len(n.Content))
			}
		case yaml.MappingNode:
			is = "keys and values"
		}
		if path == "" {
			return n.Line, fmt.Sprintf("the file must be %s, not %s", must, is)
		}
		return n.Line, fmt.Sprintf("%s must be %s, not %s", path, must, is)
	}
	kind := t.Kind()
	switch {
	case reflect.PointerTo(t).Implements(ownReader):
	case (kind == reflect.Struct || kind == reflect.Map) && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if k.Tag == "!!merge" {
				continue
			}
			if k.Kind != yaml.ScalarNode {
				return k.Line, "a key must be plain text"
			}
			var of reflect.Type
			if kind == reflect.Map {
				of = t.Elem()
			} else if of = field(t, k.Value); of == nil && path == "" {
				return k.Line, fmt.Sprintf("unknown field %q (known: %s)", clip(k.Value), fields(t))
			} else if of == nil {
				return k.Line, fmt.Sprintf("unknown field %q in %s (known: %s)", clip(k.Value), path, fields(t))
			}
			if line, what := in(v, of, strings.TrimPrefix(path+"."+k.Value, ".")); what != "" {
				return line, what
			}
		}
		return 0, ""
	case (kind == reflect.Slice || kind == reflect.Array && len(n.Content) == t.Len()) && n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			if line, what := in(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i+1)); what != "" {
				return line, what
			}
		}
		return 0, ""
	}
	own := reflect.PointerTo(t).Implements(ownReader)
	if n.Kind == yaml.ScalarNode && t != duration && !own && fitsPlainly(n, t) {
		return 0, ""
	}
	err := n.Decode(reflect.New(t).Interface())
	var many *yaml.TypeError
	if own && err != nil && !errors.As(err, &many) {
		line, what := cutLine(strings.TrimPrefix(err.Error(), "yaml: "))
		return cmp.Or(line, n.Line), path + ": " + what
	}
	if err != nil || reflect.Int <= kind && kind <= reflect.Int64 && isFraction(n) {
		return wrong()
	}
	return 0, ""
}

// fitsPlainly reports most of what fits, without asking the decoder.
func fitsPlainly(n *yaml.Node, t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		return n.Tag == "!!str" || n.Tag == "!!int" || n.Tag == "!!float"
	case reflect.Float64:
		return n.Tag == "!!int" || n.Tag == "!!float"
	case reflect.Int, reflect.Int32, reflect.Int64:
		_, err := strconv.ParseInt(n.Value, 10, t.Bits())
		return n.Tag == "!!int" && err == nil
	}
	return false
}

// isFraction reports a number that the decoder would round.
func isFraction(n *yaml.Node) bool {
	f, err := strconv.ParseFloat(n.Value, 64)
	return n.Tag == "!!float" && err == nil && f != math.Trunc(f)
}

// field returns the type of the field of a struct that a key names, nil if there is none.
func field(t reflect.Type, key string) reflect.Type {
	for i := range t.NumField() {
		if f := t.Field(i); nameOf(f) == key {
			return f.Type
		}
	}
	return nil
}

// fields lists the keys of a struct, "" for another type.
func fields(t reflect.Type) string {
	if t.Kind() != reflect.Struct {
		return ""
	}
	var known []string
	for i := range t.NumField() {
		if name := nameOf(t.Field(i)); name != "" {
			known = append(known, name)
		}
	}
	return strings.Join(known, ", ")
}

// nameOf is the key of a field, "" if it is not read.
func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return strings.TrimPrefix(name, "-")
}

// fits says what a value of a type is in a file; given is what stands there.
func fits(t reflect.Type, given string) string {
	if t == duration {
		return "a duration such as 30s"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if f, err := strconv.ParseFloat(given, 64); err == nil && f == math.Trunc(f) && t.Bits() < 64 {
			most := int64(1)<<(t.Bits()-1) - 1
			return fmt.Sprintf("a whole number from %d to %d", -most-1, most)
		}
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Array:
		return fmt.Sprintf("a list of %d", t.Len())
	}
	return `keys and values, as in "key: value"`
}

// clip shortens text from a file.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}
