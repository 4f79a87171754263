package torture

import (
	"syscall"
	"unsafe"
)

// attributes has the system end a process when the test's is gone without having
// ended it, as after a time-out.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// limitFiles bounds the size to which a process may grow its files, or, with 0,
// doesn't. It reports whether the system can.
func limitFiles(pid int, size uint64) bool {
	const fileSize = 1 // RLIMIT_FSIZE
	const endless = ^uint64(0)
	limit := [2]uint64{size, endless}
	if size == 0 {
		limit[0] = endless
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_PRLIMIT64, uintptr(pid), fileSize, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	return errno == 0
}
