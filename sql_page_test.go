package pawl_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// TestSQLPage runs the SQL of docs/sql.md, in order, in one session. After a statement, comments that begin with "-- →"
// are the rows it returns, columns separated by " | "; "-- ! 22023" is the SQLSTATE it fails with.
func TestSQLPage(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	page, err := os.ReadFile("docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	statements := 0
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1) {
		for _, s := range statementsOf(string(block[1])) {
			statements++
			got, err := runText(t, conn.Conn(), s.text)
			switch refused, _ := errors.AsType[*pgconn.PgError](err); {
			case s.fails != "" && (refused == nil || refused.Code != s.fails):
				t.Errorf("%s\nwant SQLSTATE %s, got %v", s.text, s.fails, err)
			case s.fails == "" && err != nil:
				t.Fatalf("%s\n%v", s.text, err)
			case s.rows != nil && strings.Join(got, "\n") != strings.Join(s.rows, "\n"):
				t.Errorf("%s\nreturned\n%s\nwant\n%s", s.text, strings.Join(got, "\n"), strings.Join(s.rows, "\n"))
			}
		}
	}
	if statements < 20 {
		t.Errorf("only %d statements were found", statements)
	}
}

// TestSQLPageWakes runs what docs/sql.md tells a worker to send before it sleeps: inserts of SQL and of Go wake it.
func TestSQLPageWakes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	page, err := os.ReadFile("docs/sql.md")
	must(t, err)
	blocks := regexp.MustCompile("(?s)```sql\n(listen .*?)```.*?```sql\n(select pg_advisory_unlock.*?)```").
		FindSubmatch(page)
	if blocks == nil {
		t.Fatal("the page does not say how to sleep")
	}
	worker := connectTo(t, pgtest.Direct(t, pool.Config().ConnString()))
	heard := func(payload string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		n, err := worker.WaitForNotification(ctx)
		must(t, err)
		if n.Channel != "pawl.wake" || n.Payload != payload {
			t.Errorf("heard %q on %q, want %q", n.Payload, n.Channel, payload)
		}
	}
	exec(t, worker, string(blocks[1]))
	exec(t, pool, `select pawl.insert('welcome', null, '{"queue": "mail"}')`)
	heard("mail")
	_, err = client.Insert(t.Context(), pawl.JobSpec{Args: Note{1}, Queue: "mail"})
	must(t, err)
	heard("mail")
	exec(t, worker, string(blocks[2]))
	exec(t, pool, `select pawl.insert('welcome', null, '{"queue": "mail"}')`)
	exec(t, pool, "select pg_notify('pawl.wake', 'the end')")
	heard("the end")
}

// runText runs a statement as psql would: its text alone. It returns the rows as text.
func runText(t *testing.T, conn *pgx.Conn, text string) (list []string, err error) {
	t.Helper()
	result := conn.PgConn().Exec(t.Context(), text)
	defer result.Close()
	for result.NextResult() {
		rows := result.ResultReader()
		for rows.NextRow() {
			var columns []string
			for _, value := range rows.Values() {
				if value == nil {
					columns = append(columns, "null")
					continue
				}
				columns = append(columns, string(value))
			}
			list = append(list, strings.Join(columns, " | "))
		}
		if _, err := rows.Close(); err != nil {
			return list, err
		}
	}
	return list, result.Close()
}
