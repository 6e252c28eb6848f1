package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/schedlab/schedlab/policies/sched"
)

// metrics are what Prometheus is told. Gauges are read from the state when they are asked for.
type metrics struct {
	d *Daemon

	registry  *prometheus.Registry
	wait      *prometheus.HistogramVec // by queue and tenant
	ends      *prometheus.CounterVec   // by how
	decisions prometheus.Counter
	decision  prometheus.Histogram
	store     prometheus.Histogram
	dropped   prometheus.Counter

	checkpoints     *prometheus.CounterVec   // by result
	checkpointTime  *prometheus.HistogramVec // by part
	checkpointBytes prometheus.Counter

	retries, refusedRetries prometheus.Counter
	staged                  *prometheus.CounterVec   // by tier
	staging                 *prometheus.HistogramVec // by when
	unstaged                prometheus.Counter

	ready, running, capacity, used, alerts *prometheus.Desc
	workers, wanted, backlog               *prometheus.Desc
}

func newMetrics(d *Daemon) *metrics {
	const space = "schedlab"
	m := &metrics{
		d: d, registry: prometheus.NewRegistry(),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: space, Name: "response_seconds", Help: "Time from ready to first start.", Buckets: prometheus.ExponentialBuckets(0.01, 4, 12),
		}, []string{"queue", "tenant"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "attempts_total", Help: "Attempts that are over, by how they ended.",
		}, []string{"how"}),
		decisions: prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Name: "decisions_total", Help: "Batches that the policy has decided on."}),
		decision: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: space, Name: "decision_seconds", Help: "Time of one step of the kernel.",
			Buckets: []float64{1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5, 1, 5},
		}),
		store: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: space, Name: "store_seconds", Help: "Time of one durable write.", Buckets: prometheus.ExponentialBuckets(1e-4, 4, 9),
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: space, Name: "dropped_log_lines_total", Help: "Lines of jobs' logs that did not get to the disk.",
		}),
		checkpoints: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "checkpoints_total", Help: "Checkpoints that are in the store, that failed, and requests that jobs refused.",
		}, []string{"result"}),
		checkpointTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: space, Name: "checkpoint_seconds", Help: "Time of a checkpoint: hold, from the request until the job has written it; save, from there until it is in the store.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 4, 10),
		}, []string{"part"}),
		checkpointBytes: prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Name: "checkpoint_bytes_total", Help: "Bytes of checkpoints stored."}),
		retries:         prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Name: "retries_total", Help: "Failed attempts that are tried again."}),
		refusedRetries:  prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Name: "retries_refused_total", Help: "Failures that are final only since the retry budget is spent."}),
		staged:          prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: space, Name: "staged_bytes_total", Help: "Bytes of inputs that were staged, by how they were copied."}, []string{"tier"}),
		staging: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: space, Name: "staging_seconds", Help: "Time to stage the inputs of an attempt: ahead, while others still ran; placed, while it held its room.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 4, 12),
		}, []string{"when"}),
		unstaged: prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Name: "staging_failures_total", Help: "Attempts that did not run since an input could not be staged."}),
		alerts:   prometheus.NewDesc(space+"_alerts_total", "What became of alerts.", []string{"result"}, nil),
		workers:  prometheus.NewDesc(space+"_queue_workers", "Workers of a queue that scales: tasks that it may run at once.", []string{"queue", "tier"}, nil),
		wanted:   prometheus.NewDesc(space+"_queue_workers_wanted", "Workers that its backlog asks for, before the pool is shared out.", []string{"queue", "tier"}, nil),
		backlog:  prometheus.NewDesc(space+"_queue_backlog", "Tasks of a queue that scales that are ready and wait, at the last decision.", []string{"queue", "tier"}, nil),
		ready:    prometheus.NewDesc(space+"_ready_tasks", "Tasks that are ready and do not run.", []string{"queue", "tenant"}, nil),
		running:  prometheus.NewDesc(space+"_running_tasks", "Tasks that hold resources.", []string{"queue", "tenant"}, nil),
		capacity: prometheus.NewDesc(space+"_capacity", "What the node has: GPUs, cores, bytes of memory.", []string{"node", "resource"}, nil),
		used:     prometheus.NewDesc(space+"_used", "What of it is allocated.", []string{"node", "resource"}, nil),
	}
	m.registry.MustRegister(m.wait, m.ends, m.decisions, m.decision, m.store, m.dropped, m.checkpoints, m.checkpointTime, m.checkpointBytes, m.retries, m.refusedRetries, m.staged, m.staging, m.unstaged, m)
	return m
}

// Describe tells the gauges.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.ready, m.running, m.capacity, m.used, m.alerts, m.workers, m.wanted, m.backlog} {
		out <- d
	}
}

// Collect reads the gauges from the state.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	type group struct {
		queue  sched.QueueID
		tenant sched.TenantID
	}
	d := m.d
	for result, n := range d.alerted {
		out <- prometheus.MustNewConstMetric(m.alerts, prometheus.CounterValue, float64(n.Load()), result)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	k, tb := d.kernel, d.book.tb
	running := map[group]int{}
	for t := range k.RunningTasks() {
		c := k.Class(t)
		running[group{c.Queue, c.Tenant}]++
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for g, n := range running {
		gauge(m.running, float64(n), tb.Queues[g.queue], tb.Tenants[g.tenant])
	}
	ready := map[group]int{}
	for t := range sched.TaskID(k.Known()) {
		if k.Phase(t) == sched.Ready {
			c := k.Class(t)
			ready[group{c.Queue, c.Tenant}]++
		}
	}
	for g, n := range ready {
		gauge(m.ready, float64(n), tb.Queues[g.queue], tb.Tenants[g.tenant])
	}
	if d.scaling != nil {
		for _, q := range d.scaling.queues {
			gauge(m.workers, float64(q.told), q.name, q.tier.String())
			gauge(m.wanted, float64(q.wish), q.name, q.tier.String())
			gauge(m.backlog, float64(q.backlog), q.name, q.tier.String())
		}
	}
	room, n := k.Room(), d.here()
	s := room.Spec(n)
	if s.GPUs > 0 {
		gauge(m.capacity, float64(s.GPUs), s.Name, "gpu")
		gauge(m.used, float64(s.GPUs)-float64(room.FreeGPUMilli(n))/sched.Whole, s.Name, "gpu")
	}
	if s.CPU != sched.Unlimited {
		gauge(m.capacity, float64(s.CPU)/1000, s.Name, "cpu")
		gauge(m.used, float64(s.CPU-room.FreeCPU(n))/1000, s.Name, "cpu")
	}
	if s.Mem != sched.Unlimited {
		gauge(m.capacity, float64(s.Mem), s.Name, "memory")
		gauge(m.used, float64(s.Mem-room.FreeMem(n)), s.Name, "memory")
	}
}

// started notes that a task has started for the first time. It is called under mu.
func (m *metrics) started(t sched.TaskID) {
	o, c, tb := m.d.kernel.Outcome(t), m.d.kernel.Class(t), m.d.book.tb
	if o.Attempts == 1 && o.Ready != sched.Never {
		m.wait.WithLabelValues(tb.Queues[c.Queue], tb.Tenants[c.Tenant]).Observe(o.Start.Sub(o.Ready).Seconds())
	}
}

func since(t time.Time) float64 { return time.Since(t).Seconds() }

// Metrics returns what Prometheus is told.
func (d *Daemon) Metrics() prometheus.Gatherer { return d.metrics.registry }
