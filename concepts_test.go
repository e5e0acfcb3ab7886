package pawl_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// The page is docs/concepts.md. The files concepts*_example_test.go hold its examples.
const conceptsPage, conceptsSources = "docs/concepts.md", "concepts*_example_test.go"

// A scene is a client and its database, for the check of an example.
type scene struct {
	*testing.T
	client *pawl.Client
	pool   *pgxpool.Pool
}

// jobs checks the number of jobs in each state.
func (w *scene) jobs(want map[pawlstate.State]int64) {
	w.Helper()
	for _, state := range []pawlstate.State{pawlstate.Reserved, pawlstate.Waiting, pawlstate.Scheduled, pawlstate.Ready,
		pawlstate.Running,
		pawlstate.Completed, pawlstate.Cancelled, pawlstate.Dead} {
		n, err := w.client.Count(w.Context(), pawl.Filter{States: []pawlstate.State{state}})
		if err != nil || n != want[state] {
			w.Errorf("%d jobs are %s (%v), want %d", n, state, err, want[state])
		}
	}
}

// all returns the args of the jobs that match a filter, oldest first.
func (w *scene) all(filter pawl.Filter) (list []string) {
	w.Helper()
	jobs, err := w.client.List(w.Context(), filter)
	if err != nil {
		w.Fatal(err)
	}
	for _, job := range jobs {
		list = append(list, string(job.Args))
	}
	slices.Reverse(list)
	return list
}

// add inserts emails before or after an example.
func (w *scene) add(emails ...Email) {
	w.Helper()
	for _, email := range emails {
		insert(w.T, w.client, email)
	}
}

func emailsTo(addresses ...string) (emails []Email) {
	for _, address := range addresses {
		emails = append(emails, Email{To: address, Subject: "hello"})
	}
	return emails
}

type states = map[pawlstate.State]int64

