package drivertest

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// recorder is a testing.TB for a case that is meant to fail: it notes what the
// case says, and leaves the real test alone.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failed   bool
	said     []string
	cleanups []func()
}

// fails runs a case and tells whether it failed, and what it said.
func fails(t *testing.T, c Case, h Harness) (bool, []string) {
	r := &recorder{TB: t}
	r.inOwnGoroutine(func() { c.test(r, h) })
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.inOwnGoroutine(r.cleanups[i])
	}
	return r.failed, r.said
}

// inOwnGoroutine lets FailNow end what is called.
func (r *recorder) inOwnGoroutine(call func()) {
	var wg sync.WaitGroup
	wg.Go(call)
	wg.Wait()
}

func (r *recorder) note(failed bool, s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || failed
	r.said = append(r.said, s)
}

func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Helper()                           {}
func (r *recorder) Error(args ...any)                 { r.note(true, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.note(true, fmt.Sprintf(format, args...)) }
func (r *recorder) Log(args ...any)                   { r.note(false, fmt.Sprint(args...)) }
func (r *recorder) Logf(format string, args ...any)   { r.note(false, fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }
func (r *recorder) FailNow()                          { r.Error("FailNow"); runtime.Goexit() }
func (r *recorder) Fail()                             { r.Error("Fail") }
func (r *recorder) Skip(args ...any)                  { r.Log(args...); runtime.Goexit() }
func (r *recorder) Skipf(format string, args ...any)  { r.Logf(format, args...); runtime.Goexit() }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
