package orm

import (
	"context"

	"gorm.io/gorm"

	"github.com/pawlhq/pawl"
)

type gormAccount struct {
	ID       int64
	Email    string
	Welcomed bool
}

// TableName implements gorm's schema.Tabler.
func (gormAccount) TableName() string { return "account" }

// SignUpGorm inserts an account, and the job that welcomes it.
func SignUpGorm(ctx context.Context, client *pawl.Client, db *gorm.DB, email string) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		account := &gormAccount{Email: email}
		if err := tx.Create(account).Error; err != nil {
			return err
		}
		_, err := client.WithSQL(tx.Statement.ConnPool).Insert(ctx, Welcome{Account: account.ID})
		return err
	})
}

// WelcomeGorm marks the account as welcomed, and completes the job.
func WelcomeGorm(ctx context.Context, client *pawl.Client, db *gorm.DB, job *pawl.Job[Welcome]) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := client.WithSQL(tx.Statement.ConnPool).Complete(ctx, job); err != nil {
			return err
		}
		update := tx.Model(&gormAccount{ID: job.Args.Account}).Update("welcomed", true)
		if update.Error == nil && update.RowsAffected == 0 {
			return ErrNoAccount
		}
		return update.Error
	})
}