// concepts lists the examples in the order of the page. For each, before and do are called. If run is set, a runner
// then works until no job is live. At the end check is called.
var concepts = []struct {
	name   string
	do     example
	run    bool
	before func(w *scene, mux *pawl.Mux)
	check  func(w *scene)
}{
	{name: "Insert", do: conceptInsert, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 2})
	}},
	{name: "InsertMany", do: conceptInsertMany, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 10_000})
	}},
	{name: "InsertInTx", do: conceptInsertInTx, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 1})
	}},
	{name: "InsertInSQLTx", do: conceptInsertInSQLTx, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 1})
	}},
	{name: "Handle", do: conceptHandle, run: true, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("ann@example.com", "nobody@example.com", "busy@example.com")...)
		w.add(Email{To: "ann@example.com"})
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 2, pawlstate.Dead: 1, pawlstate.Cancelled: 1})
	}},
	{name: "Run", do: conceptRun, before: func(w *scene, _ *pawl.Mux) {
		for _, queue := range []string{"mail", "reports", "other"} {
			insert(w.T, w.client, pawl.JobSpec{Args: Email{To: "ann@example.com"}, Queue: queue})
		}
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 2, pawlstate.Ready: 1})
	}},
	{name: "Retries", do: conceptRetries, run: true, check: func(w *scene) {
		jobs, err := w.client.List(w.Context(), pawl.Filter{})
		must(w.T, err)
		if job := jobs[0]; job.State != pawlstate.Completed || job.Attempt != 3 || len(job.Errors) != 2 {
			w.Errorf("it is %s after %d attempts and %v", job.State, job.Attempt, job.Errors)
		}
	}},
	{name: "Delay", do: conceptDelay, check: func(w *scene) {
		w.jobs(states{pawlstate.Scheduled: 1})
		if year := value[int](w.T, w.pool, "select extract(year from run_at)::integer from pawl.job"); year != 2050 {
			w.Errorf("it is due in %d", year)
		}
	}},
	{name: "Priority", do: conceptPriority, check: func(w *scene) {
		if first := claim(w.T, w.client, 1); !strings.Contains(string(first[0].Args), "password-reset") {
			w.Errorf("%s is first", first[0].Args)
		}
	}},
	{name: "Channels", do: conceptChannels, check: func(w *scene) {
		if n := value[int](w.T, w.pool, "select 100 - count(*) from pawl.ready where channel = 'gold'"); n != 30 {
			w.Errorf("%d of gold, want 30", n)
		}
		w.jobs(states{pawlstate.Ready: 160, pawlstate.Running: 40})
	}},
	{name: "Ordered", do: conceptOrdered, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 1, pawlstate.Running: 1, pawlstate.Waiting: 1})
		if first := w.all(pawl.Filter{States: []pawlstate.State{pawlstate.Completed}}); !strings.Contains(first[0],
			"opened") {
			w.Errorf("%s was first", first[0])
		}
	}},
	{name: "Halt", do: conceptHalt, check: func(w *scene) {
		w.jobs(states{pawlstate.Dead: 1, pawlstate.Ready: 1})
	}},
	{name: "Unique", do: conceptUnique, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 1})
	}},
	{name: "Debounce", do: conceptDebounce, check: func(w *scene) {
		w.jobs(states{pawlstate.Scheduled: 1, pawlstate.Ready: 1})
		if got := w.all(pawl.Filter{UniqueKey: "digest ann"}); !strings.Contains(got[0], "3 changes") {
			w.Errorf("the debounced is %s", got[0])
		}
		if got := w.all(pawl.Filter{UniqueKey: "digest bob"}); !strings.Contains(got[0], "1 change") {
			w.Errorf("the throttled is %s", got[0])
		}
	}},
	{name: "TwoPhase", do: conceptTwoPhase, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 1})
	}},
	{name: "Limits", do: conceptLimits, check: func(w *scene) {
		w.jobs(states{pawlstate.Running: 5, pawlstate.Ready: 15})
	}},
	{name: "Semaphore", do: conceptSemaphore, run: true, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("ann@example.com", "bob@example.com", "cleo@example.org")...)
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 3})
	}},
	{name: "Cancel", do: conceptCancel, check: func(w *scene) {
		w.jobs(states{pawlstate.Cancelled: 1})
	}},
	{name: "Checkpoint", do: conceptCheckpoint, run: true, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("all")...)
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 1})
		if n := value[string](w.T, w.pool, "select checkpoint ->> 'value' from pawl.archive"); n != "3" {
			w.Errorf("the last checkpoint is %s", n)
		}
	}},
	{name: "Step", do: conceptStep, run: true, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("ann@example.com")...)
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 1})
		jobs, err := w.client.List(w.Context(), pawl.Filter{})
		must(w.T, err)
		if job := jobs[0]; job.Attempt != 2 || job.Percent != 50 || job.Message != "rendered" {
			w.Errorf("attempt %d, %d %% %s", job.Attempt, job.Percent, job.Message)
		}
	}},
	{name: "Result", do: conceptResult, run: true, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("ann@example.com")...)
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 1})
	}},
	{name: "Await", do: conceptAwait, before: func(w *scene, mux *pawl.Mux) {
		must(w.T, conceptResult(w.Context(), w.client, w.pool, mux))
		start(w.T, w.client, mux, pawl.RunnerConfig{})
	}, check: func(w *scene) {
		if got := value[string](w.T, w.pool, "select result::text from pawl.archive"); got != `{"length": 5}` {
			w.Errorf("the result is %s", got)
		}
	}},
	{name: "Chunk", do: conceptChunk, run: true, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("ann@example.com", "nobody@example.com", "bob@example.com")...)
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 2, pawlstate.Dead: 1})
	}},
	{name: "Batch", do: conceptBatch, run: true, before: handleEmails, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 3})
		if got := w.all(pawl.Filter{}); !strings.Contains(got[2], "all sent") {
			w.Errorf("there followed %s", got[2])
		}
	}},
	{name: "After", do: conceptAfter, run: true, before: handleEmails, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 4, pawlstate.Cancelled: 1})
	}},
	{name: "Saga", do: conceptSaga, run: true, before: handleEmails, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 4, pawlstate.Dead: 1})
		ended := values[string](w.T, w.pool, "select args ->> 'subject' from pawl.archive order by finished_at")
		if want := []string{"flight booked", "hotel booked", "hotel given back", "flight given back"}; !slices.Equal(ended,
			want) {
			w.Errorf("done: %q, want %q", ended, want)
		}
	}},
	{name: "Cron", do: conceptCron, check: func(w *scene) {
		if c := oneCron(w.T, w.client, "digest"); c.NextAt.Before(time.Now()) {
			w.Errorf("it ticks next at %v", c.NextAt)
		}
	}},
	{name: "Consumer", do: conceptConsumer, before: func(w *scene, _ *pawl.Mux) {
		for _, email := range emailsTo("ann@example.com", "bob@example.com", "cleo@example.com", "dan@example.com") {
			insert(w.T, w.client, pawl.JobSpec{Args: email, Queue: "mail"})
		}
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Scheduled: 2, pawlstate.Completed: 2})
	}},
	{name: "ExactlyOnce", do: conceptExactlyOnce, run: true, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("ann@example.com")...)
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 1})
		if n := value[int](w.T, w.pool, "select count(*) from account"); n != 1 {
			w.Errorf("%d effects", n)
		}
	}},
	{name: "Dead", do: conceptDead, before: func(w *scene, _ *pawl.Mux) {
		w.add(emailsTo("nobody@example.com")...)
		must(w.T, w.client.Fail(w.Context(), claim(w.T, w.client, 1), pawl.Dead(errNoSuchUser)))
	}, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 1})
	}},
	{name: "Validation", do: conceptValidation, check: func(w *scene) {
		w.jobs(states{})
	}},
	{name: "InsertRate", do: conceptInsertRate, check: func(w *scene) {
		w.jobs(states{pawlstate.Ready: 5})
	}},
	{name: "Codec", do: conceptCodec, check: func(w *scene) {
		if got := w.all(pawl.Filter{}); !strings.HasPrefix(got[0], `"pawl:codec:`) {
			w.Errorf("the args are stored as %s", got[0])
		}
	}},
	{name: "Middleware", do: conceptMiddleware, run: true, check: func(w *scene) {
		jobs, err := w.client.List(w.Context(), pawl.Filter{})
		must(w.T, err)
		if job := jobs[0]; job.Headers["trace"] != "4bf92f35" || job.State != pawlstate.Completed {
			w.Errorf("it is %s with %v", job.State, job.Headers)
		}
	}},
	{name: "Queues", do: conceptQueues, check: func(w *scene) {}},
	{name: "SQL", do: conceptSQL, run: true, check: func(w *scene) {
		w.jobs(states{pawlstate.Completed: 1})
	}},
	{name: "Maintain", do: conceptMaintain, check: func(w *scene) {}},
}

