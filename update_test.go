package pawl_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestUpdateChangesAWaitingJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	first, second := insert(t, client, Note{1}), insert(t, client, Note{2})
	priority := -5
	wantCount(t, 1)(client.Update(t.Context(), second,
		pawl.JobUpdate{Priority: &priority, Args: Note{3}, Data: []byte("d"), MaxAttempts: 4}))
	jobs := claim(t, client, 1)
	if jobs[0].ID != second || jobs[0].Priority != -5 || note(t, jobs[0]).N != 3 || string(jobs[0].Data) != "d" ||
		jobs[0].MaxAttempts != 4 {
		t.Errorf("claimed %+v", jobs[0])
	}
	for name, which := range map[string]pawl.Selector{"id": second, "job": jobs[0], "jobs": jobs} {
		if n, err := client.Update(t.Context(), which, pawl.JobUpdate{Delay: time.Hour}); n != 0 ||
			!errors.Is(err, pawl.ErrRunning) {
			t.Errorf("%s of a running job: %d, %v", name, n, err)
		}
	}
	n, err := client.Update(t.Context(), pawl.Filter{IDs: []pawl.ID{first, second, 999}}, pawl.JobUpdate{Delay: time.Hour})
	if each, ok := errors.AsType[pawl.JobErrors](err); n != 1 || !ok || !errors.Is(each[second], pawl.ErrRunning) ||
		!errors.Is(each[999], pawl.ErrNotFound) || len(each) != 2 {
		t.Errorf("of several: %d, %v", n, err)
	}
	await(t, client, first, pawlstate.Scheduled)
	// The running one is passed by.
	wantCount(t, 1)(client.Update(t.Context(), pawl.Filter{Queue: "default"}, pawl.JobUpdate{RunAt: time.Unix(0, 0)}))
	await(t, client, first, pawlstate.Ready)
	wantCount(t, 1)(client.Update(t.Context(), first, pawl.JobUpdate{Args: pawl.Raw("note", nil), Data: []byte{}}))
	if job, err := client.Get(t.Context(), first); err != nil || job.Args != nil || job.Data != nil {
		t.Errorf("cleared: %s, %s, %v", job.Args, job.Data, err)
	}
	must(t, client.Complete(t.Context(), jobs))
	if _, err := client.Update(t.Context(), second, pawl.JobUpdate{Delay: time.Hour}); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("a finished job: %v", err)
	}
	inLine := insert(t, client, ordered("c", 1))
	for field, update := range map[string]pawl.JobUpdate{
		"Priority":    {Priority: &priority},
		"RunAt":       {Delay: time.Hour, RunAt: time.Now()},
		"Delay":       {Delay: -time.Hour},
		"MaxAttempts": {MaxAttempts: -1},
		"Args":        {Args: pawl.Raw("another", nil)},
	} {
		if n, err := client.Update(t.Context(), inLine, update); n != 0 || !isInvalid(err, field) {
			t.Errorf("%s: %d, %v, want an InvalidError", field, n, err)
		}
	}
	if _, err := client.Update(t.Context(), first, pawl.JobUpdate{}); err == nil {
		t.Error("an update of nothing was accepted")
	}
	// A claim at work has the ticket: the update waits, and finds the job running.
	tx := begin(t, pool)
	claimed := claimTickets(t, tx, aLease, nil, 1)
	said := make(chan error, 1)
	go func() {
		_, err := client.Update(t.Context(), pawl.ID(claimed[0]), pawl.JobUpdate{Delay: time.Hour})
		said <- err
	}()
	awaitBlocked(t, pool, 1)
	commit(t, tx)
	if err := receive(t, "the update", said); !errors.Is(err, pawl.ErrRunning) {
		t.Errorf("claimed meanwhile: %v, want ErrRunning", err)
	}
}

// A promotion has locked the ticket and the job. The update waits and then changes the new ticket.
func TestUpdateWhilePromoted(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: time.Hour})
	makeDue(t, pool)
	tx := begin(t, pool)
	promote := "select moved::int from pawl.promote(array['default'], array['-infinity'::timestamptz], 10)"
	if n := value[int](t, tx, promote); n != 1 {
		t.Fatal("nothing was promoted")
	}
	said := make(chan error, 1)
	go func() {
		_, err := client.Update(t.Context(), id, pawl.JobUpdate{Delay: time.Hour})
		said <- err
	}()
	awaitBlocked(t, pool, 1)
	commit(t, tx)
	must(t, receive(t, "the update", said))
	await(t, client, id, pawlstate.Scheduled)
}

// Update encodes args as Insert does, and applies no defaults.
func TestUpdateWithCodecAndDefaults(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) {
		c.Codec = reverse{}
		c.Defaults = pawl.JobSpec{Delay: time.Hour, MaxAttempts: 9}
		c.RequiredKeys = []string{"n"}
	})
	id := insert(t, client, Note{1})
	before := await(t, client, id, pawlstate.Scheduled)
	wantCount(t, 1)(client.Update(t.Context(), id, pawl.JobUpdate{Args: Note{2}}))
	wantCount(t, 1)(client.Update(t.Context(), id, pawl.JobUpdate{Data: []byte("d")}))
	job, err := client.Get(t.Context(), id)
	must(t, err)
	if note(t, job).N != 2 || !job.RunAt.Equal(before.RunAt) || job.MaxAttempts != 9 {
		t.Errorf("it is %+v", job)
	}
	if stored := value[string](t, pool, "select args::text from pawl.job"); !strings.HasPrefix(stored, `"pawl:codec:`) {
		t.Errorf("stored as %s", stored)
	}
	if _, err := client.Update(t.Context(), id, pawl.JobUpdate{Args: pawl.Raw("note", []byte(`{}`))}); !isInvalid(err,
		"Args") {
		t.Errorf("args that lack a key: %v", err)
	}
}

func isInvalid(err error, field string) bool {
	invalid, ok := errors.AsType[*pawl.InvalidError](err)
	return ok && invalid.Field == field
}

type reverse struct{}

func (reverse) Encode(_ string, args []byte) ([]byte, error) { return reversed(args), nil }

func (reverse) Decode(_ string, args []byte) ([]byte, error) { return reversed(args), nil }

func reversed(b []byte) []byte {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}
