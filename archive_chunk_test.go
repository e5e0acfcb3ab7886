package pawl_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// completeTogether inserts jobs, and completes them in one statement. It returns them as they were when they were
// claimed.
func completeTogether(t *testing.T, client *pawl.Client, specs []pawl.JobSpec) pawl.Jobs {
	t.Helper()
	_, err := client.InsertMany(t.Context(), specs)
	must(t, err)
	jobs := claimAll(t, client)
	slices.SortFunc(jobs, func(a, b *pawl.JobInfo) int { return cmp.Compare(a.ID, b.ID) })
	must(t, client.Complete(t.Context(), jobs))
	return jobs
}

func idsOfJobs(jobs pawl.Jobs) (ids []pawl.ID) {
	for _, job := range jobs {
		ids = append(ids, job.ID)
	}
	return ids
}

// Jobs that differ in everything are found one by one, by a filter, and in pages, as they were completed.
func TestAChunkKeepsEachJobWhole(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const n = 700
	specs := notes(n)
	large := strings.Repeat("large ", 2000)
	for i := range specs {
		switch i % 7 {
		case 1:
			specs[i].Data = []byte{0, byte(i)}
		case 2:
			specs[i].Fingerprint, specs[i].Channel = fmt.Sprint("f", i), "c"
		case 3:
			specs[i].Unique = pawl.Unique{Key: fmt.Sprint("k", i)}
		case 4:
			specs[i].Headers, specs[i].MaxAttempts = map[string]string{"h": large}, 3
		case 5:
			specs[i].Data = bytes.Repeat([]byte{byte(i)}, 100_000)
		}
	}
	done := completeTogether(t, client, specs)
	for i, was := range done {
		if i%50 > 7 {
			continue
		}
		job, err := client.Get(t.Context(), was.ID)
		must(t, err)
		if job.State != pawlstate.Completed || note(t, job) != note(t, was) || !bytes.Equal(job.Data, was.Data) ||
			job.Fingerprint != was.Fingerprint || job.Channel != was.Channel || job.UniqueKey != was.UniqueKey ||
			job.Headers["h"] != was.Headers["h"] || job.MaxAttempts != was.MaxAttempts || job.Attempt != 1 ||
			!job.CreatedAt.Equal(was.CreatedAt) {
			t.Errorf("the archived job is %+v, want %+v", job, was)
		}
	}
	var pages []pawl.ID
	for before := pawl.ID(0); ; {
		page, err := client.List(t.Context(), pawl.Filter{Before: before, Limit: 97})
		must(t, err)
		for _, job := range page {
			pages, before = append(pages, job.ID), job.ID
		}
		if len(page) < 97 {
			break
		}
	}
	want := make([]pawl.ID, n)
	for i, job := range done {
		want[n-1-i] = job.ID
	}
	if !slices.Equal(pages, want) {
		t.Errorf("the pages have %d jobs, want %d, newest first", len(pages), n)
	}
	for _, c := range []struct {
		filter pawl.Filter
		want   int64
	}{
		{pawl.Filter{}, n},
		{pawl.Filter{Queue: "default", States: []pawlstate.State{pawlstate.Completed}}, n},
		{pawl.Filter{Limit: 10}, 10},
		{pawl.Filter{Channel: "c"}, n / 7},
		{pawl.Filter{Args: json.RawMessage(`{"n": 8}`)}, 1},
		{pawl.Filter{IDs: []pawl.ID{done[0].ID, done[600].ID, 1 << 40}}, 2},
		{pawl.Filter{Before: done[100].ID}, 100},
		{pawl.Filter{Queue: "other"}, 0},
	} {
		if count, err := client.Count(t.Context(), c.filter); err != nil || count != c.want {
			t.Errorf("Count(%+v): %d, %v, want %d", c.filter, count, err, c.want)
		}
	}
	// Values that are large, or that the database has compressed, are in chunks of their own: two jobs of seven.
	alone := value[int](t, pool, "select count(*) from pawl.archive_chunk where n = 1")
	shared := value[int](t, pool, "select count(*) from pawl.archive_chunk where n > 1")
	if alone != n/7*2 || shared > 4 {
		t.Errorf("%d jobs have a chunk of their own and the others %d chunks, want %d and at most 4", alone, shared, n/7*2)
	}
}

// A job of a chunk is deleted, and the others stay. Two calls at once both succeed.
func TestJobsOfAChunkAreDeletedAtOnce(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobs := completeTogether(t, client, notes(100))
	tx := begin(t, pool)
	wantCount(t, 2)(client.With(tx).Delete(t.Context(), pawl.Filter{IDs: []pawl.ID{jobs[3].ID, jobs[4].ID}}))
	second := make(chan error, 1)
	go func() {
		n, err := client.Delete(t.Context(), pawl.Filter{IDs: []pawl.ID{jobs[4].ID, jobs[5].ID, jobs[99].ID}})
		if err == nil && n != 2 {
			err = fmt.Errorf("deleted %d jobs, want the two that the first call did not delete", n)
		}
		second <- err
	}()
	awaitBlocked(t, pool, 1)
	must(t, tx.Commit(t.Context()))
	must(t, <-second)
	left, err := client.List(t.Context(), pawl.Filter{})
	must(t, err)
	if len(left) != 96 || note(t, left[0]).N != 98 || note(t, left[95]).N != 0 {
		t.Errorf("%d jobs are left", len(left))
	}
	for _, id := range []int{3, 4, 5, 99} {
		if _, err := client.Get(t.Context(), jobs[id].ID); err == nil {
			t.Errorf("job %d is still there", id)
		}
	}
	if job, err := client.Get(t.Context(), jobs[6].ID); err != nil || note(t, job).N != 6 || job.FinishedAt.IsZero() {
		t.Errorf("a job that stays is %+v, %v", job, err)
	}
	wantCount(t, 96)(client.Delete(t.Context(), left))
	if n := value[int](t, pool, "select count(*) from pawl.archive_chunk"); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
}

// A completion is recognised by id and epoch, in a chunk too.
func TestFinishedJobsOfAChunkAreRecognised(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	specs := notes(50)
	for i := range specs {
		specs[i].Queue = fmt.Sprint("q", i%2)
	}
	_, err := client.InsertMany(t.Context(), specs)
	must(t, err)
	jobs, err := client.Claim(t.Context(), "q0", 25, 0)
	must(t, err)
	others, err := client.Claim(t.Context(), "q1", 25, 0)
	must(t, err)
	jobs = append(jobs, others...)
	must(t, client.Complete(t.Context(), jobs[:1]))
	must(t, client.Complete(t.Context(), jobs[2:]))
	const found = "select array_agg(f.id order by f.id) from pawl.find_finished($1::bigint[], $2::integer[]) f"
	epochs := make([]int32, len(jobs))
	for i, job := range jobs {
		epochs[i] = job.Epoch()
	}
	epochs[7]++
	want := slices.DeleteFunc(idsOfJobs(jobs), func(id pawl.ID) bool { return id == jobs[1].ID || id == jobs[7].ID })
	slices.Sort(want)
	if got := value[[]pawl.ID](t, pool, found, idsOfJobs(jobs), epochs); !slices.Equal(got, want) {
		t.Errorf("found %v, want all but two of %v", got, want)
	}
}
