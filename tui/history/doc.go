// Package history keeps a run as it happened: the facts that a kernel was told and the orders that it gave, from which the state at any instant is had
// quickly, forwards and backwards. It is what the terminal UI looks at, and knows no driver.
//
// # How it is built
//
// A driver feeds batches (Record.Batch), the same that go to a journal. From them the record derives the life of every task as the package comment of
// policies/sched draws it, and writes each step of it down as an entry: time, task, phase before and after, attempt. An entry can be applied and taken
// back. So there is
//
//   - a cursor, the state at one instant: every task's phase and every node's use. Moving it costs the entries between, about 10 ns each
//     either way: a journal of 1,000,000 events is crossed in far less than 100 ms;
//   - a tally every 256 entries: counts and integrals over time. Any curve and any mean over a window comes from two of them and at most 256 entries;
//   - attempts, and for each node the places that were taken on it in the order of their start, which a Gantt chart is drawn from.
//
// A record takes about 150 bytes a task of one attempt, and nothing grows but by what happens.
//
// # What it does not know
//
// Facts and orders do not say what a policy thinks. That a ready task waited for room or for others is found out afterwards (TaskQuery.Causes):
// while no node had what it asks for it is no room, else order. A task that a policy has claimed room for is ready here until it starts.
package history
