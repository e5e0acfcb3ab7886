package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// The examples of docs/concepts.md: the first is the declarations below, the others are the bodies of functions. concepts_test.go runs
// them, and holds the page to them.

// Email is the args of a kind of job; they are stored as JSON.
type Email struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
}

func (Email) Kind() string { return "email" }

// Defaults go with the kind wherever it is inserted.
func (Email) Defaults() pawl.JobSpec { return pawl.JobSpec{MaxAttempts: 5} }

var (
	errNoSuchUser = errors.New("no such user")
	errBusy       = errors.New("busy")
)

// send is what handlers of the examples call.
func send(_ context.Context, email Email) error {
	switch {
	case strings.HasPrefix(email.To, "nobody"):
		return errNoSuchUser
	case strings.HasPrefix(email.To, "busy"):
		return errBusy
	}
	return nil
}

type example func(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error

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

func conceptHandle(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error {
		if job.Args.Subject == "" {
			return pawl.Cancel(errors.New("nothing to say")) // Finished, cancelled.
		}
		err := send(ctx, job.Args)
		switch {
		case errors.Is(err, errNoSuchUser):
			return pawl.Dead(err) // Finished, dead: no attempt will help.
		case errors.Is(err, errBusy) && job.Attempt == 1:
			return pawl.RetryAfter(10*time.Millisecond, err) // A failed attempt, with its own wait.
		case errors.Is(err, errBusy):
			return pawl.ErrSkip // Finished, completed.
		}
		return err // nil completes; else a failed attempt.
	}, pawl.KindOptions{Timeout: 30 * time.Second})
	return nil
}

func conceptRun(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error { return send(ctx, job.Args) })
	ctx, stop := context.WithTimeout(ctx, 500*time.Millisecond) // Or signal.NotifyContext.
	defer stop()
	return client.Run(ctx, mux, pawl.RunnerConfig{
		Queues: map[string]pawl.RunnerQueue{
			"mail":    {Weight: 3},
			"reports": {Weight: 1, Max: 2},
		},
		Min: 8, Max: 16,
		DrainTimeout: time.Minute,
	})
}

func conceptRetries(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error {
		if job.Attempt < 3 {
			return fmt.Errorf("attempt %d failed", job.Attempt)
		}
		return nil
	}, pawl.KindOptions{Backoff: pawl.Backoff{Base: time.Minute}})
	_, err := client.Insert(ctx, pawl.JobSpec{
		Args:        Email{To: "ann@example.com"},
		MaxAttempts: 3,
		Backoff:     pawl.Backoff{Base: 10 * time.Millisecond, Growth: 3, Max: time.Minute, Jitter: 0.5},
	})
	return err
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
		throttled := pawl.JobSpec{Args: Email{To: "bob@example.com", Subject: subject}, Unique: pawl.Unique{Key: "digest bob", Period: time.Hour}}
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

func conceptLimits(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	err := client.PutQueue(ctx, pawl.Queue{
		Name:              "mail",
		MaxRunning:        50, // Over all processes.
		ChannelMaxRunning: 5,
		Rate:              pawl.Rate{N: 1000, Per: time.Minute, Burst: 100},
		ChannelRate:       pawl.Rate{N: 10},
	})
	if err != nil {
		return err
	}
	jobs := make([]pawl.JobSpec, 20)
	for i := range jobs {
		jobs[i] = pawl.JobSpec{Args: Email{To: "ann@example.com"}, Queue: "mail", Channel: "acme"}
	}
	if _, err := client.InsertMany(ctx, jobs); err != nil {
		return err
	}
	claimed, err := client.Claim(ctx, "mail", 20, time.Minute)
	fmt.Println(len(claimed)) // 5
	return err
}

func conceptSemaphore(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	perDomain := client.Semaphore(2, func(job *pawl.JobInfo) []string {
		var email Email
		json.Unmarshal(job.Args, &email)
		_, domain, _ := strings.Cut(email.To, "@")
		return []string{"smtp " + domain}
	})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error {
		return send(ctx, job.Args)
	}, pawl.KindOptions{Max: 4, Permit: perDomain}) // 4 in this process, 2 a domain over all of them.
	return nil
}

func conceptCancel(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	result, err := client.Insert(ctx, pawl.JobSpec{Args: Email{To: "ann@example.com"}, Fingerprint: "campaign 7"})
	if err != nil {
		return err
	}
	if _, err := client.Cancel(ctx, result.ID); err != nil { // ErrNotFound: there is no such job.
		return err
	}
	n, err := client.Cancel(ctx, pawl.Filter{Fingerprint: "campaign 7", Kind: "email"})
	fmt.Println(n) // 0: it is cancelled already.
	return err
}

