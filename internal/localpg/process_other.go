//go:build !unix

package localpg

import (
	"errors"
	"os"
	"syscall"
)

var quitSignal = os.Kill

type owner struct{}

func serverOwner() (*owner, error) {
	return nil, errors.New("a private PostgreSQL server needs a Unix system; give a server of your own with --dsn")
}

func (*owner) take(string) error                { return nil }
func (*owner) reach(string) error               { return nil }
func (*owner) attributes() *syscall.SysProcAttr { return nil }
