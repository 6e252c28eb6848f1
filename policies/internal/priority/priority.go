// Package priority is the language of `expr: ...`: arithmetic over a waiting task's variables that says how important it is. Parser, types
// and error messages are those of github.com/expr-lang/expr; what it accepts is cut down to numbers, comparisons, conditions and the
// comparison of text, and is evaluated by functions of our own, so that an evaluation makes no garbage and cannot fail.
package priority

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
)

// Bounds of the size of an expression.
const (
	maxNodes  = 1000
	maxLength = 4096
)

// Program is a compiled expression.
type Program struct {
	Text string

	value num
	uses  []bool // by index in Variables
	order Order
}

// Order says when the order of waiting tasks by a program changes.
type Order uint8

// The orders.
const (
	Once   Order = iota // the value of a task does not change while it waits
	Steady              // all values change by the same with the time, so that their order does not: it is that of the values at time 0
	Shifts              // values have to be taken anew for each decision
)

// Order returns when the order of tasks changes.
func (p *Program) Order() Order { return p.order }

// Uses reports whether the program names the variable.
func (p *Program) Uses(name string) bool {
	i := lookup(name)
	return i >= 0 && p.uses[i]
}

// Changing returns the names of its variables that change while a task waits.
func (p *Program) Changing() []string {
	var out []string
	for i, used := range p.uses {
		if used && Variables[i].Change != Fixed {
			out = append(out, Variables[i].Name)
		}
	}
	return out
}

// Value returns the priority of a task.
func (p *Program) Value(c *Scope) float64 { return p.value(c) }

// Key makes a key of a priority: the larger priority has the smaller key. Priorities are rounded to 44 significant bits (6e-14), so that
// the last bits, which differ between processors, decide nothing. What is not a number comes after every number, -Inf too.
func Key(priority float64) int64 {
	if math.IsNaN(priority) {
		return math.MaxInt64
	}
	bits := int64(math.Float64bits(priority))
	const drop = 1 << 8
	if !math.IsInf(priority, 0) {
		bits = (bits + drop/2) &^ (drop - 1) // of the magnitude; may carry into the exponent
	}
	if bits < 0 { // negative numbers: the larger the magnitude, the smaller the number
		bits = math.MinInt64 - bits
	}
	return -bits
}

type (
	num  func(c *Scope) float64 // numbers, and booleans as 0 and 1
	text func(c *Scope) string
)

// Compile checks an expression. Errors say where, with a line below that points there.
func Compile(source string) (*Program, error) {
	switch {
	case source == "":
		return nil, errors.New("the expression is missing")
	case len(source) > maxLength || !utf8.ValidString(source) || strings.ContainsFunc(source, unicode.IsControl):
		return nil, fmt.Errorf("an expression is one line of at most %d bytes of text", maxLength)
	}
	parsed, err := expr.Compile(source, options()...)
	if err != nil {
		return nil, explain(err)
	}
	c := compiler{source: file.NewSource(source), uses: make([]bool, len(Variables))}
	p := &Program{Text: source, uses: c.uses}
	switch kind := parsed.Node().Type().Kind(); kind {
	case reflect.Float64, reflect.Int:
	case reflect.Bool:
		return nil, c.refuse(parsed.Node(), "this is true or false (write `x ? 1 : 0`)")
	case reflect.String:
		return nil, c.refuse(parsed.Node(), "this is text")
	default:
		return nil, c.refuse(parsed.Node(), "this is no number")
	}
	if p.value, err = c.num(parsed.Node()); err != nil {
		return nil, err
	}
	_, steady := c.slope(parsed.Node())
	for i, used := range p.uses {
		switch {
		case !used || Variables[i].Change == Fixed:
		case steady && Variables[i].Change == Clock && p.order != Shifts:
			p.order = Steady
		default:
			p.order = Shifts
		}
	}
	return p, nil
}

