package sched

import (
	"testing"
	"time"
)

// What is said of the task itself comes before its kind's throughput table, and that before the node's speed.
func TestARunTimeIsThatOfTheTaskThenOfItsKindThenOfTheNode(t *testing.T) {
	tb := &Table{
		Tasks: []Task{{Class: 0}, {Class: 1}, {Class: 1}}, Estimates: []time.Duration{90 * time.Second, 90 * time.Second, 90 * time.Second},
		Classes: []Class{{}, {Speeds: 1}}, Demands: []Demand{{Gang: 1, Need: Need{CPU: 1000}}},
		Speeds:     [][]SpeedOn{nil, {{"V100", ReferenceNano}, {"K80", ReferenceNano / 3}}},
		EstimateOn: map[TaskID][]CostOn{2: {{On: "k80", Run: time.Minute}, {On: "n1", Run: time.Second}}},
	}
	for _, c := range []struct {
		task TaskID
		on   NodeSpec
		want time.Duration
	}{
		{0, NodeSpec{GPUType: "K80", SpeedMilli: 500}, 180 * time.Second},
		{1, NodeSpec{GPUType: "V100", SpeedMilli: 500}, 90 * time.Second},
		{1, NodeSpec{GPUType: "k80", SpeedMilli: 500}, 270*time.Second + 270}, // a third is 333333333 of 1e9
		{1, NodeSpec{GPUType: "P100", SpeedMilli: 500}, 180 * time.Second},
		{2, NodeSpec{GPUType: "K80"}, time.Minute},
		{2, NodeSpec{Name: "n1", GPUType: "K80"}, time.Second},
		{2, NodeSpec{GPUType: "V100"}, 90 * time.Second},
	} {
		if got := EstimateOn(tb, c.task, &c.on); got < c.want || got > c.want+time.Microsecond {
			t.Errorf("task %d on %+v takes %v, want %v", c.task, c.on, got, c.want)
		}
	}
	for _, bad := range [][][]SpeedOn{nil, {nil}, {nil, {{"V100", 0}}}, {nil, {{"V100", -1}}}} {
		wrong := *tb
		wrong.Speeds = bad
		if _, err := New(Config{Table: &wrong, Nodes: []NodeSpec{{Name: "a", CPU: 1000}}, Policy: idle{}}); err == nil {
			t.Errorf("a kernel takes the throughput tables %v", bad)
		}
	}
}

type idle struct{}

func (idle) Observe(*State, Event) {}
func (idle) Decide(*Round)         {}
