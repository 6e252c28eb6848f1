// Package sched is the core of schedlab: a kernel that takes facts and returns orders, and the contract of the policies that plug into
// it. It does no I/O, asks no clock, starts no goroutine and imports the standard library only. This comment is the manual of the architecture.
//
// # Facts in, orders out
//
// A Kernel knows what tasks there are, where each stands, who holds what, and nothing of how a task is run. A driver tells it what
// happened (an Event is a fact: a job arrived, an attempt ended, a node was lost) and carries out what it returns (a Command is an
// order: start, stop, checkpoint, scale, reject). There are two drivers, sim in virtual time and live in real time. A policy sees neither,
// so the same policy code schedules a simulated trace and a real cluster, and a recorded run can be replayed to equal decisions. The
// main loop of any driver is
//
//	k, err := sched.New(sched.Config{Table: table, Nodes: nodes, Policy: policy})
//	...
//	for {
//		wake, ok := k.NextWake()          // what the policy or a backoff waits for
//		now, facts := next(wake, ok)      // sleep, or jump: the first of a report, an arrival, the wake
//		sched.SortBatch(facts)            // one history, one order of facts
//		orders := k.Step(now, facts)
//		journal(now, facts)               // live: durable before an order leaves
//		for _, o := range orders {
//			switch o.Kind {
//			case sched.Start:
//				start(o.Task, o.Attempt, o.On) // later reports Finished, FailedAttempt or Killed with o.Attempt
//			case sched.Stop:
//				stop(o.Task, o.Attempt)        // later reports Stopped with the work kept
//			}
//		}
//	}
//
// # The batch
//
// Step takes in all facts of one instant and then asks the policy once. In it come first the ends and the changes in the order given, then the
// backoffs that are over, then arrivals and added edges in the order given; then a Wake if the policy's wish has come, then the claims
// whose last victim has stopped start, then the policy decides. Facts that the orders cause at once (a stop that costs no time) form the next batch of the
// same instant. SortBatch is the tie rule of both drivers: reports on tasks by TaskID, other changes as given, arrivals by TaskID, added edges as given. Time
// never goes back: a batch older than the last one counts as of now. Most batches are one fact; StepFinished and StepArrived take the two most frequent without its
// being written down, and do what Step does.
//
// The policy is told each fact (Observe) when the state has taken it in, and what it brings about right behind it: TaskReady for a task that
// may be started, TaskBlocked for one that no longer may, TaskDropped for one that is over without being done. Everything ugly (a
// crash, a lost node, an eviction) ends in another TaskReady, so a policy that knows TaskReady only is already right under failure. What a
// successor waits for is counted down before Finished is told. A policy for which arrivals mean nothing may say so (Ignorer) and is not told of them.
//
// # The life of a task
//
//	                      +--------- Held
//	                      |            |  ^
//	                      v            v  |
//	Unknown ---------> Blocked -----> Ready --------------> Running ----> Done, Failed
//	                                  ^ ^ \                  |  ^  |
//	                                  | |  +---> Claiming ---)--+  |
//	                                  | +---- Stopping <-----+     |
//	                                  +------- Backoff <-----------+
//
//	Unknown   JobArrived -> Blocked, and Ready in the same batch where nothing is to be waited for
//	Blocked   the last predecessor Finished -> Ready
//	Ready     Start -> Running; Claim -> Claiming; Reject -> Rejected; EdgeAdded -> Blocked; Hold -> Held
//	Held      Release -> Ready, or Blocked if an edge was added meanwhile
//	Claiming  the last victim ended -> Running; a node of the claim lost -> Ready; Hold -> Held
//	Running   Finished -> Done; Killed -> Failed; FailedAttempt -> Backoff, Ready (no backoff) or Failed (no retries left);
//	          Evict, Cancelled, one of its nodes lost -> Stopping; its last node lost -> Ready
//	Stopping  Stopped, or its last node lost -> Ready, or Dropped if it was cancelled; an end that came before the order counts as in Running
//	Backoff   its time has come -> Ready
//	any       Cancelled, or a predecessor that is over and not Done -> Dropped (what runs stops first)
//
// Done, Failed, Dropped and Rejected are final. Blocked, Running, Stopping, Backoff: a hold counts when the task would be ready (again).
//
// A failed attempt is tried again while Class.Retries last, after Class.Backoff, doubled each time up to 64 times, or after what the fact says (a driver that
// draws jitter tells it so, and a replay draws nothing). The loss of a node costs no retry and has no backoff.
//
// # Attempts
//
// Every Start makes a new attempt, numbered from 1, and every order and report carries the number. A report of any other attempt than the
// running one is dropped and counted (Late). That one rule is the simulator's lazy cancellation and the fence of the live mode: whatever
// an old attempt says late, twice or wrongly changes nothing. A gang is one attempt: its replicas start and end together. When one of its nodes is lost, the
// rest is ordered to stop; when none of its nodes is left, even if one is back by then, it is over without a report, and an order to stop it that is already in the
// batch is void. Facts that cannot be true, of unknown tasks and nodes, are dropped and counted too (Refused).
//
// # Room, placements and claims
//
// The kernel owns devices. A Placement names the node, the replicas and the GPU indexes; Start takes room at once, all or nothing: CPU,
// RAM, GPUs and VRAM of all replicas or none. Where a placement leaves the GPUs open the kernel chooses them: the lowest free ones, or
// the fullest device that holds all of the placement's shares. On a node with more than MaxDevices GPUs they are only counted. Room is free again when an end
// is reported, not when the order to stop is given. A NodeProfile can only lower what the ledger offers, quotas bound what tenants and
// queues hold together; Start refuses what does not fit, and no policy can overbook.
//
// Claim is preemption without a thief: it orders victims to stop, books the placements over them, so that what they leave is
// nobody else's, and starts the claimant by itself once the last has ended, whichever way. Until then free room on the nodes can be
// negative. A claim is undone, and the task ready again, when a node of it is lost or the task is held or cancelled; its victims stop all the same.
//
// # Why a task waits
//
// From its submission to its end a task either holds room or waits for exactly one Cause, so that the causes add up to submit-to-end
// less holding. Window: from the submission to the batch that took it in. Dependency: while Blocked. Order: ready and not spoken of, held by a
// user, or refused by a quota. NoRoom, Staging, Order: what the policy last said with Skip. Preempted: from an eviction to the next
// start, whatever Skip says. FailureDelay: backoff, and on until the policy's next word. Books has the sums; with Config.Waits the kernel
// also keeps them by class and by what stood in the way (Waits).
//
// # Who owns what
//
// The Table belongs to the driver and is append-only; kernels that run beside each other may share it, and none writes to it: an
// estimate that Updated replaces lives in the State. Event slices belong to the caller and may be reused after Step (Step writes the new NodeID into
// a NodeUp that brings a Spec); what Detail points to must not change. The commands and their placements belong to the kernel and
// are valid until the next Step. What State and Room return is for reading and valid until the state changes; a policy that wants to plan
// copies the Room (CopyFrom) and books on the copy. One goroutine owns a kernel. In a steady state Step allocates nothing.
//
// # What a policy may keep
//
// Anything that follows from the facts it was told and the State: lines, ranks, sums. It indexes by TaskID only after growing in Observe,
// for tasks, nodes and edges may be added at any Step. It keeps no time of its own, draws no random numbers but from a seed of its own, and decides by a
// total order, ties to the lower TaskID, never by the order of a map. Keys made from floats are rounded.
//
// The test of that is the snapshot. Snapshot writes the kernel's state without the policy; Restore makes a kernel that goes on, and tells
// a new policy the present as facts: JobArrived by TaskID, Started for what runs in the order of start, TaskReady in the order of
// readiness. From there on it must decide as the first one would have. PolicySet changes the policy of a running kernel the same way. What
// depends on what the policy did before, such as promises made or rounds granted, does not follow from the State: a policy with such a memory is
// a Keeper, and the snapshot holds it.
//
// # What a driver owes
//
//   - Every attempt that was started ends once in a report with its number: Finished, FailedAttempt, Killed, or Stopped where a stop was ordered.
//     A node's loss is told as NodeDown; the attempts that it took with it need no report, and a late one is harmless.
//   - Stopped and FailedAttempt say in Done what work is kept, in time on a node of reference speed, all attempts together; 0 means that all
//     is lost.
//   - Where it saves the work of tasks, it tells CheckpointDone with the work saved and for how long that held the task up, no later than the
//     loss of a node on which it then counts; Started with the time that restoring took, if it did; and DependencyDown and DependencyUp of
//     CheckpointStorage. From these a policy sees what stopping a task costs (AtRisk, CheckpointCost, StopLoss).
//   - It calls Step no later than NextWake, with no facts if there are none.
//   - A job's tasks, and their estimates, classes and edges, are in the Table before its JobArrived, and its dependencies have no cycle; a
//     job that breaks this is refused.
//   - It carries orders out in the order given, and lets one pass that has become void in its own batch.
//
// # Checks
//
// Built with -tags invariants, the kernel recounts its books after each Step and panics where they disagree. Promises that can be seen from outside
// are checked by the package policytest, which shares no code with this one.
package sched
