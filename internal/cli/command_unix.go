//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// apart puts a command into a process group of its own: ctrl-C on the terminal is
// meant for beck, which lets running commands finish. When it has to end, all of
// the group does.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}
