package policies

import (
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// predictor predicts how long a task will hold its room by the mean of what it has been taught, backing off where it knows too little: of the same
// tenant and kind, of the same tenant, of all. It is taught the past of the run only, and sums are whole, so that the order of lessons does
// not matter. The zero value knows nothing.
type predictor struct {
	samples int64 // how many lessons a level needs; less than 1 counts as 1

	all      lessons
	ofTenant []lessons // by TenantID
	byKind   []lessons // by pair of tenant and kind
	pairs    map[tenantKind]int32
	ofClass  []int32 // pair of a class; -1 = not looked up yet
}

type tenantKind struct {
	tenant sched.TenantID
	kind   sched.KindID
}

// lessons are held times.
type lessons struct {
	count int64
	sum   int64 // microseconds: those of a million tasks of a century fit
}

func (l *lessons) add(held time.Duration, times int64) {
	l.count += times
	l.sum += times * held.Microseconds()
}

// level says where a prediction comes from.
type level uint8

const (
	ofTenantAndKind level = iota
	ofTenant
	ofAll
	unknown // nothing has been learnt
)

// pair returns the tenant and kind of a class.
func (p *predictor) pair(s *sched.State, t sched.TaskID) int32 {
	class := s.Task(t).Class
	for len(p.ofClass) <= int(class) {
		p.ofClass = append(p.ofClass, -1)
	}
	if i := p.ofClass[class]; i >= 0 {
		return i
	}
	c := s.Class(t)
	key := tenantKind{c.Tenant, c.Kind}
	i, ok := p.pairs[key]
	if !ok {
		if p.pairs == nil {
			p.pairs = map[tenantKind]int32{}
		}
		i = int32(len(p.byKind))
		p.pairs[key] = i
		p.byKind = append(p.byKind, lessons{})
		for len(p.ofTenant) <= int(c.Tenant) {
			p.ofTenant = append(p.ofTenant, lessons{})
		}
	}
	p.ofClass[class] = i
	return i
}

// learn teaches that a task like t held its room for so long.
func (p *predictor) learn(s *sched.State, t sched.TaskID, held time.Duration) { p.add(s, t, held, 1) }

// forget takes back what learn has taught.
func (p *predictor) forget(s *sched.State, t sched.TaskID, held time.Duration) { p.add(s, t, held, -1) }

func (p *predictor) add(s *sched.State, t sched.TaskID, held time.Duration, times int64) {
	i := p.pair(s, t)
	p.byKind[i].add(held, times)
	p.ofTenant[s.Class(t).Tenant].add(held, times)
	p.all.add(held, times)
}

// predict returns the mean of the first level that knows enough, in whole microseconds, and 0 where none does.
func (p *predictor) predict(s *sched.State, t sched.TaskID) (time.Duration, level) {
	i := p.pair(s, t)
	for lv, l := range [...]*lessons{&p.byKind[i], &p.ofTenant[s.Class(t).Tenant], &p.all} {
		if l.count >= max(p.samples, 1) {
			return time.Duration(l.sum/l.count) * time.Microsecond, level(lv)
		}
	}
	return 0, unknown
}
