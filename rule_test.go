package pawl_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/sql"
)

// checkRule runs race twice. With the library as it is, race must return "". After old is replaced in the SQL
// function, race must return what went wrong.
func checkRule(t *testing.T, function, old, replaced string,
	race func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (wrong string)) {
	t.Helper()
	t.Parallel()
	t.Run("kept", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		if wrong := race(t, client, pool); wrong != "" {
			t.Error(wrong)
		}
	})
	t.Run("left out", func(t *testing.T) {
		t.Parallel()
		text, err := sql.Files.ReadFile("function/" + function + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), old) != 1 {
			t.Fatalf("%s.sql does not have %q once: the test must follow it", function, old)
		}
		// What other tests do on the server may hide it: a new database makes a checkpoint, after which nextval takes a
		// number.
		for range 25 {
			client, pool := connectUnchecked(t, pgtest.Database(t))
			exec(t, pool, strings.Replace(string(text), old, replaced, 1))
			if race(t, client, pool) != "" {
				return
			}
		}
		t.Error("nothing went wrong without the rule: the test does not test it")
	})
}

// claimTickets calls pawl.claim for the default lane and returns the ids of its jobs.
func claimTickets(t testing.TB, db queryer, lease string, worker *int64, most int) []int64 {
	t.Helper()
	return values[int64](t, db, `select id from pawl.claim($1::uuid, $2, null, $3, array['default'], array[0], array[''],
		array[0::bigint], array[9223372036854775807], array[$3::int]) where found`, lease, worker, most)
}

const aLease = "00000000-0000-4000-8000-000000000001"
