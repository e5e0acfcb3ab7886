package pawl_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A process is killed while it holds jobs.
func TestAKilledProcess(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const n = 8
	results, err := client.InsertMany(t.Context(), notes(n))
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := childProcess(t, pool)
	pgtest.Wait(t, "the child to hold the jobs", func() bool {
		return value[int](t, pool, "select coalesce(max(running), 0) from pawl.worker where gone_at is null") == n
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 500 * time.Millisecond})
	for _, r := range results {
		if job := await(t, client, r.ID, pawlstate.Completed); job.Attempt != 1 {
			t.Errorf("attempt %d, want 1: a rescue uses none", job.Attempt)
		}
	}
}

// A process is frozen while it holds two jobs and thaws when they run elsewhere. One handler's context ends; the other had returned
// before it could know, and what it answered does not count.
func TestAFrozenProcess(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	waits, returns := insert(t, client, Note{1}), insert(t, client, Note{returnsSoon})
	cmd, lines := childProcess(t, pool)
	pgtest.Wait(t, "the child to hold the jobs", func() bool {
		return value[int](t, pool, "select coalesce(max(running), 0) from pawl.worker where gone_at is null") == 2
	})
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g, mux := newGate(), new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 500 * time.Millisecond, Name: "other"})
	within(t, "the jobs to run elsewhere", g.running)
	within(t, "both", g.running)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for !told["cause"] || !told["refused"] {
		line := within(t, fmt.Sprintf("the child to say what it lost; it said %v", told), lines)
		told["cause"] = told["cause"] || strings.Contains(line, "handler ended: "+pawl.ErrLeaseLost.Error())
		told["refused"] = told["refused"] || strings.Contains(line, "result not delivered") && strings.Contains(line, pawl.ErrLeaseLost.Error())
	}
	for _, id := range []pawl.ID{waits, returns} {
		if job := await(t, client, id, pawlstate.Running); job.Attempt != 1 {
			t.Errorf("attempt %d, want 1", job.Attempt)
		}
	}
	cmd.Process.Kill()
	close(g.leave)
	for _, id := range []pawl.ID{waits, returns} {
		if job := await(t, client, id, pawlstate.Completed); job.Worker != "other" {
			t.Errorf("job %d was completed by %s", id, job.Worker)
		}
	}
	if n := value[int](t, pool, "select count(*) from pawl.archive"); n != 2 {
		t.Errorf("%d archived, want 2", n)
	}
}

// A job that kills its process is found and put away, and its neighbours, rescued with it, all complete.
func TestAPoisonousJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobs := make([]pawl.JobSpec, 100)
	for i := range jobs {
		jobs[i].Args = Note{1000 + i}
	}
	jobs[50].Args = Note{kills}
	results, err := client.InsertMany(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	const most = 3
	killed := 0
	for live(t, pool) > 0 {
		cmd, lines := childProcess(t, pool)
		ended := make(chan struct{})
		go func() {
			for range lines {
			}
			close(ended)
		}()
		pgtest.Wait(t, "the process to end, or to have done all there is", func() bool {
			select {
			case <-ended:
				return true
			default:
				return live(t, pool) == 0
			}
		})
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
		if live(t, pool) > 0 {
			if killed++; killed > most {
				t.Fatalf("%d processes were killed, want at most %d; %d jobs are live", killed, most, live(t, pool))
			}
		}
	}
	for i, r := range results {
		if i == 50 {
			await(t, client, r.ID, pawlstate.Dead)
			if reason := value[string](t, pool, "select reason from pawl.dead"); reason != "poison" {
				t.Errorf("it is dead of %s, want poison", reason)
			}
		} else if job := await(t, client, r.ID, pawlstate.Completed); job.Attempt != 1 {
			t.Errorf("job %d: attempt %d, want 1", r.ID, job.Attempt)
		}
	}
}

// childProcess starts the test binary as a worker. lines is what it says, closed at its end.
func childProcess(t *testing.T, pool *pgxpool.Pool) (*osexec.Cmd, <-chan string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+pool.Config().ConnString())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := make(chan string, 10_000)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	return cmd, lines
}

// childEnv makes the test binary a worker on the database it names.
const childEnv = "PAWL_TEST_CHILD_URL"

const (
	returnsSoon = 500  // A handler that does not look at its context.
	kills       = 666  // Kills its process.
	obeys       = 1000 // From here on the handler just returns.
)

func child(url string) int {
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		return 1
	}
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		return 1
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		switch n := job.Args.N; {
		case n >= obeys:
			<-time.After(20 * time.Millisecond)
			fmt.Println("done", n)
		case n == kills:
			<-time.After(10 * time.Millisecond)
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case n == returnsSoon:
			<-time.After(3 * time.Second) // Passes while the process is frozen.
		default:
			<-ctx.Done()
			fmt.Println("handler ended:", context.Cause(ctx))
			select {}
		}
		return nil
	})
	client.Run(context.Background(), mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond})
	return 1
}
