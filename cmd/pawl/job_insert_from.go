package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/jobspec"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

const (
	maxBatchBytes = 16 << 20 // The size of a batch's lines, which bounds memory.
	maxLineBytes  = 1 << 20  // The size of a line without args and data.
)

// fileInserter inserts a job for each line of a file, in batches.
type fileInserter struct {
	client *pawl.Client
	name   string // The file's name in errors.
	dry    bool
	bar    *output.Progress
	bytes  bool // The bar counts bytes, not jobs.

	jobs       []pawl.JobSpec // The batch.
	lines      []int64        // The lines of the batch's jobs.
	batchBytes int64
	last       int64 // The last line of the batches that are inserted.
	done       insertedJobs
}

func insertFile(
	ctx context.Context, p *program.Program, client *pawl.Client, name string, base *jobspec.Spec, dry bool,
) error {
	f := &fileInserter{client: client, name: name, dry: dry}
	file, size := p.Input(), int64(0)
	if name != "-" {
		opened, err := os.Open(name)
		if err != nil {
			return err
		}
		defer opened.Close()
		if info, err := opened.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		file = opened
	} else {
		f.name = "standard input"
	}
	if f.bytes = size > 0; f.bytes {
		f.bar = output.NewByteProgress(p.Stderr, "inserting", size)
	} else {
		f.bar = output.NewProgress(p.Stderr, "inserting", 0)
	}
	defer f.bar.End()
	reader := &lineReader{
		from: bufio.NewReaderSize(file, 64<<10), most: maxLineBytes + 3*p.Settings.Validation.ArgsBytes,
	}
	if err := f.insertLines(ctx, reader, base, p.Settings.BatchSize); err != nil {
		return err
	}
	f.bar.End()
	if dry {
		return p.Print(validJobs{f.done.Inserted})
	}
	f.done.Inserted -= f.done.Duplicates
	return p.Print(f.done)
}

func (f *fileInserter) insertLines(ctx context.Context, reader *lineReader, base *jobspec.Spec, batchSize int) error {
	for {
		text, err := reader.next()
		if errors.Is(err, io.EOF) {
			return f.flush(ctx)
		}
		if err == nil && len(text) == 0 {
			continue
		}
		var job jobspec.Spec
		if err == nil {
			job, err = base.Parse(text)
		}
		if err != nil {
			return f.failed(reader.line, err, "")
		}
		f.jobs, f.lines = append(f.jobs, job.JobSpec()), append(f.lines, reader.line)
		f.batchBytes += int64(len(text)) + 1
		if len(f.jobs) >= batchSize || f.batchBytes >= maxBatchBytes {
			if err := f.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// flush inserts the batch.
func (f *fileInserter) flush(ctx context.Context) error {
	if len(f.jobs) == 0 {
		return nil
	}
	results, err := f.insertBatch(ctx)
	first, last := f.lines[0], f.lines[len(f.lines)-1]
	_, refused := errors.AsType[*pgconn.PgError](err)
	switch invalid, ok := errors.AsType[*pawl.InvalidError](err); {
	case ok:
		return f.failed(f.lines[invalid.Index], jobspec.Explain(invalid), "")
	case err != nil && refused && ctx.Err() == nil:
		return f.failed(first, fmt.Errorf("in the lines up to %d: %w", last, err), "")
	case err != nil: // The server may have committed the batch before the connection was lost.
		return f.failed(first, err, fmt.Sprintf("and perhaps those up to line %d", last))
	}
	for _, result := range results {
		if result.Duplicate {
			f.done.Duplicates++
		}
	}
	f.last = last
	f.done.Inserted += int64(len(f.jobs))
	if f.bytes {
		f.bar.Add(f.batchBytes)
	} else {
		f.bar.Add(int64(len(f.jobs)))
	}
	f.jobs, f.lines, f.batchBytes = f.jobs[:0], f.lines[:0], 0
	return nil
}

// failed names the line of an error, and says which jobs are inserted. The rest describes the jobs after those.
func (f *fileInserter) failed(line int64, err error, rest string) error {
	err = fmt.Errorf("%s:%d: %w", f.name, line, err)
	if !f.dry && (f.last > 0 || rest != "") {
		err = fmt.Errorf("%w\n%s of the lines up to %d are inserted, %s", err,
			output.Count(f.done.Inserted, "job"), f.last, cmp.Or(rest, "none of the lines after it"))
	}
	return err
}

// insertBatch inserts the batch. It waits while that would exceed insert_rate.
func (f *fileInserter) insertBatch(ctx context.Context) ([]pawl.InsertResult, error) {
	if f.dry {
		return nil, f.client.Validate(f.jobs...)
	}
	for {
		results, err := f.client.InsertMany(ctx, f.jobs)
		over, ok := errors.AsType[*pawl.RateError](err)
		if !ok {
			return results, err
		}
		select {
		case <-time.After(over.RetryAfter):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lineReader reads lines and trims the spaces around them.
type lineReader struct {
	from *bufio.Reader
	most int
	line int64 // The number of the last line.
	text []byte
}

func (l *lineReader) next() ([]byte, error) {
	l.line++
	l.text = l.text[:0]
	for {
		part, err := l.from.ReadSlice('\n')
		l.text = append(l.text, part...)
		switch {
		case len(l.text) > l.most:
			return nil, fmt.Errorf("the line is longer than %d bytes", l.most)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(l.text) > 0, err == nil:
			if l.line == 1 {
				l.text = bytes.TrimPrefix(l.text, []byte("\ufeff"))
			}
			return bytes.TrimSpace(l.text), nil
		default:
			return nil, err
		}
	}
}
