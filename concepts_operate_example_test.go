package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

func conceptCron(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	return client.PutCron(ctx, pawl.Cron{
		Name: "digest", Spec: "30 8 * * mon-fri", Zone: "Europe/Berlin", CatchUp: 1,
		Job: pawl.JobSpec{Args: Email{To: "all@example.com"}, Queue: "mail", Unique: pawl.Unique{Key: "digest"}},
	})
}

func conceptConsumer(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	if err := client.Wait(ctx, "mail"); err != nil { // Until there may be something.
		return err
	}
	jobs, err := client.Claim(ctx, "mail", 10, 30*time.Second) // At once: perhaps none.
	if err != nil || len(jobs) < 3 {
		return err
	}
	if err := client.Release(ctx, jobs[:1], time.Minute); err != nil { // Somebody else, in a minute.
		return err
	}
	if err := client.Fail(ctx, jobs[1], errBusy); err != nil { // Or an outcome, as from a handler.
		return err
	}
	if err := client.Extend(ctx, jobs[2:], 5*time.Minute); err != nil { // It takes longer.
		return err
	}
	err = client.Complete(ctx, jobs[2:])
	if errors.Is(err, pawl.ErrLeaseLost) {
		log.Println("too slow, somebody else has some of them:", err)
	}
	return err
}

func conceptQueues(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	err := client.PutQueue(ctx, pawl.Queue{
		Name:            "mail",
		MaxAttempts:     10,
		Backoff:         pawl.Backoff{Base: 5 * time.Second},
		Lease:           time.Minute,
		RetainCompleted: time.Hour,
		RetainDead:      90 * 24 * time.Hour,
	})
	if err != nil {
		return err
	}
	if err := client.PauseQueue(ctx, "mail"); err != nil {
		return err
	}
	queues, err := client.Queues(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(queues, func(queue pawl.Queue) bool { return queue.Name == "mail" })
	fmt.Println(queues[i].Paused, queues[i].MaxAttempts) // true 10
	return client.ResumeQueue(ctx, "mail")
}

func conceptSQL(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error { return send(ctx, job.Args) })
	_, err := pool.Exec(ctx, `select pawl.insert('email', '{"to": "ann@example.com"}', '{"queue": "mail", "delay": 0.1}')`)
	return err
}

func conceptMaintain(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	ctx, stop := context.WithTimeout(ctx, 100*time.Millisecond) // Or signal.NotifyContext.
	defer stop()
	return client.Maintain(ctx) // Beside runners with NoMaintenance, or where consumers alone work.
}
