// Package sql holds Pawl's SQL. The folder migration makes tables and indexes, function holds the statements as
// functions, and query holds the statements that inspect an installation, which may lack those functions. The README
// beside this file explains how to read them.
package sql

import (
	"embed"
	"strings"
)

//go:embed migration/*.sql function/*/*.sql query schema.sql
var Files embed.FS

// Query returns the text of query/name.sql. It panics if there is no such file.
func Query(name string) string { return read("query/" + name + ".sql") }

// Body returns the body of the function in function/name.sql, such as "admin/violations", so that it can run where the
// function is missing. It panics if there is no such file.
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
