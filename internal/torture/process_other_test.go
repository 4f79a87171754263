//go:build !linux

package torture

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }

func limitFiles(int, uint64) bool { return false }
