package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// program is one run of pawl: where it reads and writes, what its flags say, and what it has opened.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	configFile string // Flags that are not settings.
	out        string
	yes        bool

	command  *cobra.Command // That runs.
	started  bool           // Its RunE.
	settled  *settings      // Nil: nobody has asked yet.
	log      *slog.Logger
	answer   io.Writer // What --out names.
	closers  []func() error
	streamed stream
}

// firstIsName: an unset variable of a script's must not be every queue.
var firstIsName = regexp.MustCompile(`^\[?(QUEUE|NAME)\b`)

// adopt makes every command below one of this program: it learns which one runs, and a noun without a verb it knows is an error.
func (p *program) adopt(command *cobra.Command) {
	for _, sub := range command.Commands() {
		p.adopt(sub)
	}
	if fits := command.Args; fits != nil {
		command.Args = func(command *cobra.Command, args []string) error {
			if what := strings.Fields(command.Use + " . "); len(args) > 0 && args[0] == "" && firstIsName.MatchString(what[1]) {
				return fmt.Errorf("%s is empty", strings.Trim(what[1], "[.]"))
			}
			err := fits(command, args)
			if err == nil || !strings.Contains(err.Error(), "arg(s)") && !strings.HasPrefix(err.Error(), "unknown command") {
				return err // What cobra says of a number is for programmers.
			}
			form, _, _ := strings.Cut(command.UseLine(), " [flags]")
			return fmt.Errorf("%s given; want: %s", counted(int64(len(args)), "argument"), form)
		}
	}
	if run := command.RunE; run != nil {
		command.RunE = func(command *cobra.Command, args []string) error {
			p.command, p.started = command, true
			return run(command, args)
		}
	} else if command.HasParent() && command.HasSubCommands() {
		command.RunE = func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Help()
			}
			command.SuggestionsMinimumDistance = 2
			hint := ""
			if near := command.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return fmt.Errorf("unknown command %q for %q%s", args[0], command.CommandPath(), hint)
		}
	}
}

// onEnd has something done when the command has ended, the last first.
func (p *program) onEnd(do func() error) { p.closers = append(p.closers, do) }

func (p *program) close(err error) error {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if failed := p.closers[i](); err == nil {
			err = failed
		}
	}
	p.closers = nil
	return err
}

// open connects as the settings say. The client is good until the command ends; whether Pawl is installed is not looked at.
func (p *program) open(ctx context.Context) (*pawl.Client, error) {
	s, err := p.settings()
	if err != nil {
		return nil, err
	}
	log, err := p.logger()
	if err != nil {
		return nil, err
	}
	pool, err := p.connect(ctx, s.DSN)
	if err != nil {
		return nil, err
	}
	return pawl.New(pool, s.client(log))
}

// connect makes a pool that has been seen to reach its database. It is closed when the command ends.
func (p *program) connect(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	s, err := p.settings()
	if err != nil {
		return nil, err
	}
	if dsn == "" && os.Getenv("PGHOST") == "" && os.Getenv("PGDATABASE") == "" && os.Getenv("PGSERVICE") == "" {
		return nil, usageError{errors.New("no database: give --dsn postgres://user@host/database, PAWL_DSN, DATABASE_URL or dsn in " + defaultConfigFile)}
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, usageError{fmt.Errorf("dsn: %w", err)} // Not s.DSN's mistake, which was checked: PG…'s.
	}
	config.MaxConns = int32(s.MaxConnections)
	config.ConnConfig.ConnectTimeout = s.ConnectionTimeout
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = p.command.CommandPath()
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // A transaction pooler may be in between.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	p.onEnd(func() error { pool.Close(); return nil })
	reach, cancel := context.WithTimeout(ctx, s.ConnectionTimeout)
	defer cancel()
	if err := pool.Ping(reach); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%s: no answer within %s (connection_timeout)", net.JoinHostPort(config.ConnConfig.Host, strconv.Itoa(int(config.ConnConfig.Port))),
				formatDuration(s.ConnectionTimeout))
		}
		return nil, unreachableError{err}
	}
	return pool, nil
}

// client is what the settings say of a client.
func (s *settings) client(log *slog.Logger) pawl.Config {
	return pawl.Config{
		Schema: s.Schema, ListenURL: s.ListenDSN, Logger: log, InsertRate: s.InsertRate,
		MaxArgsBytes: s.Validation.ArgsBytes, MaxStringBytes: s.Validation.StringBytes, MaxDepth: s.Validation.Depth,
		ForbiddenKeys: s.Validation.Forbidden, RequiredKeys: s.Validation.Required,
		Defaults: pawl.JobSpec{MaxAttempts: s.MaxAttempts},
	}
}

// logger writes to --log-dest from --log-level on.
func (p *program) logger() (*slog.Logger, error) {
	if p.log != nil {
		return p.log, nil
	}
	s, err := p.settings()
	if err != nil {
		return nil, err
	}
	w := p.stderr
	switch s.LogDest {
	case "stderr":
	case "stdout":
		w = p.stdout
	default:
		file, err := os.OpenFile(s.LogDest, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("log_dest (%s): %w", s.origin["log_dest"], err)
		}
		p.onEnd(file.Close)
		w = file
	}
	p.log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: s.LogLevel}))
	return p.log, nil
}

// input is standard input, where ^C ends the waiting for it.
func (p *program) input() io.Reader { return &interruptible{p.command.Context(), p.stdin} }

type interruptible struct {
	ctx  context.Context
	from io.Reader
}

func (r *interruptible) Read(to []byte) (int, error) {
	type got struct {
		bytes []byte
		err   error
	}
	read := make(chan got, 1)
	go func() {
		bytes := make([]byte, len(to)) // Not to: nobody may wait for it any more.
		n, err := r.from.Read(bytes)
		read <- got{bytes[:n], err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	case got := <-read:
		return copy(to, got.bytes), got.err
	}
}

// output is what --out names: for what is not printed as rows. The file is made when it is first asked for.
func (p *program) output() (io.Writer, error) {
	switch {
	case p.answer != nil:
	case p.out == "stdout" || p.out == "-" || p.out == "":
		p.answer = p.stdout
	default:
		file, err := os.Create(p.out)
		if err != nil {
			return nil, fmt.Errorf("--out: %w", err)
		}
		p.onEnd(file.Close)
		p.answer = file
	}
	return p.answer, nil
}
