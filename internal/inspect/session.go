package inspect

import (
	"context"
	"encoding/json"
)

// readable are the settings under which the server describes objects as schema.sql does, whatever the session has.
var readable = map[string]string{
	"datestyle":             "ISO",
	"extra_float_digits":    "1",
	"intervalstyle":         "postgres",
	"quote_all_identifiers": "off",
	"search_path":           "pg_catalog, pg_temp",
}

// planned are the settings of a transaction of an inspection's own. Its statements read whole tables.
var planned = map[string]string{
	"enable_bitmapscan":    "on",
	"enable_hashagg":       "on",
	"enable_hashjoin":      "on",
	"enable_indexonlyscan": "on",
	"enable_indexscan":     "on",
	"enable_mergejoin":     "on",
	"enable_nestloop":      "off",
	"enable_seqscan":       "on",
	"enable_sort":          "on",
	"jit":                  "off",
	"statement_timeout":    "0", // The context of the call limits it.
}

// set sets settings until the end of the transaction and returns the values that they had.
func set(ctx context.Context, tx Runner, settings map[string]string) (before map[string]string, err error) {
	wanted, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	before = map[string]string{}
	// The old values are read before any is set.
	err = tx.Query(ctx, `with s as materialized (select s.key, s.value, current_setting(s.key) as before
			from json_each_text($1::text::json) s)
		select s.key, s.before, set_config(s.key, s.value, true) from s`, []any{string(wanted)}, func(row Row) error {
		var name, value, now string
		err := row.Scan(&name, &value, &now)
		before[name] = value
		return err
	})
	return before, err
}

// describing runs do in the caller's transaction under the settings of readable, and sets them back.
func describing(ctx context.Context, tx Runner, do func(tx Runner) error) error {
	before, err := set(ctx, tx, readable)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		_, _ = set(ctx, tx, before) // If the transaction has failed, its rollback sets them back.
		return err
	}
	_, err = set(ctx, tx, before)
	return err
}
