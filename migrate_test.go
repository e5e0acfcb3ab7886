package pawl_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestCallsWithoutASchemaReturnASchemaError(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.Empty(t))
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, err error) {
		t.Helper()
		if schema, ok := errors.AsType[*pawl.SchemaError](err); !ok || schema.Have != 0 || schema.Want == 0 {
			t.Errorf("%s: got %v, want a *SchemaError", what, err)
		}
	}
	_, err = client.Insert(t.Context(), Note{1})
	want("Insert", err)
	_, err = client.InsertMany(t.Context(), notes(3000))
	want("InsertMany", err)
	_, err = client.Claim(t.Context(), "default", 1, 0)
	want("Claim", err)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	want("Run", client.Run(t.Context(), mux, pawl.RunnerConfig{}))
	want("Tend", client.Maintain(t.Context()))
}

func TestMigrateConcurrently(t *testing.T) {
	t.Parallel()
	client, pool := connect(t, pgtest.Empty(t))
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if err := client.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := value[int](t, pool, "select count(*) - max(version) from pawl.migration"); n != 0 {
		t.Error("a migration was applied twice or left out")
	}
	insert(t, client, Note{1})
	if err := client.Complete(t.Context(), claim(t, client, 1)); err != nil {
		t.Error(err)
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Errorf("migrating again: %v", err)
	}
	if err := client.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if value[bool](t, pool, "select exists (select from pg_namespace where nspname = 'pawl')") {
		t.Error("Uninstall left the schema")
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Errorf("migrating after Uninstall: %v", err)
	}
}

func TestMigrateTo(t *testing.T) {
	t.Parallel()
	client, pool := connect(t, pgtest.Empty(t))
	var dry bytes.Buffer
	if err := client.WriteMigration(t.Context(), &dry, 0); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"create table \"pawl\".job", "function \"pawl\".claim"} {
		if !strings.Contains(dry.String(), part) {
			t.Errorf("the dry run does not say %q", part)
		}
	}
	if value[bool](t, pool, "select exists (select from pg_namespace where nspname = 'pawl')") {
		t.Fatal("a dry run made the schema")
	}
	if err := client.MigrateTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if v := value[int](t, pool, "select max(version) from pawl.migration"); v != 1 {
		t.Errorf("the schema is at version %d, want 1", v)
	}
	for _, version := range []int{-1, 0, 1000} {
		if err := client.MigrateTo(t.Context(), version); err == nil {
			t.Errorf("MigrateTo %d returned nil", version)
		}
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, "insert into pawl.migration (version, name) values (9999, 'of the future')")
	exec(t, pool, "drop function pawl.backoff")
	err := client.Migrate(t.Context())
	if schema, ok := errors.AsType[*pawl.SchemaError](err); !ok || schema.Have != 9999 || schema.Want >= 9999 {
		t.Errorf("got %v, want a *SchemaError with 9999", err)
	}
	if value[bool](t, pool, "select to_regproc('pawl.backoff') is not null") {
		t.Error("an older binary replaced the functions of a newer schema")
	}
	insert(t, client, Note{1}) // Migrations only add: the older binary goes on.
}
