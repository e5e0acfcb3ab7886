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
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

// insertedJob is what insert answers of one job.
type insertedJob struct {
	ID        pawl.ID `json:"id"`
	Duplicate bool    `json:"duplicate"`
}

// insertedJobs is what it answers of many.
type insertedJobs struct {
	Inserted   int64 `json:"inserted"`
	Duplicates int64 `json:"duplicates"`
}

// validated is what a dry run answers.
type validated struct {
	Valid int64 `json:"valid"`
}

func jobInsertCommand(p *program) *cobra.Command {
	var (
		flags   jobFlags
		from    string
		dry     bool
		wait    bool
		timeout time.Duration
	)
	command := &cobra.Command{
		Use:   "insert [KIND [ARGS]]",
		Short: "Insert a job, or many from a file",
		Long: `Insert puts in a job of KIND. ARGS are JSON: as they are, @FILE, or - for standard input.

With --from FILE (- is standard input) it puts in a job for each line, which is a JSON object with names as the flags have, and
kind and args; kind and flags are for what a line leaves out:
  {"kind": "email", "args": {"to": "ann@example.com"}, "queue": "mail", "delay": 90, "unique": {"key": "welcome ann"}}
  names: kind args data (base64) queue channel ordered priority delay run_at max_attempts fingerprint headers reserve
         after_ok after_any after_not_ok hold backoff {base max growth power jitter}
         unique {key period global until_start replace reschedule}
Durations are numbers of seconds, or text such as "7d". Lines go in by batches of --batch-size, each all or none. If one cannot, the
error names the line; batches before it are in, and the error says how many lines that is. Over insert_rate it waits.`,
		Example: `  pawl job insert email '{"to": "ann@example.com"}' --queue mail --delay 1h
  pawl job insert resize --data @cat.png --channel acme --wait
  jq -c '{args: .}' users.json | pawl job insert welcome --from - --queue mail`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			switch {
			case from != "" && (len(args) > 1 || flags.data != ""):
				return usageError{errors.New("--from has the args and data in its lines")}
			case from != "" && wait:
				return usageError{errors.New("--wait is for one job, not for --from")}
			case from == "" && len(args) == 0:
				return usageError{errors.New("no kind: want pawl job insert KIND, or --from FILE")}
			case timeout > 0 && !wait:
				return usageError{errors.New("--timeout is for --wait")}
			case dry && wait:
				return usageError{errors.New("--dry-run inserts nothing to wait for")}
			}
			if err := flags.read(p, args); err != nil {
				return err
			}
			client, err := p.inserter(command.Context(), dry)
			if err != nil {
				return err
			}
			if from != "" {
				return p.insertLines(command.Context(), client, from, &flags.jobSpec, dry)
			}
			spec := flags.spec()
			if dry {
				if err := client.Validate(spec); err != nil {
					return wrongJob(err)
				}
				return p.print(validated{1})
			}
			inserted, err := client.Insert(command.Context(), spec)
			if err != nil {
				return wrongJob(err)
			}
			if !wait {
				return p.print(insertedJob(inserted))
			}
			return p.await(command.Context(), client, inserted.ID, timeout)
		},
	}
	command.Flags().StringVar(&from, "from", "", "insert a job for each line of this file, - is standard input")
	command.Flags().BoolVar(&dry, "dry-run", false, "check, as insert does before it asks the database, and insert nothing")
	command.Flags().BoolVar(&wait, "wait", false, "wait until the job has finished, and print it; exit code 1 if it is not completed")
	command.Flags().Var((*durationValue)(&timeout), "timeout", "longest --wait; 0: as long as it takes")
	p.settingFlags(command, command.Flags(), "batch_size")
	command.Flags().Var((*timeValue)(&flags.RunAt), "run-at", "not before this time")
	command.Flags().Var((*durationValue)(&flags.Reserve), "reserve", "held until a program commits it, and gone if that does not come in time")
	flags.add(command.Flags())
	return command
}

// wrongJob is a mistake in the arguments, without the index of the only job.
func wrongJob(err error) error {
	if invalid, ok := errors.AsType[*pawl.InvalidError](err); ok {
		return usageError{wrongWith(invalid)}
	}
	return err
}