// options are what the parser is told: names, types, functions. It knows nothing of lists, of the clock, or of anything outside.
func options() []expr.Option {
	out := []expr.Option{expr.Env(sample()), expr.Optimize(false), expr.MaxNodes(maxNodes), expr.Patch(widen{}), expr.DisableAllBuiltins()}
	for _, f := range Functions {
		if slices.Contains(builtin.Names, f) {
			out = append(out, expr.EnableBuiltin(f))
			continue
		}
		out = append(out, expr.Function(f, callOf(ones[f]), new(func(float64) float64)))
	}
	return out
}

// sample is the environment by which types are checked.
func sample() map[string]any {
	env := map[string]any{}
	for i := range Variables {
		if env[Variables[i].Name] = 0.0; Variables[i].Text() {
			env[Variables[i].Name] = ""
		}
	}
	return env
}

// callOf is a function of one number for the parser, and for whoever runs the expression in expr's own machine.
func callOf(f func(float64) float64) func(args ...any) (any, error) {
	return func(args ...any) (any, error) { return f(args[0].(float64)), nil }
}

// explain adds what is known to errors of unknown names.
func explain(err error) error {
	var where *file.Error
	if !errors.As(err, &where) {
		return err
	}
	msg := where.Message
	switch {
	case msg == "unexpected token EOF":
		where.Message = "the expression ends too early"
	case strings.HasPrefix(msg, "invalid ") && strings.HasSuffix(msg, strconv.ErrRange.Error()):
		where.Message = "a number is too large"
	case strings.HasPrefix(msg, "unknown name "):
		var names []string
		for i := range Variables {
			names = append(names, Variables[i].Name)
		}
		return fmt.Errorf("%w\nknown are %s; and the functions %s", err, strings.Join(names, ", "), strings.Join(Functions, ", "))
	}
	return err
}

// widen makes a whole number in a branch of a condition a float, so that `x ? 1 : 0.5` has a type.
type widen struct{}

func (widen) Visit(node *ast.Node) {
	n, ok := (*node).(*ast.ConditionalNode)
	if !ok {
		return
	}
	for _, branch := range []*ast.Node{&n.Exp1, &n.Exp2} {
		switch b := (*branch).(type) {
		case *ast.IntegerNode:
			ast.Patch(branch, &ast.FloatNode{Value: float64(b.Value)})
		case *ast.UnaryNode:
			if i, ok := b.Node.(*ast.IntegerNode); ok && (b.Operator == "-" || b.Operator == "+") {
				ast.Patch(&b.Node, &ast.FloatNode{Value: float64(i.Value)})
			}
		}
	}
}

type compiler struct {
	source file.Source
	uses   []bool
}

