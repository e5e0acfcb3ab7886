package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pawlhq/pawl"
)

func conceptInsert(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	if _, err := client.Insert(ctx, Email{To: "ann@example.com"}); err != nil {
		return err
	}
	result, err := client.Insert(ctx, pawl.JobSpec{
		Args: Email{To: "bob@example.com"}, Queue: "mail", Headers: map[string]string{"trace": "4bf92f35"},
	})
	if err != nil {
		return err
	}
	job, err := client.Get(ctx, result.ID)
	if err != nil {
		return err
	}
	fmt.Println(job.ID, job.Kind, job.Queue, job.State) // 2 email mail ready
	return nil
}

func conceptInsertMany(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	jobs := make([]pawl.JobSpec, 10_000)
	for i := range jobs {
		jobs[i].Args = Email{To: fmt.Sprintf("user%d@example.com", i)}
	}
	results, err := client.InsertMany(ctx, jobs) // results[i] is of jobs[i].
	if err != nil {
		return err
	}
	fmt.Println(len(results), "jobs")
	return nil
}

func conceptInsertInTx(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "insert into account (id, email) values (42, 'ann@example.com')"); err != nil {
			return err
		}
		_, err := client.With(tx).Insert(ctx, Email{To: "ann@example.com"})
		return err
	})
}

func conceptInsertInSQLTx(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	db := stdlib.OpenDBFromPool(pool) // Or sql.Open, with any driver for PostgreSQL.
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := client.WithSQL(tx).Insert(ctx, Email{To: "ann@example.com"}); err != nil {
		return err
	}
	return tx.Commit()
}

func conceptDelay(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	result, err := client.Insert(ctx, pawl.JobSpec{Args: Email{To: "ann@example.com"}, Delay: 24 * time.Hour})
	if err != nil {
		return err
	}
	_, err = client.Update(ctx, result.ID, pawl.JobUpdate{RunAt: time.Date(2050, 1, 1, 9, 0, 0, 0, time.UTC)})
	return err
}

func conceptPriority(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	_, err := client.InsertMany(ctx, []pawl.JobSpec{
		{Args: Email{To: "newsletter@example.com"}, Priority: 10},
		{Args: Email{To: "ann@example.com"}},
		{Args: Email{To: "password-reset@example.com"}, Priority: -10}, // Runs first.
	})
	return err
}

func conceptChannels(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	if err := client.PutQueue(ctx, pawl.Queue{Name: "mail", Weights: map[string]int{"gold": 3}}); err != nil {
		return err
	}
	jobs := make([]pawl.JobSpec, 0, 200)
	for range 100 {
		jobs = append(jobs,
			pawl.JobSpec{Args: Email{To: "ann@example.com"}, Queue: "mail", Channel: "gold"},
			pawl.JobSpec{Args: Email{To: "bob@example.com"}, Queue: "mail", Channel: "free"})
	}
	if _, err := client.InsertMany(ctx, jobs); err != nil {
		return err
	}
	claimed, err := client.Claim(ctx, "mail", 40, time.Minute) // 30 of gold, 10 of free.
	fmt.Println(len(claimed))
	return err
}

func conceptOrdered(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	for _, subject := range []string{"opened", "changed", "closed"} {
		spec := pawl.JobSpec{Args: Email{To: "ann@example.com", Subject: subject}, Channel: "account 42", Ordered: true}
		if _, err := client.Insert(ctx, spec); err != nil {
			return err
		}
	}
	head, err := client.Claim(ctx, "default", 10, time.Minute) // One job: "opened".
	if err != nil {
		return err
	}
	if err := client.Complete(ctx, head); err != nil {
		return err
	}
	next, err := client.Claim(ctx, "default", 10, time.Minute) // "changed".
	fmt.Println(len(head), len(next))
	return err
}

func conceptHalt(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	if err := client.PutQueue(ctx, pawl.Queue{Name: "default", HaltOnDead: true}); err != nil {
		return err
	}
	order := pawl.JobSpec{Args: Email{To: "ann@example.com"}, Channel: "account 42", Ordered: true}
	if _, err := client.InsertMany(ctx, []pawl.JobSpec{order, order}); err != nil {
		return err
	}
	head, err := client.Claim(ctx, "default", 1, time.Minute)
	if err != nil {
		return err
	}
	if err := client.Fail(ctx, head, pawl.Dead(errNoSuchUser)); err != nil {
		return err
	}
	// Nothing of the channel runs now. Go on without the dead one; client.Retry(ctx, head[0].ID) would go on with it.
	return client.ResumeChannel(ctx, "default", "account 42")
}

