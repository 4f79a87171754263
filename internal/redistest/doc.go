// Package redistest starts real Redis servers for tests: single ones, a primary
// with replicas and sentinels, clusters; with TLS, users and unix sockets.
//
// Each server has a port and a directory of its own, listens on loopback only,
// and ends with the test, also when the test ends by a time-out. A test is skipped
// where redis-server isn't installed, unless the environment has
// BECK_TEST_REDIS=require, which makes that a failure.
//
// Methods fail the test on any error, and none waits without a bound. They may be
// called from several goroutines at once, though one that fails in another
// goroutine than the test's ends just that goroutine.
package redistest
