package demo

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// shop holds the handlers.
type shop struct {
	pool   *pgxpool.Pool
	client *pawl.Client
}

// work stands for the work of a real handler.
func work(ctx context.Context, d time.Duration) error {
	if !pause(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}

func (*shop) email(ctx context.Context, job *pawl.Job[emailJob]) error {
	if err := work(ctx, time.Duration(4+job.Args.User%7)*time.Millisecond); err != nil {
		return err
	}
	if job.Attempt <= job.Args.Refused {
		return errors.New("451 mail server is busy, try again later")
	}
	return nil
}

func (*shop) thumbnail(ctx context.Context, job *pawl.Job[thumbnailJob]) error {
	if err := work(ctx, time.Duration(15+job.Args.Image%30)*time.Millisecond); err != nil {
		return err
	}
	switch {
	case job.Args.Broken:
		return errors.New("unexpected end of image data")
	case job.Attempt <= job.Args.Refused:
		return errors.New("503 image store is being restarted")
	}
	return nil
}

// invoice writes its row and completes the job in one transaction, so that either both happen or neither.
func (s *shop) invoice(ctx context.Context, job *pawl.Job[invoiceJob]) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, "insert into pawl_demo_app.invoice (order_id, job_id, cents) values ($1, $2, $3)",
		job.Args.Order, int64(job.ID), job.Args.Cents); err != nil {
		return err
	}
	if err := work(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	if job.Args.Fails && job.Attempt == 1 {
		return errors.New("the printer is out of paper")
	}
	if err := s.client.With(tx).Complete(ctx, job); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func (*shop) reminder(ctx context.Context, job *pawl.Job[reminderJob]) error {
	if job.Args.Unknown {
		return pawl.Dead(errors.New("the order does not exist"))
	}
	return work(ctx, 5*time.Millisecond)
}

func (*shop) report(ctx context.Context, job *pawl.Job[reportJob]) error {
	if err := work(ctx, job.Args.Takes); err != nil {
		return err
	}
	if job.Args.Broken {
		return errors.New("the accounts of this month do not balance")
	}
	return nil
}
