// Package archive writes the messages of a topic to files, as JSON lines.
//
//	err := archive.Run(ctx, bus, "orders", "archive", "/var/archive/orders", &archive.Options{Gzip: true})
//
// [Run] reads through a durable subscription. A line is the object that "beck sub
// --json" prints: id, topic, key, headers, time, attempt, and body or, where it is
// not UTF-8, body_base64. Such lines can be published again by "beck pub --lines
// --json".
//
// # What is promised
//
// A message is acknowledged only after the file that it is in is synced to the
// disk, and so is the directory if the file is new. So whatever happens to the
// process, the machine or the engine, every message is in the files. After a crash
// some may be there twice: those that were written and not acknowledged yet, at
// most one batch of a thousand, with a higher attempt the second time.
//
// A message is never split over two files. What a crash left torn at the end of a
// file is cut off at the next start, since only messages that were not
// acknowledged can be in it, and writing goes on there. With Gzip, each synced
// batch is a gzip member of its own, so that a file can be read at any time, up to
// the last batch.
//
// If a file can't be written, because the disk is full or the directory
// read-only, Run returns an error that says so; nothing of that batch is
// acknowledged, and it is given back to the subscription.
//
// # Files
//
// A file is named after the topic, a number that grows, and the id of its first
// message, so that names sort in the order in which the files were written:
//
//	orders.0000000007.1732176000000-0042.jsonl
//
// or .jsonl.gz. While it is written to, ".part" stands behind that; a file without
// it is complete, and is never touched again. A file is completed once it has
// MaxSize bytes or is MaxAge old, and when Run ends without an error.
//
// A directory belongs to one archiver at a time: the file ".beck-archive.lock" in it is locked,
// and another one is refused with an error that is beck.ErrInUse. Each topic needs
// a directory of its own as long as it is written to.
package archive
