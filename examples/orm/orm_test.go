package orm

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, func(ctx context.Context, url string) error {
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return err
		}
		defer pool.Close()
		client, err := pawl.New(pool, pawl.Config{})
		if err != nil {
			return err
		}
		if err := client.Migrate(ctx); err != nil {
			return err
		}
		_, err = pool.Exec(ctx, Schema)
		return err
	})
}

// library is the two functions of a file, on a database.
type library struct {
	signUp  func(ctx context.Context, client *pawl.Client, email string) error
	welcome func(ctx context.Context, client *pawl.Client, job *pawl.Job[Welcome]) error
}

func libraries(t *testing.T, driver string, db *sql.DB) map[string]library {
	t.Helper()
	bunDB := bun.NewDB(db, pgdialect.New())
	sqlxDB := sqlx.NewDb(db, driver)
	list := map[string]library{
		"bun": {
			func(ctx context.Context, c *pawl.Client, email string) error { return SignUpBun(ctx, c, bunDB, email) },
			func(ctx context.Context, c *pawl.Client, job *pawl.Job[Welcome]) error {
				return WelcomeBun(ctx, c, bunDB, job)
			},
		},
		"sqlx": {
			func(ctx context.Context, c *pawl.Client, email string) error {
				return SignUpSqlx(ctx, c, sqlxDB, email)
			},
			func(ctx context.Context, c *pawl.Client, job *pawl.Job[Welcome]) error {
				return WelcomeSqlx(ctx, c, sqlxDB, job)
			},
		},
		"sqlc": {
			func(ctx context.Context, c *pawl.Client, email string) error { return SignUpSqlc(ctx, c, db, email) },
			func(ctx context.Context, c *pawl.Client, job *pawl.Job[Welcome]) error {
				return WelcomeSqlc(ctx, c, db, job)
			},
		},
	}
	for name, prepare := range map[string]bool{"gorm": false, "gorm with PrepareStmt": true} {
		gormDB := openGorm(t, db, prepare)
		list[name] = library{
			func(ctx context.Context, c *pawl.Client, email string) error {
				return SignUpGorm(ctx, c, gormDB, email)
			},
			func(ctx context.Context, c *pawl.Client, job *pawl.Job[Welcome]) error {
				return WelcomeGorm(ctx, c, gormDB, job)
			},
		}
	}
	return list
}

func openGorm(t *testing.T, db *sql.DB, prepare bool) *gorm.DB {
	t.Helper()
	config := &gorm.Config{PrepareStmt: prepare, Logger: logger.Discard}
	gormDB, err := gorm.Open(postgres.New(postgres.Config{Conn: db}), config)
	must(t, err)
	return gormDB
}

func open(t *testing.T, driver, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, url)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// With each library and driver, a job is inserted and completed if the transaction commits, and not if it rolls back.
func TestLibraries(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"pgx", "postgres"} {
		url := pgtest.Direct(t, pgtest.Database(t))
		for name, library := range libraries(t, driver, open(t, driver, url)) {
			t.Run(name+" "+driver, func(t *testing.T) {
				pool := pgtest.Pool(t, url)
				client, err := pawl.New(pool, pawl.Config{})
				must(t, err)
				_, err = pool.Exec(t.Context(), "truncate account")
				must(t, err)
				tryLibrary(t, client, pool, library)
			})
		}
	}
}

func tryLibrary(t *testing.T, client *pawl.Client, pool *pgxpool.Pool, library library) {
	t.Helper()
	ctx := t.Context()
	count := func(state pawlstate.State) int64 {
		t.Helper()
		n, err := client.Count(ctx, pawl.Filter{Kind: Welcome{}.Kind(), States: []pawlstate.State{state}})
		must(t, err)
		return n
	}
	before := count(pawlstate.Completed)

	must(t, library.signUp(ctx, client, "ann@example.com"))
	if n := count(pawlstate.Ready); n != 1 {
		t.Fatalf("%d jobs after the commit of a sign-up, want 1", n)
	}
	if err := library.signUp(ctx, client, "ann@example.com"); err == nil {
		t.Fatal("an email was taken twice")
	}
	if n := count(pawlstate.Ready); n != 1 {
		t.Fatalf("%d jobs after the rollback of a sign-up, want 1", n)
	}

	jobs, err := client.Claim(ctx, "default", 10, 0)
	must(t, err)
	if len(jobs) != 1 {
		t.Fatalf("claimed %d jobs", len(jobs))
	}
	var account int64
	must(t, pool.QueryRow(ctx, "select id from account").Scan(&account))
	job := &pawl.Job[Welcome]{JobInfo: jobs[0], Args: Welcome{Account: account + 1000}}
	if err := library.welcome(ctx, client, job); !errors.Is(err, ErrNoAccount) {
		t.Fatalf("a welcome for no account: got %v, want ErrNoAccount", err)
	}
	if n := count(pawlstate.Running); n != 1 {
		t.Fatalf("%d jobs are running after the rollback of a completion, want 1", n)
	}
	job.Args.Account = account
	must(t, library.welcome(ctx, client, job))
	if n := count(pawlstate.Completed); n != before+1 {
		t.Errorf("%d jobs were completed by a commit, want 1", n-before)
	}
	var welcomed bool
	must(t, pool.QueryRow(ctx, "select welcomed from account").Scan(&welcomed))
	if !welcomed {
		t.Error("the account was not welcomed")
	}
}

// Pawl's statements also work behind a transaction pooler, with pgx's defaults, where a statement prepared by name
// would be lost.
func TestThroughAPooler(t *testing.T) {
	t.Parallel()
	direct := pgtest.Direct(t, pgtest.Database(t))
	pooler := pgtest.Pooler(t, nil, map[string]string{"default_pool_size": "3"})
	db := open(t, "pgx", pooler.URL(pgtest.Name(t, direct)))
	client, err := pawl.New(pgtest.Pool(t, direct), pawl.Config{})
	must(t, err)
	bunDB := bun.NewDB(db, pgdialect.New())
	gormDB := openGorm(t, db, true)
	inserts := map[string]func(ctx context.Context) error{
		"bun": func(ctx context.Context) error {
			return bunDB.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
				_, err := client.WithSQL(tx).Insert(ctx, Welcome{Account: 1})
				return err
			})
		},
		"gorm with PrepareStmt": func(ctx context.Context) error {
			return gormDB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				_, err := client.WithSQL(tx.Statement.ConnPool).Insert(ctx, Welcome{Account: 1})
				return err
			})
		},
	}
	const each = 20
	var all sync.WaitGroup
	for name, insert := range inserts {
		for range each {
			all.Go(func() {
				if err := insert(t.Context()); err != nil {
					t.Error(fmt.Errorf("%s: %w", name, err))
				}
			})
		}
	}
	all.Wait()
	if n, err := client.Count(t.Context(), pawl.Filter{}); err != nil || n != int64(each*len(inserts)) {
		t.Errorf("%d jobs, want %d: %v", n, each*len(inserts), err)
	}
}
