// Package doctor looks at where messages are kept and says what is well there and
// what endangers them, with the setting that mends it.
//
// It changes nothing: the commands by which it finds out what a user may do are
// such that Redis refuses them, or that have nothing to do. It talks to every
// server of a deployment by connections of its own, and never waits without a bound.
package doctor
