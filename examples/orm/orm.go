// Package orm shows Pawl in the transactions of libraries that wrap database/sql.
package orm

import (
	_ "embed"
	"errors"
)

// Schema is the example's own table.
//
//go:embed schema.sql
var Schema string

// A Welcome is the job that welcomes a new account.
type Welcome struct{ Account int64 }

// Kind implements pawl.Args.
func (Welcome) Kind() string { return "welcome" }

// ErrNoAccount rolls back a Welcome for an account that does not exist.
var ErrNoAccount = errors.New("there is no such account")
