package pawltest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// RequireInserted returns the newest live job of T's kind that meets the filter. If there is none, it ends the test.
//
// To find jobs that a transaction has inserted and not committed yet, pass client.With(tx) or client.WithSQL(tx). For
// RawArgs, name the kind in the filter.
func RequireInserted[T pawl.Args](t testing.TB, client *pawl.Client, filter pawl.Filter) *pawl.Job[T] {
	t.Helper()
	jobs, what := inserted[T](t, client, filter)
	if len(jobs) == 0 {
		t.Fatalf("pawltest: no live job of %s was inserted; %s", what, there(t.Context(), client, ""))
	}
	job := &pawl.Job[T]{JobInfo: jobs[0]}
	switch args := any(&job.Args).(type) {
	case *pawl.RawArgs:
		*args = pawl.Raw(job.Kind, job.JobInfo.Args)
	default:
		if len(job.JobInfo.Args) == 0 {
			break
		}
		if err := json.Unmarshal(job.JobInfo.Args, args); err != nil {
			t.Fatalf("pawltest: the args of job %d do not decode into %T: %v; they are %s "+
				"(if a Codec encoded them, use a client with it)",
				job.ID, job.Args, err, brief(job.JobInfo.Args))
		}
	}
	return job
}

// RequireNotInserted ends the test if there is a job that RequireInserted would find.
func RequireNotInserted[T pawl.Args](t testing.TB, client *pawl.Client, filter pawl.Filter) {
	t.Helper()
	if jobs, what := inserted[T](t, client, filter); len(jobs) > 0 {
		t.Fatalf("pawltest: %s was inserted and should not have been:%s", what, lines(jobs))
	}
}

func inserted[T pawl.Args](t testing.TB, client *pawl.Client, filter pawl.Filter) (pawl.Jobs, string) {
	t.Helper()
	if filter.Kind == "" {
		filter.Kind = kindOf[T]()
	}
	jobs, err := list(t.Context(), client, filter)
	if err != nil {
		t.Fatalf("pawltest: look for inserted jobs: %v", err)
	}
	what := "any kind"
	if filter.Kind != "" {
		what = fmt.Sprintf("kind %q", filter.Kind)
	}
	for _, field := range []struct{ name, value string }{
		{"queue", filter.Queue}, {"channel", filter.Channel}, {"fingerprint", filter.Fingerprint},
		{"unique key", filter.UniqueKey}, {"worker", filter.Worker}, {"args", string(filter.Args)},
	} {
		if field.value != "" {
			what += ", " + field.name + " " + field.value
		}
	}
	return jobs, what
}

// kindOf returns the kind of T's zero value. If T is a pointer, it points to a zero value.
func kindOf[T pawl.Args]() string {
	var zero T
	if json.Unmarshal([]byte("{}"), &zero) != nil {
		zero = *new(T)
	}
	return zero.Kind()
}

// list returns the live jobs that a filter chooses, newest first.
func list(ctx context.Context, client *pawl.Client, filter pawl.Filter) (pawl.Jobs, error) {
	live := pawlstate.Live()
	if len(filter.States) > 0 {
		live = slices.DeleteFunc(live, func(state pawlstate.State) bool {
			return !slices.Contains(filter.States, state)
		})
	}
	if filter.States = live; len(live) == 0 {
		return nil, nil
	}
	return client.List(ctx, filter)
}

const (
	mostLines = 10
	mostBytes = 200
)

// there describes the live jobs of a queue or, if that is empty, of all.
func there(ctx context.Context, client *pawl.Client, queue string) string {
	jobs, err := list(ctx, client, pawl.Filter{Queue: queue, Limit: mostLines + 1})
	switch {
	case err != nil:
		return fmt.Sprintf("the live jobs cannot be listed: %v", err)
	case len(jobs) == 0 && queue != "":
		return fmt.Sprintf("queue %q has no live job", queue)
	case len(jobs) == 0:
		return "there is no live job at all"
	}
	return "there are, newest first:" + lines(jobs)
}

func lines(jobs pawl.Jobs) string {
	var b strings.Builder
	for i, job := range jobs {
		if i == mostLines {
			b.WriteString("\n\tand more")
			break
		}
		fmt.Fprintf(&b, "\n\tjob %d, kind %q, queue %q", job.ID, job.Kind, job.Queue)
		if job.Channel != "" {
			fmt.Fprintf(&b, ", channel %q", job.Channel)
		}
		fmt.Fprintf(&b, ", %s", job.State)
		if job.State == pawlstate.Scheduled {
			wait := time.Until(job.RunAt).Round(time.Second)
			fmt.Fprintf(&b, " until %s, in %v", job.RunAt.Format(time.RFC3339), wait)
		}
		if len(job.Args) > 0 {
			fmt.Fprintf(&b, ", args %s", brief(job.Args))
		}
	}
	return b.String()
}

func brief(args []byte) string {
	if len(args) > mostBytes {
		return strings.ToValidUTF8(string(args[:mostBytes]), "") + " …"
	}
	return string(args)
}
