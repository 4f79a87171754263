// Package bench measures beck beside the bare minimum: the same work done by
// the engine's own client with nothing of beck around it. Both are measured in
// turn in the same run, since machines differ, and the same machine differs from
// minute to minute; the ratio is what counts.
//
// For Redis the bare minimum is rueidis pipelines of the commands that beck
// sends; for disk, synced Pebble batches of as many records as beck writes. A
// beck server has no bare minimum: there, only beck is measured.
package bench
