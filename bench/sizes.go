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

// A Speed is a rate in jobs and in megabytes of args, and what a megabyte cost.
type Speed struct {
	JobsPerSecond      float64  `json:"jobs_per_second"`
	MegabytesPerSecond float64  `json:"megabytes_per_second"`
	CPUClient          float64  `json:"cpu_client_ms_per_megabyte"`
	CPUServer          *float64 `json:"cpu_server_ms_per_megabyte,omitempty"`
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
	var err error
	if cell.Insert, err = b.speed(ctx, cell, cell.Jobs, func() error { return b.insertEach(ctx, specs) }); err != nil {
		return err
	}
	insertMany := func() error {
		for some := range slices.Chunk(specs, max(10_000_000/cell.ArgsBytes, 1)) {
			if _, err := b.client.InsertMany(ctx, some); err != nil {
				return err
			}
		}
		return nil
	}
	if cell.InsertMany, err = b.speed(ctx, cell, cell.Jobs, insertMany); err != nil {
		return err
	}
	if err := b.pool.QueryRow(ctx, "select pg_total_relation_size('pawl.job')").Scan(&cell.DiskBytes); err != nil {
		return err
	}
	cell.Work, err = b.speed(ctx, cell, 2*cell.Jobs, func() error { return b.burnAny(ctx, 2*cell.Jobs) })
	return err
}

// speed measures what do does with a number of jobs.
func (b *bench) speed(ctx context.Context, cell *SizeResult, jobs int, do func() error) (s Speed, err error) {
	if err := b.prepare(ctx); err != nil {
		return s, err
	}
	before, err := b.usage(ctx)
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return s, err
	}
	took := time.Since(began)
	after, err := b.usage(ctx)
	if err != nil {
		return s, err
	}
	megabytes := float64(jobs) * float64(cell.ArgsBytes) / 1e6
	s.JobsPerSecond, s.MegabytesPerSecond = float64(jobs)/took.Seconds(), megabytes/took.Seconds()
	s.CPUClient = (after.client - before.client).Seconds() * 1000 / megabytes
	if b.server != 0 {
		server := (after.server - before.server).Seconds() * 1000 / megabytes
		s.CPUServer = &server
	}
	return s, nil
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
			one = fmt.Sprintf(
				`{"id":%d,"name":"customer %d","email":"customer.%d@example.com","state":"open","price":%d.%02d,`+
					`"note":"an order of %d items, to be sent to the address of the invoice within three days"},`,
				rand.IntN(1e6),
				i,
				i,
				rand.IntN(1000),
				rand.IntN(100),
				rand.IntN(50),
			)
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
	_, err := fmt.Fprintf(w, "%18s in jobs/s, MB/s, and CPU ms per MB of client and server:\n", "")
	for _, c := range r.Sizes {
		what := "random"
		if c.Compressible {
			what = "records"
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "%18s %7d B %-7s insert %s   insert many %s   work %s   %4.0f MB on disk\n", "",
				c.ArgsBytes, what, c.Insert, c.InsertMany, c.Work, float64(c.DiskBytes)/1e6)
		}
	}
	return err
}

// String returns the figures in the order of writeSizes.
func (s Speed) String() string {
	server := "?"
	if s.CPUServer != nil {
		server = fmt.Sprintf("%.1f", *s.CPUServer)
	}
	return fmt.Sprintf("%6.0f %4.0f %4.1f %4s", s.JobsPerSecond, s.MegabytesPerSecond, s.CPUClient, server)
}
