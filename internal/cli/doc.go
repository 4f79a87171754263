// Package cli is beck's command line, one file a verb.
//
// Results go to standard output, everything else to standard error. A closed
// output ends a command quietly, and so does ctrl-C; a second ctrl-C ends it at
// once. An error is one line, "beck: …", and where more help is known a second,
// "hint: …". Exit codes are those of package wire, 2 for a command line that
// makes no sense, and 128 plus the signal's number for work that a signal cut
// short. docs/cli.md says all of this to users.
package cli
