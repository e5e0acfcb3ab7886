package pawl_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestNewRefusesWrongSettings(t *testing.T) {
	t.Parallel()
	for _, config := range []pawl.Config{
		{Schema: "a-b"}, {Schema: `a"b`}, {Schema: "1a"}, {Schema: strings.Repeat("x", 64)}, {ListenURL: "postgres://%"},
		{MaxArgsBytes: -1},
	} {
		if _, err := pawl.New(nil, config); err == nil {
			t.Errorf("New accepted %+v", config)
		}
	}
}

// Two installations in one database share no jobs, no notifications and no advisory locks.
func TestTwoInstallationsShareNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	first, _ := connect(t, url, withListen)
	second, pool := connect(t, url, withListen, func(c *pawl.Config) { c.Schema = "Other_1" })
	if err := second.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, client := range []*pawl.Client{first, second} {
		if _, err := client.InsertMany(t.Context(), notes(2500)); err != nil {
			t.Fatal(err)
		}
	}
	if jobs := claim(t, second, 3000); len(jobs) != 2500 {
		t.Errorf("claimed %d of 2500", len(jobs))
	} else if err := second.Complete(t.Context(), jobs); err != nil {
		t.Error(err)
	}
	if err := second.PauseQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if jobs := claim(t, first, 3000); len(jobs) != 2500 {
		t.Errorf("claimed %d of 2500 of the first", len(jobs))
	} else if err := first.Complete(t.Context(), jobs); err != nil {
		t.Error(err)
	}
	if err := second.ResumeQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	start(t, second, mux, pawl.RunnerConfig{PollInterval: hour})
	awaitSleepers(t, pool, 1)
	await(t, second, insert(t, second, Note{1}), pawlstate.Completed)
	if err := second.PutQueue(t.Context(), pawl.Queue{Name: "default", RetainCompleted: 40 * 24 * hour,
		RetainCancelled: -1, RetainDead: -1}); err != nil {
		t.Fatal(err)
	}
	await(t, second, insert(t, second, Note{1}), pawlstate.Completed)
	if n := value[int](t, pool, "select count(*) from pawl.archive"); n != 2500 {
		t.Errorf("the first archive has %d jobs", n)
	}
}
