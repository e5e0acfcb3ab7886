//go:build !linux

package main

import "syscall"

// dieWithParent: there is no such thing here. A program outlives a pawl that is killed.
func dieWithParent(*syscall.SysProcAttr) {}