// handleEmails registers a handler that sends emails. If the user does not exist, the job is dead.
func handleEmails(_ *scene, mux *pawl.Mux) {
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Email]) error {
		if err := send(ctx, job.Args); err != nil {
			return pawl.Dead(err)
		}
		return nil
	})
}

func TestConcepts(t *testing.T) {
	t.Parallel()
	for _, c := range concepts {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			exec(t, pool, "create table account (id bigint primary key, email text not null)")
			w, mux := &scene{t, client, pool}, new(pawl.Mux)
			if c.before != nil {
				c.before(w, mux)
			}
			must(t, c.do(t.Context(), client, pool, mux))
			if c.run {
				stop := start(t, client, mux, pawl.RunnerConfig{})
				pgtest.Wait(t, "all jobs", func() bool {
					// In one statement: between two statements a follow-up may become a job.
					return value[bool](t, pool, "select not exists (select from pawl.job) and not exists (select from pawl.followup)")
				})
				must(t, stop())
			}
			c.check(w)
		})
	}
}

// TestConceptsPage checks that the page shows the examples of the source files. With -update it writes them into the
// page.
func TestConceptsPage(t *testing.T) {
	page, err := os.ReadFile(conceptsPage)
	if err != nil {
		t.Fatal(err)
	}
	bodies := exampleBodies(t)
	block := regexp.MustCompile("(?s)```go\n(.*?)```")
	found := block.FindAllSubmatchIndex(page, -1)
	if len(found) != len(bodies) {
		t.Fatalf("%s has %d examples in Go, %s %d", conceptsPage, len(found), conceptsSources, len(bodies))
	}
	var fresh []byte
	from := 0
	for i, at := range found {
		if got := string(page[at[2]:at[3]]); got != bodies[i].text && !*update {
			t.Errorf("the example %s of %s differs from that of %s: run go test -run TestConceptsPage -update", bodies[i].name,
				conceptsPage,
				conceptsSources)
		}
		fresh = append(append(fresh, page[from:at[2]]...), bodies[i].text...)
		from = at[3]
	}
	if *update {
		if err := os.WriteFile(conceptsPage, append(fresh, page[from:]...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type body struct{ name, text string }

// exampleBodies returns the declarations of Email, then the bodies of the concepts in the order of the table.
func exampleBodies(t *testing.T) []body {
	t.Helper()
	paths, err := filepath.Glob(conceptsSources)
	if err != nil || len(paths) == 0 {
		t.Fatalf("found %d files %s: %v", len(paths), conceptsSources, err)
	}
	var email string
	texts := map[string]string{}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		text := func(from, to token.Pos) string {
			return string(source[files.Position(from).Offset:files.Position(to).Offset])
		}
		var first token.Pos // Where the declaration of Email begins, if it is in this file.
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.GenDecl:
				if spec, ok := d.Specs[0].(*ast.TypeSpec); ok && spec.Name.Name == "Email" {
					first = d.Doc.Pos()
				}
			case *ast.FuncDecl:
				if d.Recv != nil {
					email = text(first, d.End()) + "\n"
				}
				if name, ok := strings.CutPrefix(d.Name.Name, "concept"); ok {
					lines := strings.SplitAfter(text(d.Body.Lbrace+2, d.Body.Rbrace), "\n")
					for i := range lines {
						lines[i] = strings.TrimPrefix(lines[i], "\t")
					}
					texts[name] = strings.Join(lines, "")
				}
			}
		}
	}
	bodies := []body{{"Email", email}}
	for _, c := range concepts {
		if texts[c.name] == "" {
			t.Fatalf("there is no func concept%s", c.name)
		}
		bodies = append(bodies, body{c.name, texts[c.name]})
	}
	if len(texts) != len(concepts) {
		t.Fatalf("%d funcs are called concept…, %d are in the table: each of them has to run", len(texts), len(concepts))
	}
	return bodies
}
