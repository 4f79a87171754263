// Package redistest starts real Redis servers for tests.
//
// Each server has a port and a directory of its own, listens on loopback only,
// and ends with the test. A test is skipped where redis-server isn't installed,
// unless the environment has BECK_TEST_REDIS=require, which makes that a failure.
package redistest
