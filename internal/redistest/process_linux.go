package redistest

import "syscall"

// attributes has the system end a server when the test's process is gone without
// having ended it, as after a test's time-out.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
