package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

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

func conceptMiddleware(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error {
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		began := time.Now()
		err := next(ctx) // A panic is a *pawl.PanicError here.
		log.Println(job.Kind, job.Headers["trace"], time.Since(began), err)
		return err
	})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error { return send(ctx, job.Args) })
	traced, err := pawl.New(pool, pawl.Config{InsertMiddleware: []func(context.Context, []pawl.JobSpec,
		func(context.Context) error) error{
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
