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

func TestTheJobsOfAKilledProcessRunElsewhere(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const n = 8
	results, err := client.InsertMany(t.Context(), notes(n))
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := childProcess(t, pool)
	pgtest.Wait(t, "the child to claim the jobs", func() bool {
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

// A process is frozen while it runs two jobs, and thaws when they run elsewhere. The context of one handler ends. The
// other handler returns before the process knows what it has lost, and its result is discarded.
func TestAFrozenProcessLosesItsJobs(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	waits, returns := insert(t, client, Note{1}), insert(t, client, Note{returnsSoon})
	cmd, lines := childProcess(t, pool)
	pgtest.Wait(t, "the child to claim the jobs", func() bool {
		return value[int](t, pool, "select coalesce(max(running), 0) from pawl.worker where gone_at is null") == 2
	})
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g, mux := newGate(), new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 500 * time.Millisecond, Name: "other"})
	receive(t, "the jobs to run elsewhere", g.running)
	receive(t, "both jobs to run elsewhere", g.running)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for !told["cause"] || !told["refused"] {
		line := receive(t, fmt.Sprintf("the child to log what it has lost; so far %v", told), lines)
		told["cause"] = told["cause"] || strings.Contains(line, "handler ended: "+pawl.ErrLeaseLost.Error())
		told["refused"] = told["refused"] ||
			strings.Contains(line, "result not delivered") && strings.Contains(line, pawl.ErrLeaseLost.Error())
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
		t.Errorf("%d jobs are archived, want 2", n)
	}
}

// A job kills its process each time. It is dead after its third crash, and the jobs that were rescued with it
// complete.
func TestAJobThatKillsItsProcessIsFound(t *testing.T) {
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
	for liveRows(t, pool) > 0 {
		cmd, lines := childProcess(t, pool)
		ended := make(chan struct{})
		go func() {
			for range lines {
			}
			close(ended)
		}()
		pgtest.Wait(t, "the process to end, or all jobs to be done", func() bool {
			select {
			case <-ended:
				return true
			default:
				return liveRows(t, pool) == 0
			}
		})
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
		if liveRows(t, pool) > 0 {
			if killed++; killed > most {
				t.Fatalf("%d processes were killed, want at most %d; %d jobs are live", killed, most, liveRows(t, pool))
			}
		}
	}
	for i, r := range results {
		if i == 50 {
			await(t, client, r.ID, pawlstate.Dead)
			if reason := value[string](t, pool, "select reason from pawl.dead"); reason != "poison" {
				t.Errorf("the job is dead with the reason %s, want poison", reason)
			}
		} else if job := await(t, client, r.ID, pawlstate.Completed); job.Attempt != 1 {
			t.Errorf("job %d: attempt %d, want 1", r.ID, job.Attempt)
		}
	}
}

// childProcess starts the test binary as a worker, and returns the lines that it writes. They are closed when it
// ends.
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

// childEnv is the environment variable that makes the test binary a worker. It names the database.
const childEnv = "PAWL_TEST_CHILD_URL"

const (
	returnsSoon = 500  // The handler ignores its context.
	kills       = 666  // The handler kills its process.
	short       = 1000 // From this number on the handler returns soon.
)

// child is the main function of the worker.
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
		case n >= short:
			<-time.After(20 * time.Millisecond)
			fmt.Println("done", n)
		case n == kills:
			<-time.After(10 * time.Millisecond)
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case n == returnsSoon:
			<-time.After(3 * time.Second) // The process is frozen meanwhile.
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
