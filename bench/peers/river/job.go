package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/riverqueue/river"
)

// jobArgs differ from job to job, as those of real jobs do. It matters to
// River in particular, whose schema has a GIN index on args.
type jobArgs struct {
	ID   int64  `json:"id"`
	Data string `json:"data"`
}

func (jobArgs) Kind() string { return "bench" }

const minArgsBytes = 48

// newArgs returns the args of job id, of size bytes as JSON.
func newArgs(id int64, size int) jobArgs {
	room := size - len(`{"id":,"data":""}`) - len(strconv.FormatInt(id, 10))
	var data strings.Builder
	data.Grow(room + 16)
	// Hexadecimal of a cheap generator (splitmix64) seeded by the id: distinct
	// and not compressible to nothing.
	state := uint64(id)
	for data.Len() < room {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		data.WriteString(strconv.FormatUint(z, 16))
	}
	return jobArgs{ID: id, Data: data.String()[:room]}
}

// insertBatch inserts the next n jobs, using params as room for them.
func (b *bench) insertBatch(ctx context.Context, in *inserter, params []river.InsertManyParams, n int) error {
	first := b.inserted.Load()
	params = params[:n]
	for i := range params {
		params[i].Args = newArgs(first+int64(i), b.opts.argsBytes)
	}
	if _, err := in.InsertManyFast(ctx, params); err != nil {
		return err
	}
	b.inserted.Add(int64(n))
	return nil
}

// insertAll inserts jobs up to the n-th, batch by batch.
func (b *bench) insertAll(ctx context.Context, in *inserter, n int) error {
	params := make([]river.InsertManyParams, b.opts.batch)
	for left := n; left > 0; left = n - int(b.inserted.Load()) {
		if err := b.insertBatch(ctx, in, params, min(left, b.opts.batch)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) preload(ctx context.Context, n int) error {
	in, err := b.newInserter(ctx)
	if err != nil {
		return err
	}
	defer in.close()
	return b.insertAll(ctx, in, n)
}

type workFunc func(id int64, attempt int) error

func noop(int64, int) error { return nil }

type worker struct {
	river.WorkerDefaults[jobArgs]

	work workFunc
}

func (w *worker) Work(_ context.Context, job *river.Job[jobArgs]) error {
	return w.work(job.Args.ID, job.Attempt)
}
