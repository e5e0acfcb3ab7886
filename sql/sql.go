// Package sql holds Pawl's SQL: tables and indexes in migration, statements as functions in function, and in query what looks at an
// installation that may lack those. The README beside it says how to read them.
package sql

import (
	"embed"
	"strings"
)

//go:embed migration/*.sql function/*/*.sql query schema.sql
var Files embed.FS

// Query is the text of query/name.sql. It panics if there is none.
func Query(name string) string { return read("query/" + name + ".sql") }

// Body is what function/name.sql runs, as in "admin/violations", for where the function may be missing. It panics if there is none.
func Body(name string) string {
	_, text, _ := strings.Cut(read("function/"+name+".sql"), "$$")
	text, _, _ = strings.Cut(text, "$$")
	return text
}

func read(name string) string {
	text, err := Files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(text)
}
