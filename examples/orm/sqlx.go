package orm

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/pawlhq/pawl"
)

// SignUpSqlx inserts an account, and the job that welcomes it.
func SignUpSqlx(ctx context.Context, client *pawl.Client, db *sqlx.DB, email string) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var account int64
	if err := tx.GetContext(ctx, &account, "insert into account (email) values ($1) returning id", email); err != nil {
		return err
	}
	if _, err := client.WithSQL(tx).Insert(ctx, Welcome{Account: account}); err != nil {
		return err
	}
	return tx.Commit()
}

// WelcomeSqlx marks the account as welcomed, and completes the job.
func WelcomeSqlx(ctx context.Context, client *pawl.Client, db *sqlx.DB, job *pawl.Job[Welcome]) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := client.WithSQL(tx).Complete(ctx, job); err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, "update account set welcomed = true where id = $1", job.Args.Account)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return ErrNoAccount
	}
	return tx.Commit()
}
