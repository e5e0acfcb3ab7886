package pawltest_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawltest"
)

func TestNew(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("a database of its own", func(t *testing.T) {
		a, b := install(t), install(t)
		insert(t, a, pawl.JobSpec{Args: note{1}})
		pawltest.RequireNotInserted[note](t, b, pawl.Filter{})
		url = pgtest.Direct(t, pawltest.Pool(t, a).Config().ConnString())
	})
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		conn.Close(t.Context())
		t.Error("the database is still there after its test")
	}
	client, err := pawl.New(nil, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.Pool(t, client) }), "no pool")
}

const childEnv = "PAWLTEST_CHILD"

// A given server is left as it was found, and the private one ends with the process.
func TestGivenServer(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		client := pawltest.New(t)
		insert(t, client, pawl.JobSpec{Args: note{1}})
		fmt.Println("url:", pawltest.Pool(t, client).Config().ConnString())
		if os.Getenv(childEnv) == "killed" {
			process, err := os.FindProcess(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			process.Kill()
			<-t.Context().Done()
		}
		return
	}
	t.Parallel()
	child := func(env ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGivenServer$")
		cmd.Env = append(append(os.Environ(), pgtest.EnvPgBouncer+"="), env...)
		out, err := cmd.Output()
		_, url, _ := strings.Cut(string(out), "url: ")
		url, _, _ = strings.Cut(url, "\n")
		return url, err
	}

	server := pgtest.Server(t)
	if out, err := child(childEnv+"=given", pgtest.EnvURL+"="+server.URL("postgres")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), "select datname::text from pg_database where datname like 'pawl%'")
	if left, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(left) > 0 {
		t.Errorf("databases left: %v, %v", left, err)
	}

	url, err := child(childEnv+"=killed", pgtest.EnvURL+"=")
	if err == nil || url == "" {
		t.Fatalf("the child was not killed: %q, %v", url, err)
	}
	pgtest.Wait(t, "the private server to end with its process", func() bool {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			conn.Close(t.Context())
		}
		return err != nil
	})
}
