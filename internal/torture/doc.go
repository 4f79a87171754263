// Package torture runs real servers and real processes under load, injects faults
// into them, and decides from what every process wrote down whether beck kept its
// promises, in the manner of Jepsen's checkers for queues and logs.
//
// A run is a deployment, a seed, a length, a list of fault kinds and a level of
// durability. Its publishers, followers and consumers are processes that write a
// [History] each, a line for each thing that happens, before anything else happens
// because of it; so a process that is killed loses the end of its last line at
// most. The faults have a history as well. When they have healed and all is
// drained, [Check] reads the histories and returns a [Report].
//
// The package itself is the history, the checker, what the processes do and the
// TCP proxy between them and the servers; servers, faults and runs are in its tests.
// See docs/torture.md.
package torture
