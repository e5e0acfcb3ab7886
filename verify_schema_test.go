package pawl_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// schemaDifferences are faults in the schema, made by hand. The first ones can be repaired.
var schemaDifferences = map[string]struct {
	statement string
	checks    []string
	problem   string // Part of the problem.
	repaired  bool
}{
	"function gone": {
		"drop function pawl.run_followups(integer)", []string{"function"}, "run_followups (missing)", true,
	},
	"function replaced": {replacedFunction, []string{"function"}, "poke_heartbeats (differs)", true},
	"function's settings": {
		"alter function pawl.run_followups(integer) reset all", []string{"function"}, "run_followups (differs)", true,
	},
	"one of two functions": {
		"drop function pawl.claim(text, integer, interval)", []string{"function"}, "claim (missing)", true,
	},
	"all functions gone": {dropFunctions, []string{"function"}, "more", true},
	"index gone":         {"drop index pawl.job_fingerprint", []string{"index"}, "job_fingerprint", true},
	"unique index gone": {
		"drop index pawl.ordered_job_job_id", []string{"index"}, "unique index ordered_job_job_id", true,
	},
	"primary key gone": {"alter table pawl.ready drop constraint ready_pkey", []string{"index"}, "ready_pkey", true},
	"index not valid": {
		"update pg_index set indisvalid = false where indexrelid = 'pawl.dead_queue'::regclass",
		[]string{"index"}, "dead_queue is not valid", true,
	},
	"index of the archive":  {"drop index pawl.archive_chunk_min_id", []string{"index"}, "archive_chunk_min_id", true},
	"sequence with a cache": {"alter sequence pawl.pos cache 20", []string{"sequence"}, "cache 20", true},
	"partitions dropped":    {fmt.Sprintf(eachPartition, "drop table"), []string{"partition"}, "archive_2", true},
	"partitions detached": {
		fmt.Sprintf(eachPartition, "alter table pawl.archive_chunk detach partition"),
		[]string{"partition"}, "is not attached", true,
	},

	"index of other columns": {otherIndex, []string{"index"}, "dead_queue", false},
	"table gone":             {"drop table pawl.permit", []string{"table", "unseen"}, "permit", false},
	"table of jobs gone":     {"drop table pawl.job", []string{"table", "unseen"}, "job", false},
	"table renamed":          {"alter table pawl.batch rename to old", []string{"table", "unseen"}, "batch", false},
	"migrations gone":        {"drop table pawl.migration", []string{"table", "unseen"}, "migration", false},
	"column gone": {
		"alter table pawl.queue drop column weights", []string{"column", "unseen"}, "queue.weights", false,
	},
	"column of another type": {
		"alter table pawl.dead alter attempt type integer", []string{"column"}, "dead.attempt", false,
	},
	"newer": {
		"insert into pawl.migration (version, name) values (9999, 'later'); " +
			"alter table pawl.job add column later integer; " + replacedFunction, nil, "", false,
	},
	"no schema": {"drop schema pawl cascade", []string{"schema"}, "no schema", false},
}

// Verify finds objects that are missing from the schema or differ. Repair repairs them if that is safe. Neither
// returns an error.
func TestSchemaDifferencesAreFoundAndRepaired(t *testing.T) {
	t.Parallel()
	for name, test := range schemaDifferences {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := connectUnchecked(t, pgtest.Database(t))
			insert(t, client, Note{1})
			exec(t, pool, test.statement)
			found, err := client.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := checksOf(found); !slices.Equal(got, test.checks) || !strings.Contains(fmt.Sprint(found), test.problem) {
				t.Errorf("found %q, want %q about %s: %+v", got, test.checks, test.problem, found)
			}
			if test.repaired {
				repair(t, client, test.checks...)
				if got := runs(t, client, pool); got[1] != 1 {
					t.Errorf("after the repair: %v", got)
				}
				return
			}
			found, err = client.Repair(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			repaired := slices.ContainsFunc(found, func(f pawl.Finding) bool { return f.Repaired })
			if got := checksOf(found); !slices.Equal(got, test.checks) || repaired {
				t.Errorf("Repair found %+v", found)
			}
			if got := verified(t, client); !slices.Equal(got, test.checks) {
				t.Errorf("after the repair: %q", got)
			}
		})
	}
}

