package subprocess

import "syscall"

// killWithParent makes the kernel kill the program if pawl dies, because its job will run elsewhere. The kernel sends
// the signal when the thread that started the program ends. Go's threads end with the process.
func killWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGKILL }
