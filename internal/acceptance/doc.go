// Package acceptance shows what beck promises on running systems: several
// processes over Redis, and over a server on disk, some of which are killed while
// they work. Its tests run in a short form with all others, and in full, printing
// what they count, by
//
//	make show
package acceptance
