//go:build !linux

package subprocess

import "syscall"

// killWithParent does nothing: only Linux can kill the program if pawl dies.
func killWithParent(*syscall.SysProcAttr) {}
