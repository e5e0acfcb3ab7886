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

// owner is the account a server runs as when that is not our own.
type owner struct {
	name     string
	uid, gid int
}

// serverOwner returns nil when the server can run as ourselves. PostgreSQL
// refuses to run as root, so root gets an unprivileged account.
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

// take gives path to the owner. A nil owner has it already.
func (o *owner) take(path string) error {
	if o == nil {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

// reach reports, as an error, a folder on the way to path that the owner may
// not pass through.
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
				"user %s, as whom PostgreSQL runs here because it refuses to run as root, may not enter %s",
				o.name,
				dir,
			)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// attributes start a process as the owner, in a session of its own, so that
// ^C in our terminal does not reach it.
func (o *owner) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if o != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return attr
}
