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

// A Spool inserts jobs. If the database is away, it keeps them and inserts them later.
//
// Its limits:
//
//   - In memory: if the process ends, all spooled jobs are lost.
//   - In a file: if the disk or the container is lost, so are the spooled jobs. After a crash of the process or the
//     machine they are there, unless the disk does not obey fsync.
//   - A spooled job is not in your transaction. If a job belongs to a change of data, insert it with Client.With, and
//     let both fail.
//   - The file has the args as they are. A Codec of the client encodes them only on their way into the database.
//   - Only this process sees a spooled job: it cannot be run, counted or cancelled. Its Delay counts from this
//     machine's clock.
//   - If a replay is cut short, it is done again. It inserts no job twice within Once of the job's first insert,
//     because each job has a unique key that is kept so long. A later replay may insert jobs twice.
//   - A job cannot have a Unique of its own, and inserts do not share statements: a spool is slower than
//     Client.Insert.
type Spool struct {
	client *pawl.Client
	most   int
	file   *os.File // If nil, the spool is in memory.
	size   int64    // The size of the complete lines.

	mu      sync.Mutex
	waiting []spooled
}

// Once is the time for which a job's key keeps it from being inserted again.
const Once = 7 * 24 * time.Hour

// ErrFull is returned by Insert if the database is away and the spool is full. The job was not kept.
var ErrFull = errors.New("spool: full")

// A spooled job is a line of the file.
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
		Args: pawl.Raw(s.Kind, s.Args), Data: s.Data, Queue: s.Queue, Channel: s.Channel, Priority: s.Priority,
		RunAt:       s.RunAt,
		MaxAttempts: s.MaxAttempts, Backoff: s.Backoff, Fingerprint: s.Fingerprint, Headers: s.Headers,
		Unique: pawl.Unique{Key: s.Key, Period: Once, Global: true},
	}
}

// Open returns a spool of at most so many jobs, in the file at path or, if path is empty, in memory. The jobs that
// the file has from before wait again. Only one process may use a file at a time.
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

// syncFolder makes the name of a new file survive a crash of the machine.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Close closes the file and leaves its jobs in it. Jobs in memory are lost.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Waiting returns the number of spooled jobs.
func (s *Spool) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// Insert inserts a job into the database or, if that is away, into the spool. If it returns nil, the job is in one
// of them. It returns an error if the database or the client refuses the job. ctx bounds how long it tries the
// database first.
func (s *Spool) Insert(ctx context.Context, job pawl.JobSpec) (isSpooled bool, err error) {
	if job.Unique != (pawl.Unique{}) || job.Ordered || job.Reserve != 0 || job.Undo != nil ||
		len(job.AfterOK)+len(job.AfterAny)+len(job.AfterNotOK) > 0 {
		return false, errors.New("spool: a spooled job has no constraints: leave out Unique, Ordered, Reserve and After")
	}
	one, err := keep(job)
	if err != nil {
		return false, err
	}
	job.Unique = one.spec().Unique // Also for the first try, which may succeed and still return an error.
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

// Replay inserts the spooled jobs, oldest first, and returns how many jobs left the spool. If the database is still
// away, it returns the error of that; call it again. Jobs that the database refuses leave the spool too, and are in
// the error.
func (s *Spool) Replay(ctx context.Context) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var refused []error
	for len(s.waiting) > 0 {
		if _, err := s.client.Insert(ctx, s.waiting[0].spec()); err != nil {
			if isAway(err) {
				return n, errors.Join(append(refused, err)...)
			}
			first := s.waiting[0]
			refused = append(refused, fmt.Errorf("spool: %s %s given up: %w", first.Kind, first.Args, err))
		}
		s.waiting = s.waiting[1:]
		n++
	}
	return n, errors.Join(append(refused, s.cut(0))...)
}

// keep returns a job as the spool keeps it, with a key of its own. Its defaults are added at the insert.
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
		Key: "spool:" + rand.Text(), Kind: job.Args.Kind(), Args: args, Data: job.Data, Queue: job.Queue,
		Channel: job.Channel, Priority: job.Priority, RunAt: job.RunAt, MaxAttempts: job.MaxAttempts, Backoff: job.Backoff,
		Fingerprint: job.Fingerprint, Headers: job.Headers,
	}, err
}

// isAway reports whether the database could not be reached, did not answer or was shutting down. Refusals by the
// server, the client, middleware or a codec are not an outage, nor is a caller whose context was cancelled.
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

// read reads the file. A last line without its end was being written during a crash, and its Insert has not returned.
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

// write appends a job to the file and syncs it.
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
		return errors.Join(err, s.cut(s.size)) // The caller learns that the job was not kept.
	}
	s.size += int64(len(line))
	return nil
}

// cut truncates the file to so many bytes.
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
