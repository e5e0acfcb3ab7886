package pawltest_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func TestRequireInserted(t *testing.T) {
	t.Parallel()
	client := install(t)
	pool := pawltest.Pool(t, client)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	insert(t, client.With(tx),
		pawl.JobSpec{Args: note{1}, Queue: "a", Channel: "acme", Fingerprint: "f", Unique: pawl.Unique{Key: "k"}},
		pawl.JobSpec{Args: note{2}, Queue: "b", Delay: time.Hour},
		pawl.JobSpec{Args: &other{}})

	for name, filter := range map[string]pawl.Filter{
		"queue": {Queue: "a"}, "channel": {Channel: "acme"}, "fingerprint": {Fingerprint: "f"}, "key": {UniqueKey: "k"},
		"args": {Args: json.RawMessage(`{"N": 1}`)}, "state": {States: []pawlstate.State{pawlstate.Ready}},
		"due":   {RunBefore: time.Now().Add(time.Minute)},
		"since": {Queue: "a", CreatedAfter: time.Now().Add(-time.Hour), CreatedBefore: time.Now().Add(time.Hour)},
	} {
		if job := pawltest.RequireInserted[note](t, client.With(tx), filter); job.Args.N != 1 {
			t.Errorf("by %s: note %d", name, job.Args.N)
		}
	}
	if job := pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{}); job.Args.N != 2 ||
		job.State != pawlstate.Scheduled {
		t.Errorf("the newest is note %d, %s", job.Args.N, job.State)
	}
	pawltest.RequireInserted[*other](t, client.With(tx), pawl.Filter{})
	if job := pawltest.RequireInserted[pawl.RawArgs](t, client.With(tx), pawl.Filter{Kind: "note", Queue: "b"}); string(
		job.Args.JSON,
	) != `{"N": 2}` ||
		job.Args.Kind() != "note" {
		t.Errorf("raw args are %s of %q", job.Args.JSON, job.Args.Kind())
	}
	pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"})
	pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{Worker: "unknown"})
	pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{States: []pawlstate.State{pawlstate.Completed}})
	pawltest.RequireNotInserted[note](t, client, pawl.Filter{}) // Not committed.

	contains(
		t,
		ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"}) }),
		`kind "note", queue c`,
		`kind "note", queue "a", channel "acme", ready, args {"N": 1}`,
		`scheduled until`,
		`kind "other"`,
	)
	if text := ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"}) }); !regexp.MustCompile(`, in (1h0m0s|59m\d+s), args`).
		MatchString(text) {
		t.Errorf("it does not say when it is due: %s", text)
	}
	contains(
		t,
		ends(t, func(t testing.TB) { pawltest.RequireNotInserted[note](t, client.With(tx), pawl.Filter{}) }),
		"should not have been",
		`"a"`,
		`"b"`,
	)
	contains(
		t,
		ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client, pawl.Filter{}) }),
		"no live job at all",
	)

	many := make([]pawl.JobSpec, 20)
	for i := range many {
		many[i] = pawl.JobSpec{Args: pawl.Raw("long", []byte(`"`+strings.Repeat("x", 5000)+`"`))}
	}
	insert(t, client.With(tx), many...)
	text := ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Queue: "c"}) })
	if len(text) > 5000 || !strings.Contains(text, "and more") {
		t.Errorf("of many long jobs the message has %d bytes", len(text))
	}
	contains(
		t,
		ends(t, func(t testing.TB) { pawltest.RequireInserted[note](t, client.With(tx), pawl.Filter{Kind: "long"}) }),
		"do not decode",
	)
}

func TestRequireInsertedDatabaseSQL(t *testing.T) {
	t.Parallel()
	client := install(t)
	db := stdlib.OpenDBFromPool(pawltest.Pool(t, client))
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	insert(t, client.WithSQL(tx), pawl.JobSpec{Args: note{7}})
	if job := pawltest.RequireInserted[note](t, client.WithSQL(tx), pawl.Filter{Args: json.RawMessage(`{"N":7}`)}); job.Args.N != 7 {
		t.Errorf("note %d", job.Args.N)
	}
	pawltest.RequireNotInserted[note](t, client.WithSQL(db), pawl.Filter{})
}

// Another schema is found through its client.
func TestRequireInsertedSchema(t *testing.T) {
	t.Parallel()
	client, err := pawl.New(pawltest.Pool(t, pawltest.New(t)), pawl.Config{Schema: "jobs"})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	insert(t, client, pawl.JobSpec{Args: note{1}, Delay: time.Minute})
	pawltest.RequireInserted[note](t, client, pawl.Filter{})
	pawltest.RequireNotInserted[note](t, client, pawl.Filter{Queue: "none"})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	pawltest.Advance(t, client, time.Minute)
	pawltest.RunOne(t, client, mux)
}