func conceptUnique(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	welcome := pawl.JobSpec{Args: Email{To: "ann@example.com"}, Unique: pawl.Unique{Key: "welcome ann"}}
	first, err := client.Insert(ctx, welcome)
	if err != nil {
		return err
	}
	second, err := client.Insert(ctx, welcome)
	if err != nil {
		return err
	}
	fmt.Println(second.Duplicate, second.ID == first.ID) // true true
	return nil
}

func conceptDebounce(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	for _, subject := range []string{"1 change", "2 changes", "3 changes"} {
		// One email, a minute after the last change, with what was said last.
		debounced := pawl.JobSpec{
			Args: Email{To: "ann@example.com", Subject: subject}, Delay: time.Minute,
			Unique: pawl.Unique{Key: "digest ann", Replace: true, Reschedule: true, UntilStart: true},
		}
		if _, err := client.Insert(ctx, debounced); err != nil {
			return err
		}
		// At most one an hour, however often it is asked for.
		throttled := pawl.JobSpec{Args: Email{To: "bob@example.com", Subject: subject},
			Unique: pawl.Unique{Key: "digest bob", Period: time.Hour}}
		if _, err := client.Insert(ctx, throttled); err != nil {
			return err
		}
	}
	return nil
}

func conceptTwoPhase(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	reserved, err := client.Insert(ctx, pawl.JobSpec{Args: Email{To: "ann@example.com"}, Reserve: time.Minute})
	if err != nil {
		return err
	}
	if err := send(ctx, Email{To: "elsewhere@example.com"}); err != nil { // What another system has to agree to.
		return client.AbortReserved(ctx, reserved.ID)
	}
	if err := client.ExtendReserved(ctx, 5*time.Minute, reserved.ID); err != nil {
		return err
	}
	return client.CommitReserved(ctx, reserved.ID) // Now it may run. ErrExpired: it is gone.
}

func conceptValidation(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	strict, err := pawl.New(pool, pawl.Config{
		MaxArgsBytes: 64 << 10, MaxStringBytes: 1000, MaxDepth: 5, ForbiddenKeys: []string{"__proto__"},
		RequiredKeys: []string{"to"},
	})
	if err != nil {
		return err
	}
	_, err = strict.Insert(ctx, Email{To: strings.Repeat("x", 2000)})
	if invalid, ok := errors.AsType[*pawl.InvalidError](err); ok {
		fmt.Println(invalid.Field, invalid.Reason)
		return nil
	}
	return err
}

func conceptInsertRate(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	polite, err := pawl.New(pool, pawl.Config{InsertRate: pawl.Rate{N: 100, Per: time.Second, Burst: 2}})
	if err != nil {
		return err
	}
	for range 5 {
		_, err := polite.Insert(ctx, Email{To: "ann@example.com"})
		if over, ok := errors.AsType[*pawl.RateError](err); ok {
			time.Sleep(over.RetryAfter)
			_, err = polite.Insert(ctx, Email{To: "ann@example.com"})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func conceptAfter(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		in := client.With(tx)
		parents, err := in.InsertMany(ctx, []pawl.JobSpec{{Args: Email{To: "ann@example.com"}},
			{Args: Email{To: "bob@example.com"}}})
		if err != nil {
			return err
		}
		both := []pawl.ID{parents[0].ID, parents[1].ID}
		_, err = in.InsertMany(ctx, []pawl.JobSpec{
			{Args: Email{To: "boss@example.com", Subject: "both sent"}, AfterOK: both},
			{Args: Email{To: "boss@example.com", Subject: "ann's was not"}, AfterNotOK: both[:1]},
			{Args: Email{To: "boss@example.com", Subject: "sent, perhaps"}, AfterAny: both},
		})
		return err
	})
}

func conceptBatch(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	id, err := client.InsertBatch(ctx, pawl.BatchSpec{
		Jobs: []pawl.JobSpec{
			{Args: Email{To: "ann@example.com"}},
			{Args: Email{To: "bob@example.com"}},
		},
		OnSuccess: &pawl.JobSpec{Args: Email{To: "boss@example.com", Subject: "all sent"}},
		OnDeath:   &pawl.JobSpec{Args: Email{To: "boss@example.com", Subject: "one has died"}},
	})
	if err != nil {
		return err
	}
	batch, err := client.GetBatch(ctx, id)
	if err != nil {
		return err
	}
	fmt.Println(batch.Completed, "of", batch.Total) // 0 of 2
	return nil
}

func conceptSaga(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	step := func(do, undo string) pawl.JobSpec {
		return pawl.JobSpec{
			Args: Email{To: "ann@example.com", Subject: do},
			Undo: &pawl.JobSpec{Args: Email{To: "ann@example.com", Subject: undo}},
		}
	}
	id, err := client.InsertSaga(ctx, step("flight booked", "flight given back"), step("hotel booked", "hotel given back"),
		pawl.JobSpec{Args: Email{To: "nobody@example.com", Subject: "have a good time"}})
	fmt.Println("saga", id)
	return err
}
