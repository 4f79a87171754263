// Package model is a driver.Engine in memory, made to be obviously right: one
// mutex, slices and maps, no cleverness, no speed.
//
// The conformance suite compares other engines with it, and is itself tested on
// it. It is not for users: nothing it holds outlives the process.
package model
