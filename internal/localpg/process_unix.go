//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// quitSignal makes a postmaster stop at once.
var quitSignal = syscall.SIGQUIT

// owner is the account that a server runs as, if it differs from our own.
type owner struct {
	name     string
	uid, gid int
}

// serverOwner returns the account for a server, or nil if the server can run as
// our own. PostgreSQL refuses to run as root, so for root it returns an
// unprivileged account.
func serverOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(account.Uid)
		gid, errGID := strconv.Atoi(account.Gid)
		if errUID == nil && errGID == nil && uid != 0 {
			return &owner{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New(
		"PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as; " +
			"add one of them or run as an ordinary user",
	)
}

// take makes the owner own path. It does nothing if the owner is nil.
func (o *owner) take(path string) error {
	if o == nil {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

// reach returns an error if the owner may not enter path or one of its parents.
func (o *owner) reach(path string) error {
	if o == nil {
		return nil
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		pass := os.FileMode(0o001)
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) == o.uid {
			pass = 0o100
		} else if ok && int(stat.Gid) == o.gid {
			pass = 0o010
		}
		if info.Mode()&pass == 0 {
			return fmt.Errorf(
				"user %s may not enter %s (PostgreSQL runs as this user because it refuses to run as root)",
				o.name, dir,
			)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// attributes returns the attributes that start a process as the owner. The process
// has a session of its own, so that ^C in our terminal does not reach it.
func (o *owner) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if o != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return attr
}
