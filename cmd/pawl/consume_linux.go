package main

import "syscall"

// dieWithParent has a program killed when pawl dies: its job will run elsewhere. (The signal comes when the thread that started it ends,
// and Go's threads end with the process.)
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGKILL }
