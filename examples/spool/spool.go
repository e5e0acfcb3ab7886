package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
)

// Spool inserts jobs, and keeps those the database cannot take now, to insert them when it can.
//
// What it can lose, and what it cannot do:
//
//   - In memory: all that is spooled, when the process ends, however it ends.
//   - In a file: what is spooled, when the disk or the container with it is gone. After a crash of the process or the machine it is
//     there, unless the disk lies about fsync.
//   - A spooled job is not in your transaction: what you do in the database meanwhile fails, the job does not. Where a job belongs to a
//     change of data insert it with Client.With, and let both fail.
//   - The file has args as they are: a Codec of the client encodes them only on their way into the database.
//   - Nobody but this process sees a spooled job: not to run it, count it or cancel it. Its Delay counts from this machine's clock.
//   - A replay that was cut short is done again, and inserts nothing twice as long as that happens within Once of the job's first
//     insert: each job has a unique key, kept so long even when the job is done. A spool left lying for longer may insert twice.
//   - For that key the job cannot have a Unique of its own, and inserts do not share statements: a spool is slower than Client.Insert.
type Spool struct {
	client *pawl.Client
	most   int
	file   *os.File // nil: in memory.
	size   int64    // Of what is written whole.

	mu      sync.Mutex
	waiting []spooled
}

// Once is how long a job's key keeps it from being inserted again.
const Once = 7 * 24 * time.Hour

// ErrFull: the database is away, and the spool holds as many jobs as it may. The job is nowhere.
var ErrFull = errors.New("spool: full")

// spooled is a job as it is kept, a line of the file.
type spooled struct {
	Key         string            `json:"key"`
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args,omitempty"`
	Data        []byte            `json:"data,omitempty"`
	Queue       string            `json:"queue,omitempty"`
	Channel     string            `json:"channel,omitempty"`
	Priority    int               `json:"priority,omitempty"`
	RunAt       time.Time         `json:"run_at,omitzero"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Backoff     pawl.Backoff      `json:"backoff,omitzero"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
}

func (s spooled) spec() pawl.JobSpec {
	return pawl.JobSpec{
		Args: pawl.Raw(s.Kind, s.Args), Data: s.Data, Queue: s.Queue, Channel: s.Channel, Priority: s.Priority, RunAt: s.RunAt,
		MaxAttempts: s.MaxAttempts, Backoff: s.Backoff, Fingerprint: s.Fingerprint, Headers: s.Headers,
		Unique: pawl.Unique{Key: s.Key, Period: Once, Global: true},
	}
}

// Open makes a spool of at most so many jobs, in the file at path or, if that is empty, in memory. What a file holds from before is
// waiting again. A file is for one process at a time.
func Open(client *pawl.Client, path string, most int) (*Spool, error) {
	s := &Spool{client: client, most: most}
	if path == "" {
		return s, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s.file = file
	if err := errors.Join(s.read(), syncFolder(filepath.Dir(path))); err != nil {
		file.Close()
		return nil, fmt.Errorf("spool: read %s: %w", path, err)
	}
	return s, nil
}

// syncFolder makes a new file's name survive a crash of the machine.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Close closes the file; what it holds stays. What waits in memory is lost.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Waiting is how many jobs are spooled.
func (s *Spool) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// Insert puts a job into the database or, if that is away, into the spool; it is in one of them when the error is nil. What
// the database or the client refuses is refused here too. How long it tries the database first is ctx's matter.
func (s *Spool) Insert(ctx context.Context, job pawl.JobSpec) (isSpooled bool, err error) {
	if job.Unique != (pawl.Unique{}) || job.Ordered || job.Reserve != 0 || len(job.AfterOK)+len(job.AfterAny)+len(job.AfterNotOK) > 0 {
		return false, errors.New("spool: a spooled job has no ties: leave out Unique, Ordered, Reserve and After")
	}
	one, err := keep(job)
	if err != nil {
		return false, err
	}
	job.Unique = one.spec().Unique // Now already: an insert whose answer is lost may have been carried out.
	if _, err = s.client.Insert(ctx, job); err == nil || !isAway(err) {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= s.most {
		return false, fmt.Errorf("%w of %d jobs, and the database is away: %w", ErrFull, s.most, err)
	}
	if err := s.write(one); err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	s.waiting = append(s.waiting, one)
	return true, nil
}

// Replay inserts what is spooled, oldest first, and says how many jobs are out of the spool. If the database is still away it
// returns why; call it again. Jobs that the database refuses are out too, and in the error.
func (s *Spool) Replay(ctx context.Context) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var refused []error
	for len(s.waiting) > 0 {
		if _, err := s.client.Insert(ctx, s.waiting[0].spec()); err != nil {
			if isAway(err) {
				return n, errors.Join(append(refused, err)...)
			}
			refused = append(refused, fmt.Errorf("spool: %s %s given up: %w", s.waiting[0].Kind, s.waiting[0].Args, err))
		}
		s.waiting = s.waiting[1:]
		n++
	}
	return n, errors.Join(append(refused, s.cut(0))...)
}

// keep is a job as the spool keeps it, with a key of its own. Defaults are added when it is inserted.
func keep(job pawl.JobSpec) (spooled, error) {
	if job.Args == nil {
		return spooled{}, errors.New("spool: the job has no Args")
	}
	args, err := json.Marshal(job.Args)
	if raw, ok := job.Args.(pawl.RawArgs); ok {
		args, err = raw.JSON, nil
	}
	if job.Delay > 0 {
		job.RunAt = time.Now().Add(job.Delay)
	}
	return spooled{
		Key: "spool:" + rand.Text(), Kind: job.Args.Kind(), Args: args, Data: job.Data, Queue: job.Queue, Channel: job.Channel, Priority: job.Priority,
		RunAt: job.RunAt, MaxAttempts: job.MaxAttempts, Backoff: job.Backoff, Fingerprint: job.Fingerprint, Headers: job.Headers,
	}, err
}

// isAway says whether the database could not be reached, did not answer or was going. Nothing else is an outage: not what the server,
// the client, a middleware or a codec refuses, and not a caller that does not want the job any more.
func isAway(err error) bool {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch server.Code[:2] {
		case "08", "53", "57", "58": // Connection, resources, operator, system.
			return true
		}
		return server.Code == "25006" // Read only: a replica, after a failover.
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	return connecting || network || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// read takes in the file. A last line without its end was being written in a crash: its Insert has not returned.
func (s *Spool) read() error {
	lines := bufio.NewReader(s.file)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return s.cut(s.size)
		}
		if err != nil {
			return err
		}
		var one spooled
		if err := json.Unmarshal(bytes.TrimSpace(line), &one); err != nil || !strings.HasPrefix(one.Key, "spool:") {
			return fmt.Errorf("line %d is not a spooled job: mend or remove it", len(s.waiting)+1)
		}
		s.waiting = append(s.waiting, one)
		s.size += int64(len(line))
	}
}

// write appends a job to the file, synced.
func (s *Spool) write(one spooled) error {
	if s.file == nil {
		return nil
	}
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err = s.file.WriteAt(line, s.size); err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.cut(s.size)) // The caller is told that the job is nowhere.
	}
	s.size += int64(len(line))
	return nil
}

// cut leaves so many bytes of the file.
func (s *Spool) cut(size int64) error {
	if s.file == nil {
		return nil
	}
	if err := s.file.Truncate(size); err != nil {
		return err
	}
	s.size = size
	return s.file.Sync()
}
