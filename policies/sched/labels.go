package sched

import "strings"

// NotLabel is a label that a node must not have if a task is to run there (anti-affinity): with Any the key, whatever its value, as DoesNotExist
// in Kubernetes; without it this value of the key, as NotIn: a node without the key will do.
type NotLabel struct {
	Key, Value string
	Any        bool
}

// Forbids reports whether n keeps a task off nodes with the label.
func (n NotLabel) Forbids(l Label) bool { return n.Key == l.Key && (n.Any || n.Value == l.Value) }

// String is how ParseLabel reads it.
func (n NotLabel) String() string {
	if n.Any {
		return "!" + n.Key
	}
	return n.Key + "!=" + n.Value
}

// ParseLabel adds to a demand what a text, written as in Kubernetes' selectors, says of a label: key=value that the node must have it, key!=value
// or !key that it must not. It reports whether the text is one of these.
func (d *Demand) ParseLabel(text string) bool {
	key, value, ok := strings.Cut(text, "=")
	if not, is := strings.CutPrefix(key, "!"); is {
		if not == "" || strings.Contains(not, "!") || value != "" {
			return false
		}
		d.NotLabels = append(d.NotLabels, NotLabel{Key: not, Any: true})
		return true
	}
	not, is := strings.CutSuffix(key, "!")
	if !ok || not == "" {
		return false
	}
	if is {
		d.NotLabels = append(d.NotLabels, NotLabel{Key: not, Value: value})
	} else {
		d.Labels = append(d.Labels, Label{key, value})
	}
	return true
}

// labelsForbid reports whether the node lacks a label that the demand asks for, or has one that it must not have.
func (d *Demand) labelsForbid(n *NodeSpec) bool {
	for _, want := range d.Labels {
		ok := false
		for _, l := range n.Labels {
			ok = ok || l == want
		}
		if !ok {
			return true
		}
	}
	for _, not := range d.NotLabels {
		for _, l := range n.Labels {
			if not.Forbids(l) {
				return true
			}
		}
	}
	return false
}
