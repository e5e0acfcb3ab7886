package orm

import (
	"context"
	"database/sql"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/examples/orm/store"
)

// SignUpSqlc inserts an account, and the job that welcomes it.
func SignUpSqlc(ctx context.Context, client *pawl.Client, db *sql.DB, email string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	account, err := store.New(db).WithTx(tx).CreateAccount(ctx, email)
	if err != nil {
		return err
	}
	if _, err := client.WithSQL(tx).Insert(ctx, Welcome{Account: account}); err != nil {
		return err
	}
	return tx.Commit()
}

// WelcomeSqlc marks the account as welcomed, and completes the job.
func WelcomeSqlc(ctx context.Context, client *pawl.Client, db *sql.DB, job *pawl.Job[Welcome]) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := client.WithSQL(tx).Complete(ctx, job); err != nil {
		return err
	}
	n, err := store.New(db).WithTx(tx).SetWelcomed(ctx, job.Args.Account)
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrNoAccount
	}
	return tx.Commit()
}
