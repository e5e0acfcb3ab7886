package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
)

// rescue measures from kill -9 of a worker to the restart of the last job it held. The worker is a child process that holds Held
// jobs; a backlog of 100,000 waits, and another worker, on defaults but for its width, runs beside it.
func (b *bench) rescue(ctx context.Context) (*Result, error) {
	held := make([]pawl.JobSpec, b.Held)
	for i := range held {
		t := b.task(int64(i))
		t.Held = true
		held[i].Args = t
		held[i].Priority = -1
	}
	if _, err := b.client.InsertMany(ctx, held); err != nil {
		return nil, err
	}
	const waiting = 100_000
	if err := b.fill(ctx, waiting); err != nil {
		return nil, err
	}
	command := b.Rescue()
	child := exec.CommandContext(ctx, command[0], command[1:]...)
	// Not as an argument: a URL may have a password, and arguments are for everybody to see.
	child.Env = append(os.Environ(), fmt.Sprintf("PAWL_BENCH_HELD=%d", b.Held), "PAWL_BENCH_URL="+b.DatabaseURL)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	defer func() { child.Process.Kill(); child.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the worker to be killed said %q: %w", line, err)
	}

	var mu sync.Mutex
	again := map[int64]time.Time{}
	done := make(chan struct{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[task]) error {
		if job.Args.Held {
			mu.Lock()
			if _, seen := again[job.Args.N]; !seen {
				again[job.Args.N] = time.Now()
				if len(again) == b.Held {
					close(done)
				}
			}
			mu.Unlock()
		}
		// A backlog of work that takes its time, so that it lasts while the rescue goes on.
		timer := time.NewTimer(10 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return nil
	})
	config := pawl.RunnerConfig{Min: 16, Max: 32}
	running, stop := context.WithCancel(ctx)
	defer stop()
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	ended := b.runners(running, mux, config)
	killed := time.Now()
	if err := child.Process.Kill(); err != nil {
		return nil, err
	}
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		return nil, fmt.Errorf("only %d of %d held jobs have started again after two minutes", len(again), b.Held)
	case err := <-ended:
		return nil, errors.Join(errors.New("the runners ended early"), err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	took := time.Since(killed)
	r := b.result(config)
	if err := b.spent(ctx, r, int64(b.Held), took, before); err != nil {
		return nil, err
	}
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	seconds := took.Seconds()
	r.SecondsToRerun = &seconds
	return r, nil
}

// Hold is the worker that rescue kills: it says so when it holds as many jobs as it should, and then waits for its end.
func Hold(ctx context.Context, url string, held int) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return err
	}
	config.ConnConfig.Database = database
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	client, err := pawl.New(pool, pawl.Config{Logger: quiet})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	count := 0
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[task]) error {
		mu.Lock()
		if count++; count == held {
			fmt.Println("holding")
		}
		mu.Unlock()
		<-ctx.Done()
		return ctx.Err()
	})
	return client.Run(ctx, mux, pawl.RunnerConfig{Min: held, Max: held})
}
