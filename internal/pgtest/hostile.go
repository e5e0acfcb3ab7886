package pgtest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// EnvHostile is an environment variable. If it is not empty, every database of the tests has the settings of
// [Hostile].
const EnvHostile = "PAWL_TEST_HOSTILE"

// Hostile are settings that a database or a role may have and that a careless statement does not expect.
var Hostile = map[string]string{
	// How text is read and written.
	"client_encoding":             "LATIN1",
	"standard_conforming_strings": "off",
	"backslash_quote":             "off",
	"transform_null_equals":       "on",
	"datestyle":                   "SQL, DMY",
	"intervalstyle":               "sql_standard",
	"timezone":                    "Asia/Kathmandu",
	"bytea_output":                "escape",
	"extra_float_digits":          "-15",
	"xmloption":                   "document",
	"quote_all_identifiers":       "on",
	"client_min_messages":         "debug1",
	"search_path":                 "nowhere, public",

	// Transactions, and what ends them.
	"default_transaction_isolation":       "serializable",
	"default_transaction_deferrable":      "on",
	"synchronous_commit":                  "off",
	"statement_timeout":                   "60s",
	"lock_timeout":                        "30s",
	"idle_in_transaction_session_timeout": "60s",
	"idle_session_timeout":                "10s",
	"transaction_timeout":                 "60s",
	"row_security":                        "off",

	// Plans.
	"jit":                          "on",
	"jit_above_cost":               "0",
	"jit_inline_above_cost":        "-1", // With 0 a test's own statements would take seconds each: TestJIT has it.
	"jit_optimize_above_cost":      "-1",
	"plan_cache_mode":              "force_custom_plan",
	"cursor_tuple_fraction":        "1",
	"constraint_exclusion":         "on",
	"enable_indexscan":             "off",
	"enable_indexonlyscan":         "off",
	"enable_bitmapscan":            "off",
	"enable_tidscan":               "off",
	"enable_nestloop":              "off",
	"enable_sort":                  "off",
	"enable_hashagg":               "off",
	"enable_material":              "off",
	"enable_memoize":               "off",
	"enable_incremental_sort":      "off",
	"enable_partition_pruning":     "off",
	"enable_partitionwise_join":    "on",
	"from_collapse_limit":          "1",
	"join_collapse_limit":          "1",
	"geqo_threshold":               "2",
	"random_page_cost":             "1000",
	"seq_page_cost":                "0",
	"work_mem":                     "64kB",
	"parallel_setup_cost":          "0",
	"min_parallel_table_scan_size": "0",
	"default_toast_compression":    "lz4",
	"gin_fuzzy_search_limit":       "1",
}

// IsHostile reports whether every database of the tests has the settings of [Hostile].
func IsHostile() bool { return os.Getenv(EnvHostile) != "" }

// NotHostile skips a test whose own statements cannot run under the settings of [Hostile].
func NotHostile(t testing.TB, why string) {
	t.Helper()
	if IsHostile() {
		t.Skipf("not under the settings of %s: %s", EnvHostile, why)
	}
}

// Set gives the database at url settings, such as those of [Hostile], as far as the server knows them. New sessions
// have them.
func Set(t testing.TB, url string, settings map[string]string) {
	t.Helper()
	if err := current.set(Name(t, url), settings); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
}

// Friendly is an option of [Pool], for a pool of the test's own statements: its sessions have the server's settings
// where the database has those of [Hostile].
func Friendly(config *pgxpool.Config) {
	if _, pooled := poolers.Load(config.ConnConfig.Host); pooled || current == nil {
		return
	}
	settings, err := current.settings()
	if err != nil {
		panic(fmt.Sprintf("pgtest: %v", err))
	}
	settings = maps.Clone(settings)
	delete(settings, "synchronous_commit") // The server of the tests has off. Another server may have to be durable.
	maps.Copy(config.ConnConfig.RuntimeParams, settings)
}

// readSettings returns the server's values of the settings of Hostile.
func (r *run) readSettings() (map[string]string, error) {
	if err := r.connect(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.url(""))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	settings := map[string]string{}
	rows, _ := conn.Query(ctx, "SELECT lower(name), setting FROM pg_settings WHERE lower(name) = ANY ($1)",
		slices.Collect(maps.Keys(Hostile)))
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		settings[name] = value
		return nil
	})
	return settings, err
}

// set changes the settings of a database. It passes over a setting that the server lacks, and a value that it was not
// built for, such as lz4.
func (r *run) set(database string, settings map[string]string) error {
	var statements []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := "'" + strings.ReplaceAll(settings[name], "'", "''") + "'"
		if name == "search_path" {
			value = settings[name] // In quotes, a list would be one name.
		}
		statements = append(statements, fmt.Sprintf(`DO $do$ BEGIN
				IF current_setting('%[2]s', true) IS NOT NULL THEN ALTER DATABASE %[1]s SET %[2]s = %[3]s; END IF;
			EXCEPTION WHEN invalid_parameter_value THEN
				IF '%[2]s' <> 'default_toast_compression' THEN RAISE; END IF;
			END $do$`, database, name, value))
	}
	return r.exec(statements...)
}