func conceptCheckpoint(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	users := []string{"ann@example.com", "bob@example.com", "cleo@example.com"}
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error {
		next := 0
		if job.Checkpoint != nil { // An attempt before this one got that far.
			if err := json.Unmarshal(job.Checkpoint, &next); err != nil {
				return err
			}
		}
		for ; next < len(users); next++ {
			if err := send(ctx, Email{To: users[next], Subject: job.Args.Subject}); err != nil {
				return err
			}
			if err := client.Checkpoint(ctx, job, pawl.Checkpoint{Value: next + 1}); err != nil {
				return err // ErrLeaseLost: somebody else has it.
			}
		}
		return nil
	})
	return nil
}

func conceptStep(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error {
		text, err := pawl.Step(ctx, "render", func(context.Context) (string, error) {
			return "Dear " + job.Args.To, nil // Once; later attempts get what is stored.
		})
		if err != nil {
			return err
		}
		if err := job.Progress(ctx, 50, "rendered"); err != nil {
			return err
		}
		if job.Attempt == 1 {
			return pawl.RetryAfter(0, errBusy)
		}
		return send(ctx, Email{To: job.Args.To, Subject: text})
	})
	return nil
}

func conceptResult(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.HandleResult(mux, func(ctx context.Context, job *pawl.Job[Email]) (map[string]int, error) {
		return map[string]int{"length": len(job.Args.Subject)}, nil
	})
	return nil
}

func conceptAwait(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	result, err := client.Insert(ctx, Email{To: "ann@example.com", Subject: "hello"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	job, err := client.Await(ctx, result.ID)
	if err != nil {
		return err
	}
	fmt.Println(job.State, string(job.Result)) // completed {"length": 5}
	return nil
}

func conceptChunk(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.HandleChunk(mux, func(ctx context.Context, jobs []*pawl.Job[Email]) error {
		failed := pawl.JobErrors{}
		for _, job := range jobs { // Rather one call for all of them.
			if err := send(ctx, job.Args); err != nil {
				failed[job.ID] = pawl.Dead(err)
			}
		}
		if len(failed) > 0 {
			return failed // The others complete.
		}
		return nil
	}, pawl.KindOptions{Chunk: 20})
	return nil
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

func conceptAfter(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		in := client.With(tx)
		parents, err := in.InsertMany(ctx, []pawl.JobSpec{{Args: Email{To: "ann@example.com"}}, {Args: Email{To: "bob@example.com"}}})
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

func conceptExactlyOnce(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into account (id, email) values ($1, $2)", job.ID, job.Args.To); err != nil {
				return err
			}
			return client.With(tx).Complete(ctx, job) // ErrLeaseLost rolls back.
		})
	})
	return nil
}

func conceptDead(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	dead, err := client.List(ctx, pawl.Filter{Kind: "email", States: []pawlstate.State{pawlstate.Dead}})
	if err != nil {
		return err
	}
	for _, job := range dead {
		fmt.Println(job.ID, job.Reason, job.Attempt, job.Errors[len(job.Errors)-1].Error)
		if _, err := client.Retry(ctx, job.ID); err != nil {
			return err
		}
	}
	return nil
}

func conceptValidation(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	strict, err := pawl.New(pool, pawl.Config{
		MaxArgsBytes: 64 << 10, MaxStringBytes: 1000, MaxDepth: 5, ForbiddenKeys: []string{"__proto__"}, RequiredKeys: []string{"to"},
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

func conceptCodec(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	ring, err := NewKeyring("spring", map[string][]byte{"spring": []byte("0123456789abcdef")})
	if err != nil {
		return err
	}
	secret, err := pawl.New(pool, pawl.Config{Codec: ring})
	if err != nil {
		return err
	}
	result, err := secret.Insert(ctx, Email{To: "ann@example.com"})
	if err != nil {
		return err
	}
	job, err := client.Get(ctx, result.ID) // This client has no key.
	if err != nil {
		return err
	}
	fmt.Println(string(job.Args)) // "pawl:codec:…"
	return nil
}

func conceptMiddleware(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		began := time.Now()
		err := next(ctx) // A panic is a *pawl.PanicError here.
		log.Println(job.Kind, job.Headers["trace"], time.Since(began), err)
		return err
	})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error { return send(ctx, job.Args) })
	traced, err := pawl.New(pool, pawl.Config{InsertMiddleware: []func(context.Context, []pawl.JobSpec, func(context.Context) error) error{
		func(ctx context.Context, jobs []pawl.JobSpec, next func(context.Context) error) error {
			for i := range jobs {
				jobs[i].Headers["trace"] = "4bf92f35"
			}
			return next(ctx)
		},
	}})
	if err != nil {
		return err
	}
	_, err = traced.Insert(ctx, Email{To: "ann@example.com"})
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

func conceptTend(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	ctx, stop := context.WithTimeout(ctx, 100*time.Millisecond) // Or signal.NotifyContext.
	defer stop()
	return client.Maintain(ctx) // Beside runners with NoChores, or where consumers alone work.
}
