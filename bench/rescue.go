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

// rescue measures the time from kill -9 of a worker to the restart of the last job that it had claimed. The worker is a
// child process that has claimed Config.Claimed jobs. Another worker runs beside it, with a backlog of 100,000 jobs.
func (b *bench) rescue(ctx context.Context) (*Result, error) {
	if err := b.insertClaimed(ctx); err != nil {
		return nil, err
	}
	child, err := b.startClaimer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()

	restarted := make(chan struct{})
	mux := b.restartMux(restarted)
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
	case <-restarted:
	case <-limit.C:
		return nil, fmt.Errorf("not all %d jobs of the killed worker have started again after two minutes", b.Claimed)
	case err := <-ended:
		return nil, errors.Join(errors.New("the runners ended early"), err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	took := time.Since(killed)
	r := b.result(config)
	if err := b.spent(ctx, r, int64(b.Claimed), took, before); err != nil {
		return nil, err
	}
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	r.SecondsToRerun = new(took.Seconds())
	return r, nil
}

// insertClaimed inserts the jobs of the worker that rescue kills, and the backlog. The worker's jobs have the higher
// priority.
func (b *bench) insertClaimed(ctx context.Context) error {
	jobs := make([]pawl.JobSpec, b.Claimed)
	for i := range jobs {
		t := b.task(int64(i))
		t.Claimed = true
		jobs[i] = pawl.JobSpec{Args: t, Priority: -1}
	}
	if _, err := b.client.InsertMany(ctx, jobs); err != nil {
		return err
	}
	const backlog = 100_000
	return b.fill(ctx, backlog)
}

// startClaimer starts the worker that rescue kills and waits until it has claimed its jobs.
func (b *bench) startClaimer(ctx context.Context) (*exec.Cmd, error) {
	command := b.Rescue()
	child := exec.CommandContext(ctx, command[0], command[1:]...)
	// The URL is not an argument, because it may have a password and every user can see arguments.
	child.Env = append(os.Environ(), fmt.Sprintf("PAWL_BENCH_CLAIMED=%d", b.Claimed), "PAWL_BENCH_URL="+b.DatabaseURL)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		_ = child.Process.Kill()
		_ = child.Wait()
		return nil, fmt.Errorf("the worker to be killed wrote %q: %w", line, err)
	}
	return child, nil
}

// restartMux returns handlers that close restarted when each job of the killed worker has started again. Jobs take 10
// ms, so that the backlog lasts while the rescue goes on.
func (b *bench) restartMux(restarted chan struct{}) *pawl.Mux {
	var mu sync.Mutex
	seen := map[int64]bool{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[task]) error {
		if job.Args.Claimed {
			mu.Lock()
			if !seen[job.Args.N] {
				seen[job.Args.N] = true
				if len(seen) == b.Claimed {
					close(restarted)
				}
			}
			mu.Unlock()
		}
		timer := time.NewTimer(10 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return nil
	})
	return mux
}

// ClaimJobs runs the worker that the scenario rescue kills. It writes a line to standard output once it has
// claimed the given number of jobs. It then runs until ctx ends or the process is killed.
func ClaimJobs(ctx context.Context, url string, jobs int) error {
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
		if count++; count == jobs {
			fmt.Println("claimed")
		}
		mu.Unlock()
		<-ctx.Done()
		return ctx.Err()
	})
	return client.Run(ctx, mux, pawl.RunnerConfig{Min: jobs, Max: jobs})
}
