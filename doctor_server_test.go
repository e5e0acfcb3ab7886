package pawl_test

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// The problems come one after the other, because there is one server.
func TestDoctorNamesServerProblems(t *testing.T) {
	t.Parallel()
	server := startInspectedServer(t)
	p := server.newInstallation(t)
	if found := p.findings(); len(found) > 0 {
		t.Fatalf("found before there is a problem: %+v", found)
	}
	for _, setting := range []string{"autovacuum", "track_counts"} {
		server.exec(t, "alter system set "+setting+" = off", "select pg_reload_conf()")
		p.mustFind("autovacuum", setting+" is off (configuration file)", "alter system set "+setting+" = on")
		server.exec(t, "alter system reset "+setting, "select pg_reload_conf()")
	}
	for _, setting := range []string{"fsync", "full_page_writes"} {
		server.exec(t, "alter system set "+setting+" = off", "select pg_reload_conf()")
		p.mustFind("durability", setting+" is off (configuration file)", "alter system set "+setting+" = on")
		server.exec(t, "alter system reset "+setting, "select pg_reload_conf()")
	}
	pgtest.Wait(t, "all problems to be gone", func() bool { return len(p.findings()) == 0 })

	p.strict()
	for _, slot := range []string{"", "backup"} {
		if slot != "" {
			server.exec(t, "select pg_create_physical_replication_slot('backup', true)")
		}
		stop := standby(t, p, slot)
		burn := func() {
			for range 3 {
				server.exec(t, "select pg_current_xact_id()")
			}
		}
		burn()
		if slot == "" {
			p.mustFind("xmin", "the standby far", "hot_standby_feedback")
			stop()
			continue
		}
		p.mustFind("xmin", "the replication slot backup (in use by process", "hot_standby_feedback")
		stop()
		p.mustFind("xmin", "the replication slot backup (inactive", ", since about 20",
			"pg_drop_replication_slot('backup')")
		pgtest.Wait(t, "the slot to be dropped", func() bool {
			_, err := p.pool.Exec(t.Context(), "select pg_drop_replication_slot('backup')")
			return err == nil
		})
	}

	p.doctor = p.client.Doctor
	p.exec(`update pg_database
		set datfrozenxid = ((pg_current_xact_id()::text::bigint - 1200000000 + 4294967296) % 4294967296)::text::xid
		where datname = current_database()`)
	p.mustFind("wraparound", "1200 million transactions old", "vacuum (freeze)")
}

func TestDoctorReportsFewConnectionsAndLocks(t *testing.T) {
	t.Parallel()
	server, err := localpg.Start(t.Context(), localpg.Config{Settings: map[string]string{
		"max_connections": "12", "max_locks_per_transaction": "32",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	p := &inspected{TB: t, url: server.URL("postgres")}
	if err := migrate(t.Context(), p.url); err != nil {
		t.Fatal(err)
	}
	p.connect(p.url, pawl.Config{})
	p.mustFind("setting", "384 locks", "max_locks_per_transaction = 256")
	if slices.Contains(checksOf(p.findings()), "connection") {
		t.Error("a finding about connections while most are free")
	}
	for range 8 {
		conn, err := pgx.Connect(t.Context(), p.url+"&application_name=greedy")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
	}
	p.mustFind("connection", "of 9 connections of the server", "by greedy", "max_connections = 18")
}

// Without a server, inspection returns an error within the time limit of a connection.
func TestVerifyRepairAndDoctorFailWithoutServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	p := &inspected{TB: t, url: server.URL("postgres")}
	if err := migrate(t.Context(), p.url); err != nil {
		t.Fatal(err)
	}
	p.connect(p.url, pawl.Config{})
	if err := server.StopServer(t.Context(), localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	for verb, do := range map[string]func(context.Context) ([]pawl.Finding, error){
		"Verify": p.client.Verify, "Repair": p.client.Repair, "Doctor": p.client.Doctor,
	} {
		if found, err := do(t.Context()); err == nil {
			t.Errorf("%s without a server: %+v", verb, found)
		}
	}
}