// inserter is a client to insert with; for a dry run one without a database.
func (p *program) inserter(ctx context.Context, dry bool) (*pawl.Client, error) {
	if !dry {
		return p.open(ctx)
	}
	s, err := p.settings()
	if err != nil {
		return nil, err
	}
	log, err := p.logger()
	if err != nil {
		return nil, err
	}
	return pawl.New(nil, s.client(log))
}

// await prints a job when it has finished.
func (p *program) await(ctx context.Context, client *pawl.Client, id pawl.ID, timeout time.Duration) error {
	waiting := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	job, err := client.Await(waiting, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("job %d has not finished in %s; it goes on: see pawl job show %d", id, formatDuration(timeout), id)
	case errors.Is(err, pawl.ErrNotFound):
		return fmt.Errorf("job %d has finished and is not kept: %w", id, err)
	case err != nil:
		return err
	}
	if err := p.printJob(job, pawl.Constraints{}); err != nil {
		return err
	}
	if job.State != pawlstate.Completed {
		return fmt.Errorf("job %d is %s", id, job.State)
	}
	return nil
}

const (
	mostBatchBytes = 16 << 20 // Lines of a batch, so that memory is bounded whatever they hold.
	mostLineBytes  = 1 << 20  // Beside args and data.
)

// insertLines inserts a job for each line of a file.
func (p *program) insertLines(ctx context.Context, client *pawl.Client, name string, base *jobSpec, dry bool) (err error) {
	file, size := p.input(), int64(0)
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
		name = "standard input"
	}
	l := lineReader{from: bufio.NewReaderSize(file, 64<<10), most: mostLineBytes + 3*p.settled.Validation.ArgsBytes}
	read := p.progress
	if size > 0 {
		read = p.progressOfBytes
	}
	bar := read("inserting", size)
	defer bar.end()

	var (
		done   insertedJobs
		before int64 // Lines that are in.
		batch  []pawl.JobSpec
		lines  []int64 // Of the batch's jobs.
		bytes  int64
	)
	// failed names the line, and says what is in.
	failed := func(line int64, err error, rest string) error {
		err = fmt.Errorf("%s:%d: %w", name, line, err)
		if !dry && (before > 0 || rest != "") {
			err = fmt.Errorf("%w\n%s of the lines up to %d are inserted, %s", err, counted(done.Inserted, "job"), before, cmp.Or(rest, "nothing of those after it"))
		}
		return err
	}
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		results, err := insertMany(ctx, client, batch, dry)
		first, last := lines[0], lines[len(lines)-1]
		_, refused := errors.AsType[*pgconn.PgError](err)
		switch invalid, ok := errors.AsType[*pawl.InvalidError](err); {
		case ok:
			return failed(lines[invalid.Index], wrongWith(invalid), "")
		case err != nil && refused && ctx.Err() == nil:
			return failed(first, fmt.Errorf("in the lines up to %d: %w", last, err), "")
		case err != nil: // The answer may have been lost, and nothing else.
			return failed(first, err, fmt.Sprintf("and perhaps those up to %d", last))
		}
		for _, result := range results {
			if result.Duplicate {
				done.Duplicates++
			}
		}
		before = lines[len(lines)-1]
		done.Inserted += int64(len(batch))
		if size > 0 {
			bar.add(bytes)
		} else {
			bar.add(int64(len(batch)))
		}
		batch, lines, bytes = batch[:0], lines[:0], 0
		return nil
	}
	for {
		text, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && len(text) == 0 {
			continue
		}
		var job jobSpec
		if err == nil {
			job, err = base.line(text)
		}
		if err != nil {
			return failed(l.line, err, "")
		}
		batch, lines = append(batch, job.spec()), append(lines, l.line)
		if bytes += int64(len(text)) + 1; len(batch) >= p.settled.BatchSize || bytes >= mostBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	bar.end()
	if dry {
		return p.print(validated{done.Inserted})
	}
	done.Inserted -= done.Duplicates
	return p.print(done)
}

// insertMany inserts a batch, and waits while that is over the rate.
func insertMany(ctx context.Context, client *pawl.Client, batch []pawl.JobSpec, dry bool) ([]pawl.InsertResult, error) {
	if dry {
		return nil, client.Validate(batch...)
	}
	for {
		results, err := client.InsertMany(ctx, batch)
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

// lineReader reads lines without spaces around them.
type lineReader struct {
	from *bufio.Reader
	most int
	line int64 // The number of the last one.
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