// The binary of a later version finds an older schema, and does not repair it.
func TestVerifyReportsAnOlderSchema(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	later := client.LaterBinary()
	for verb, inspect := range map[string]func(context.Context) ([]pawl.Finding, error){
		"Verify": later.Verify, "Repair": later.Repair, "Doctor": later.Doctor,
	} {
		found, err := inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(found, func(f pawl.Finding) bool { return f.Check == "schema" })
		if i < 0 || !strings.Contains(found[i].Problem, "version 1, older than this binary's 2") ||
			found[i].Remedy != "pawl migrate" || found[i].Repaired {
			t.Errorf("%s found %+v", verb, found)
		}
	}
}

func TestVerifyAndRepairWorkInAnotherSchema(t *testing.T) {
	t.Parallel()
	client, pool := connectUnchecked(t, pgtest.Empty(t), func(c *pawl.Config) { c.Schema = "Other$1" })
	if got := verified(t, client); !slices.Equal(got, []string{"schema"}) {
		t.Errorf("before the installation: %q", got)
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := insert(t, client, Note{1})
	if got := verified(t, client); len(got) > 0 {
		t.Errorf("after the installation: %q", got)
	}
	exec(t, pool, `delete from "Other$1".ready`)
	exec(t, pool, `drop function "Other$1".restore_jobs(bigint[]); drop index "Other$1".dead_queue`)
	repair(t, client, "function", "index", "ticket-missing")
	if jobs := claim(t, client, 1); jobs[0].ID != id {
		t.Errorf("claimed %d, want %d", jobs[0].ID, id)
	}
}

func TestVerifyReportsMissingPrivileges(t *testing.T) {
	t.Parallel()
	p := startInspectedServer(t).newInstallation(t)
	p.exec("create role reader login")
	owner := p.pool
	p.connect(as(t, p.url, "reader"), pawl.Config{})
	if got := verified(t, p.client); !slices.Equal(got, []string{"privilege", "unseen"}) {
		t.Errorf("without any rights: %q", got)
	}
	exec(t, owner, "grant usage on schema pawl to reader; grant select on all tables in schema pawl to reader")
	found, err := p.client.Verify(t.Context())
	if err != nil || !slices.Equal(checksOf(found), []string{"privilege", "unseen"}) {
		t.Fatalf("without the sequence: %+v, %v", found, err)
	}
	exec(t, owner, found[0].Remedy)
	if got := verified(t, p.client); len(got) > 0 {
		t.Errorf("after the remedy: %q", got)
	}
}

func TestVerifySeesTheCallersTransaction(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := begin(t, pool)
	id := insert(t, client.With(tx), Note{1})
	exec(t, tx, "delete from pawl.ready")
	if got := verified(t, client.With(tx)); !slices.Equal(got, []string{"ticket-missing"}) {
		t.Errorf("in the transaction: %q about job %d", got, id)
	}
	if got := verified(t, client); len(got) > 0 {
		t.Errorf("outside: %q", got)
	}
	if _, err := client.With(tx).Repair(t.Context()); err == nil {
		t.Error("Repair accepted a client of With")
	}
	if got := verified(t, client.WithSQL(stdTx(t, pool))); len(got) > 0 {
		t.Errorf("over database/sql: %q", got)
	}
}

// A locked table is a finding, and Verify does not wait for the lock to go.
func TestVerifyReportsALockedTable(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := begin(t, pool)
	exec(t, tx, "lock table pawl.dependency in access exclusive mode")
	if got := verified(t, client); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("found %q", got)
	}
}
