package orm

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/pawlhq/pawl"
)

type bunAccount struct {
	bun.BaseModel `bun:"table:account"`

	ID       int64 `bun:",pk,autoincrement"`
	Email    string
	Welcomed bool
}

// SignUpBun inserts an account, and the job that welcomes it.
func SignUpBun(ctx context.Context, client *pawl.Client, db *bun.DB, email string) error {
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		account := &bunAccount{Email: email}
		if _, err := tx.NewInsert().Model(account).Column("email").Returning("id").Exec(ctx); err != nil {
			return err
		}
		_, err := client.WithSQL(tx).Insert(ctx, Welcome{Account: account.ID})
		return err
	})
}

// WelcomeBun marks the account as welcomed, and completes the job.
func WelcomeBun(ctx context.Context, client *pawl.Client, db *bun.DB, job *pawl.Job[Welcome]) error {
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := client.WithSQL(tx).Complete(ctx, job); err != nil {
			return err
		}
		update := tx.NewUpdate().Model((*bunAccount)(nil)).Set("welcomed = true").Where("id = ?", job.Args.Account)
		result, err := update.Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return ErrNoAccount
		}
		return nil
	})
}