// refuse says that a part of the expression, though expr knows it, is nothing for a priority.
func (c *compiler) refuse(n ast.Node, what string) error {
	e := &file.Error{Location: n.Location(), Message: what + ": a priority is made of numbers, comparisons and conditions"}
	return e.Bind(c.source)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// num compiles a part whose value is a number or a boolean.
func (c *compiler) num(node ast.Node) (num, error) {
	switch n := node.(type) {
	case *ast.IntegerNode:
		v := float64(n.Value)
		return func(*Scope) float64 { return v }, nil
	case *ast.FloatNode:
		v := n.Value
		return func(*Scope) float64 { return v }, nil
	case *ast.BoolNode:
		v := boolean(n.Value)
		return func(*Scope) float64 { return v }, nil
	case *ast.IdentifierNode:
		if i := lookup(n.Value); i >= 0 && !Variables[i].Text() {
			c.uses[i] = true
			return Variables[i].num, nil
		}
		return nil, c.refuse(n, n.Value)
	case *ast.UnaryNode:
		x, err := c.num(n.Node)
		if err != nil {
			return nil, err
		}
		switch n.Operator {
		case "-":
			return func(c *Scope) float64 { return -x(c) }, nil
		case "+":
			return x, nil
		case "!", "not":
			return func(c *Scope) float64 { return 1 - x(c) }, nil
		}
		return nil, c.refuse(n, n.Operator)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		if f, ok := n.Callee.(*ast.IdentifierNode); ok {
			return c.call(n, f.Value, n.Arguments)
		}
	}
	return nil, c.refuse(node, "this does not belong here")
}

func (c *compiler) nums(nodes ...ast.Node) ([]num, error) {
	var out []num
	for _, n := range nodes {
		x, err := c.num(n)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func (c *compiler) conditional(n *ast.ConditionalNode) (num, error) {
	x, err := c.nums(n.Cond, n.Exp1, n.Exp2)
	if err != nil {
		return nil, err
	}
	cond, yes, no := x[0], x[1], x[2]
	return func(c *Scope) float64 {
		if cond(c) != 0 {
			return yes(c)
		}
		return no(c)
	}, nil
}

func (c *compiler) binary(n *ast.BinaryNode) (num, error) {
	if t, err := c.text(n.Left); err != nil {
		return nil, err
	} else if t != nil {
		return c.compareText(n, t)
	}
	x, err := c.nums(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	a, b := x[0], x[1]
	// The conversions keep a sum from being fused with a product.
	switch n.Operator {
	case "+":
		return func(c *Scope) float64 { return float64(a(c) + b(c)) }, nil
	case "-":
		return func(c *Scope) float64 { return float64(a(c) - b(c)) }, nil
	case "*":
		return func(c *Scope) float64 { return float64(a(c) * b(c)) }, nil
	case "/":
		return func(c *Scope) float64 { return float64(a(c) / b(c)) }, nil
	case "**", "^":
		return func(c *Scope) float64 { return math.Pow(a(c), b(c)) }, nil
	case "<":
		return func(c *Scope) float64 { return boolean(a(c) < b(c)) }, nil
	case "<=":
		return func(c *Scope) float64 { return boolean(a(c) <= b(c)) }, nil
	case ">":
		return func(c *Scope) float64 { return boolean(a(c) > b(c)) }, nil
	case ">=":
		return func(c *Scope) float64 { return boolean(a(c) >= b(c)) }, nil
	case "==":
		return func(c *Scope) float64 { return boolean(a(c) == b(c)) }, nil
	case "!=":
		return func(c *Scope) float64 { return boolean(a(c) != b(c)) }, nil
	case "and", "&&":
		return func(c *Scope) float64 { return boolean(a(c) != 0 && b(c) != 0) }, nil
	case "or", "||":
		return func(c *Scope) float64 { return boolean(a(c) != 0 || b(c) != 0) }, nil
	}
	return nil, c.refuse(n, n.Operator)
}

// text compiles a part whose value is text; nil where it is something else.
func (c *compiler) text(node ast.Node) (text, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		v := n.Value
		return func(*Scope) string { return v }, nil
	case *ast.IdentifierNode:
		if i := lookup(n.Value); i >= 0 && Variables[i].Text() {
			c.uses[i] = true
			return Variables[i].text, nil
		}
	}
	return nil, nil
}

func (c *compiler) compareText(n *ast.BinaryNode, a text) (num, error) {
	if list, ok := n.Right.(*ast.ArrayNode); ok && n.Operator == "in" {
		var words []string
		for _, e := range list.Nodes {
			s, ok := e.(*ast.StringNode)
			if !ok {
				return nil, c.refuse(e, "in a list of text")
			}
			words = append(words, s.Value)
		}
		return func(c *Scope) float64 { return boolean(slices.Contains(words, a(c))) }, nil
	}
	b, err := c.text(n.Right)
	if err != nil {
		return nil, err
	}
	if b != nil {
		switch n.Operator {
		case "==":
			return func(c *Scope) float64 { return boolean(a(c) == b(c)) }, nil
		case "!=":
			return func(c *Scope) float64 { return boolean(a(c) != b(c)) }, nil
		case "startsWith":
			return func(c *Scope) float64 { return boolean(strings.HasPrefix(a(c), b(c))) }, nil
		case "endsWith":
			return func(c *Scope) float64 { return boolean(strings.HasSuffix(a(c), b(c))) }, nil
		case "contains":
			return func(c *Scope) float64 { return boolean(strings.Contains(a(c), b(c))) }, nil
		}
	}
	return nil, c.refuse(n, n.Operator)
}

// ones are the functions of one number.
var ones = map[string]func(float64) float64{
	"abs": math.Abs, "ceil": math.Ceil, "floor": math.Floor, "round": math.Round, "sqrt": math.Sqrt,
	"exp": math.Exp, "log": math.Log, "log2": math.Log2, "log10": math.Log10,
}

func (c *compiler) call(n ast.Node, name string, args []ast.Node) (num, error) {
	if len(args) == 0 {
		return nil, c.refuse(n, name+" of nothing")
	}
	x, err := c.nums(args...)
	if err != nil {
		return nil, err
	}
	if f := ones[name]; f != nil && len(x) == 1 {
		a := x[0]
		return func(c *Scope) float64 { return f(a(c)) }, nil
	}
	switch name {
	case "max":
		return func(c *Scope) float64 {
			best := x[0](c)
			for _, f := range x[1:] {
				if v := f(c); best < v {
					best = v
				}
			}
			return best
		}, nil
	case "min":
		return func(c *Scope) float64 {
			best := x[0](c)
			for _, f := range x[1:] {
				if v := f(c); best > v {
					best = v
				}
			}
			return best
		}, nil
	}
	return nil, c.refuse(n, name)
}

// slope returns what a second adds to the value of a part, the same for every task and at any time, and false where there is no such number.
// Then the order of two tasks does not change with the time: their values at any time differ as at time 0.
func (c *compiler) slope(node ast.Node) (float64, bool) {
	if c.fixed(node) {
		return 0, true
	}
	switch n := node.(type) {
	case *ast.IdentifierNode:
		i := lookup(n.Value)
		return Variables[i].slope, Variables[i].Change == Clock
	case *ast.UnaryNode:
		x, ok := c.slope(n.Node)
		if n.Operator == "-" {
			x = -x
		}
		return x, ok && (n.Operator == "-" || n.Operator == "+")
	case *ast.BinaryNode:
		a, okA := c.slope(n.Left)
		b, okB := c.slope(n.Right)
		switch n.Operator {
		case "+":
			return a + b, okA && okB
		case "-":
			return a - b, okA && okB
		case "*":
			if k, ok := number(n.Left); ok {
				return k * b, okB
			}
			k, ok := number(n.Right)
			return k * a, ok && okA
		case "/":
			k, ok := number(n.Right)
			return a / k, ok && okA && k != 0
		}
	}
	return 0, false
}

// fixed reports whether a part has only variables whose value does not change while a task waits.
func (c *compiler) fixed(node ast.Node) bool {
	f := finder{fixed: true}
	ast.Walk(&node, &f)
	return f.fixed
}

type finder struct{ fixed bool }

func (f *finder) Visit(node *ast.Node) {
	if n, ok := (*node).(*ast.IdentifierNode); ok {
		if i := lookup(n.Value); i >= 0 && Variables[i].Change != Fixed {
			f.fixed = false
		}
	}
}

// number returns the value of a literal.
func number(node ast.Node) (float64, bool) {
	switch n := node.(type) {
	case *ast.IntegerNode:
		return float64(n.Value), true
	case *ast.FloatNode:
		return n.Value, true
	case *ast.UnaryNode:
		v, ok := number(n.Node)
		if n.Operator == "-" {
			v = -v
		}
		return v, ok && (n.Operator == "-" || n.Operator == "+")
	}
	return 0, false
}
