// Package ondisk is beck's embedded engine: topics in a directory on local disk,
// for one process at a time, kept by Pebble.
//
// # How it works
//
// Everything that changes something is a request to one goroutine, the
// committer. It decides the requests that wait one after the other, on the state
// it keeps in memory, writes what they change into one batch, and hands the
// batch to Pebble. A second goroutine, the finisher, waits until the disk holds
// the batch, and only then makes the outcome visible to readers and answers the
// callers. So concurrent callers share syncs, ids are given out in the order in
// which messages appear, and nothing is ever seen that a crash could undo.
//
// Reading goes past the committer: it looks into Pebble directly, up to the
// newest message that the disk holds.
//
// What is broadcast, and requests with their answers, go from one goroutine of the
// process to the other and touch neither of the two: see listen.go and request.go.
//
// # What it promises
//
// What a call has returned is on disk, synced. What is found damaged is
// reported as driver.ErrCorrupt, never left out. After a failed write or sync
// the engine takes no more changes until it is opened again, since nobody can
// know what the disk holds then. docs/disk-layout.md has the files, the records
// and the limits.
package ondisk
