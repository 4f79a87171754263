package ondisk

import "github.com/cockroachdb/pebble/v2"

// Memory for Pebble.
const (
	cacheSize    = 64 << 20
	memTableSize = 32 << 20
)

// How Pebble moves what it wrote into tables down its levels. Messages come in
// the order of their keys, so that most of them need no merging: the less of them
// is rewritten, the more processor time is left.
const (
	// tableSize is about how large the files are that a memtable is written to;
	// those of the levels below are twice as large each. Smaller ones would only
	// be more of them: there is little to merge with a part of one.
	tableSize = 16 << 20
	// mergeFrom is how many memtables may lie over each other in files before
	// they are merged. Whoever reads messages meets few that do; whoever looks
	// for one record may have to look into each.
	mergeFrom = 8
	// stopFrom is of how many of them on writing waits for merging.
	stopFrom = 24
	// baseSize is how large the first sorted level grows before it is merged
	// into the next. With the default of 64 MiB, messages would be rewritten
	// once more as soon as there are a few hundred MiB.
	baseSize = 512 << 20
)

// storeOptions are how Pebble is run.
func (e *engine) storeOptions(set settings, lock *pebble.Lock, mustExist bool) *pebble.Options {
	o := &pebble.Options{
		FS:               newLogFS(set.fs, e.stamps.path(storeName), e.fail),
		Lock:             lock,
		ErrorIfNotExists: mustExist,
		// Tables carry checksums throughout from this version on, and the log
		// tells a torn end from damage in its middle.
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		CacheSize:                   cacheSize,
		MemTableSize:                set.memory,
		MemTableStopWritesThreshold: 4,
		FlushSplitBytes:             2 * tableSize,
		L0CompactionThreshold:       mergeFrom,
		L0StopWritesThreshold:       stopFrom,
		LBaseMaxBytes:               baseSize,
		Logger:                      &logger{log: set.log, fail: e.fail},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				set.log.Warn("beck: background work on the store failed", "dir", e.dir, "err", err)
			},
			// Whoever reads what is damaged gets an error. By default Pebble
			// would end the process.
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				set.log.Error("beck: the store is damaged", "file", info.Path, "err", info.Details)
			},
		},
	}
	o.TargetFileSizes[0] = tableSize
	o.Experimental.SpanPolicyFunc = splitAtTag
	return o
}

// splitAtTag has Pebble end a file where one of our tables ends. Else each file
// would reach from the records of topics to messages, lie over all others, and be
// merged with them again and again.
func splitAtTag(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	if len(start) == 0 {
		return policy, nil, nil
	}
	return policy, rangeEnd(start[:1]), nil
}
