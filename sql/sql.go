// Package sql holds Pawl's SQL: tables and indexes in migration, statements as functions in function.
// The README beside it says how to read them.
package sql

import "embed"

//go:embed migration/*.sql function/*.sql
var Files embed.FS
