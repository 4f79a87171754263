// Package drivertest is beck's conformance suite: what it means to be an engine.
//
// An engine's test is one call:
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, drivertest.Harness{
//			Open:   func(t testing.TB) driver.Engine { … a fresh, empty engine … },
//			Reopen: func(t testing.TB, e driver.Engine) driver.Engine { … closed, and opened on the same data … },
//		})
//	}
//
// Each promise of internal/driver's comments and of the design is a [Case]; most
// speak to the engine alone, those of the groups named bus to a beck.Bus on top
// of it. The table of all of them is docs/conformance.md, which the package's own
// test writes.
//
// # Histories
//
// Beside the cases, random histories run on the engine and on the reference
// model (the package model) at once and compare what both say. A history is
// made from a seed, which a failure prints together with what was done:
//
//	BECK_SEED=12345 go test ./ondisk -run Conformance/histories
//	BECK_HISTORIES=500 go test …    more of them
//
// # Time
//
// Cases use short, real leases, run side by side, and wait for conditions with a
// generous deadline ([Harness.Patience]). They hold engines to lower bounds of
// time (no lease ends early, no retry comes early), never to tight upper ones.
package drivertest
