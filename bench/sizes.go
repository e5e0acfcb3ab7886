package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl"
)

// A SizeResult holds the figures of jobs with args of one size. Megabytes are millions of bytes of JSON.
type SizeResult struct {
	ArgsBytes    int  `json:"args_bytes"`
	Compressible bool `json:"compressible"` // Compressible args are records with the same keys, others random text.
	Jobs         int  `json:"jobs"`

	Insert     Speed `json:"insert"`      // Insert is concurrent calls of Insert.
	InsertMany Speed `json:"insert_many"` // InsertMany is calls of InsertMany.
	Work       Speed `json:"work"`        // Work is the runners' work on all these jobs.
	DiskBytes  int64 `json:"disk_bytes"`  // DiskBytes is the size of the table of jobs before they run.
}

// A Speed is a rate in jobs and in megabytes of args.
type Speed struct {
	JobsPerSecond      float64 `json:"jobs_per_second"`
	MegabytesPerSecond float64 `json:"megabytes_per_second"`
}

var argsSizes = []int{1_000, 10_000, 100_000, 1_000_000}

// sizes measures inserts and work for args of several sizes, compressible and not. Each measurement handles
// Config.Megabytes of args, but at most Config.Jobs jobs.
func (b *bench) sizes(ctx context.Context) (*Result, error) {
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	began, jobs := time.Now(), 0
	var cells []SizeResult
	for _, size := range argsSizes {
		for _, compressible := range []bool{true, false} {
			cell := SizeResult{ArgsBytes: size, Compressible: compressible}
			cell.Jobs = min(max(b.Megabytes*1_000_000/size, 8), b.Jobs)
			if err := b.measureSize(ctx, &cell); err != nil {
				return nil, fmt.Errorf("args of %d bytes: %w", size, err)
			}
			cells = append(cells, cell)
			jobs += 2 * cell.Jobs
		}
	}
	r := b.result(b.runnerConfig(false))
	r.ArgsBytes, r.Sizes = 0, cells
	return r, b.spent(ctx, r, int64(jobs), time.Since(began), before)
}

func (b *bench) measureSize(ctx context.Context, cell *SizeResult) error {
	if err := b.fresh(ctx); err != nil {
		return err
	}
	specs := make([]pawl.JobSpec, cell.Jobs)
	for i := range specs {
		specs[i].Args = pawl.Raw("sizes", document(cell.ArgsBytes, cell.Compressible))
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := b.insertEach(ctx, specs); err != nil {
		return err
	}
	cell.Insert = cell.speed(cell.Jobs, began)
	if err := b.prepare(ctx); err != nil {
		return err
	}
	began = time.Now()
	for some := range slices.Chunk(specs, max(10_000_000/cell.ArgsBytes, 1)) {
		if _, err := b.client.InsertMany(ctx, some); err != nil {
			return err
		}
	}
	cell.InsertMany = cell.speed(cell.Jobs, began)
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.pool.QueryRow(ctx, "select pg_total_relation_size('pawl.job')").Scan(&cell.DiskBytes); err != nil {
		return err
	}
	began = time.Now()
	if err := b.burnAny(ctx, 2*cell.Jobs); err != nil {
		return err
	}
	cell.Work = cell.speed(2*cell.Jobs, began)
	return nil
}

func (cell *SizeResult) speed(jobs int, began time.Time) Speed {
	rate := float64(jobs) / time.Since(began).Seconds()
	return Speed{JobsPerSecond: rate, MegabytesPerSecond: rate * float64(cell.ArgsBytes) / 1e6}
}

// insertEach inserts jobs by concurrent calls of Insert.
func (b *bench) insertEach(ctx context.Context, specs []pawl.JobSpec) error {
	const callers = 64
	var next atomic.Int64
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for k := range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(specs)) && errs[k] == nil; i = next.Add(1) - 1 {
				_, errs[k] = b.client.Insert(ctx, &specs[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// burnAny runs all jobs, whose args may be anything.
func (b *bench) burnAny(ctx context.Context, jobs int) error {
	var started atomic.Int64
	mux := new(pawl.Mux)
	running, stop := context.WithCancel(ctx)
	defer stop()
	pawl.Handle(mux, func(context.Context, *pawl.Job[pawl.RawArgs]) error {
		if started.Add(1) == int64(jobs) {
			stop()
		}
		return nil
	}, pawl.KindOptions{Kind: "sizes"})
	progress := b.progress("sizes: work", time.Second, started.Load)
	defer progress()
	if err := <-b.runners(running, mux, b.runnerConfig(false)); err != nil {
		return err
	}
	if n := started.Load(); n < int64(jobs) {
		return fmt.Errorf("the runners ended after %d of %d jobs", n, jobs)
	}
	return nil
}

// document returns args of a size in bytes. Compressible args are like a list of records, others like keys, digests
// and images.
func document(size int, compressible bool) []byte {
	var text bytes.Buffer
	text.Grow(size)
	text.WriteString(`{"items":[`)
	for i := 0; ; i++ {
		var one string
		if compressible {
			one = fmt.Sprintf(`{"id":%d,"name":"item %d","state":"open","price":%d.%02d,"tags":["a","b"]},`,
				rand.IntN(1e6), i, rand.IntN(1000), rand.IntN(100))
		} else {
			random := make([]byte, 48)
			for k := range random {
				random[k] = byte(rand.Uint32())
			}
			one = `"` + base64.StdEncoding.EncodeToString(random) + `",`
		}
		if text.Len()+len(one) > size-len(`""]}`) {
			break
		}
		text.WriteString(one)
	}
	text.WriteByte('"')
	for text.Len() < size-len(`"]}`) {
		text.WriteByte('x')
	}
	text.WriteString(`"]}`)
	return text.Bytes()
}

func (r *Result) writeSizes(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%18s   args bytes  compressible      insert        insert many             work   disk\n", "")
	for _, c := range r.Sizes {
		if err == nil {
			_, err = fmt.Fprintf(w, "%18s %12d %13t %6.0f/s %4.0f MB/s %6.0f/s %4.0f MB/s %6.0f/s %4.0f MB/s %5.0f MB\n",
				"", c.ArgsBytes, c.Compressible, c.Insert.JobsPerSecond, c.Insert.MegabytesPerSecond,
				c.InsertMany.JobsPerSecond, c.InsertMany.MegabytesPerSecond,
				c.Work.JobsPerSecond, c.Work.MegabytesPerSecond, float64(c.DiskBytes)/1e6)
		}
	}
	return err
}
