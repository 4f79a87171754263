// Package archive writes the messages of a topic to files.
package archive
