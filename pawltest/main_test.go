package pawltest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawltest"
)

type note struct{ N int }

func (note) Kind() string { return "note" }

type other struct{}

func (*other) Kind() string { return "other" }

// install is New, with the invariant checked at the end.
func install(t *testing.T) *pawl.Client {
	t.Helper()
	client := pawltest.New(t)
	t.Cleanup(func() {
		findings, err := client.Verify(context.Background())
		if err != nil || len(findings) > 0 {
			t.Errorf("verify: %v, %v", findings, err)
		}
	})
	return client
}

func insert(t *testing.T, client *pawl.Client, jobs ...pawl.JobSpec) (ids []pawl.ID) {
	t.Helper()
	results, err := client.InsertMany(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		ids = append(ids, r.ID)
	}
	return ids
}

// ended is a test that other code may end.
type ended struct {
	testing.TB
	text string
}

func (e *ended) Helper()           {}
func (e *ended) Fatal(args ...any) { e.Fatalf("%s", fmt.Sprint(args...)) }
func (e *ended) Fatalf(format string, args ...any) {
	e.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// ends says why do ended the test.
func ends(t *testing.T, do func(t testing.TB)) string {
	t.Helper()
	e := &ended{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(e)
	}()
	<-done
	if e.text == "" {
		t.Error("it did not end the test")
	}
	return e.text
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in: %s", w, text)
		}
	}
}
