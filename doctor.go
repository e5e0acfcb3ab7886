package pawl

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/sql"
)

// Doctor looks for what slows or endangers this installation, or stops it: who holds back vacuum and since when, queues nobody serves,
// chores nobody does, workers of several versions, settings that lose data, a pooler where LISTEN should be. docs/doctor.md lists it all.
// It changes nothing, reads no table whole, and takes a second or two; a lock that somebody holds makes it no slower. A healthy installation
// has no finding. What this role may not see is a finding, too. Whether the rows are whole is for Verify.
func (c *Client) Doctor(ctx context.Context) ([]Finding, error) {
	return c.doctor(ctx, concerns{
		late: 5 * time.Minute, locked: 10 * time.Second, transactions: 1_000_000, bloat: 64 << 20, archive: 50 << 30, now: time.Now,
	})
}

// concerns is from where on Doctor speaks.
type concerns struct {
	late         time.Duration // Old transactions, and jobs that are due.
	locked       time.Duration // Locks on whole tables.
	transactions int64         // The age of a horizon that nothing tells the time of.
	bloat        int64         // Bytes of a table or index.
	archive      int64         // Bytes of all of it.
	now          func() time.Time
}

const (
	skew            = 5 * time.Second // Of clocks.
	doctorPatience  = "1s"            // For a table that somebody has locked.
	doctorStatement = "10s"
	doctorHearing   = 5 * time.Second // For a connection, and for a notification.
)

func (c *Client) doctor(ctx context.Context, worry concerns) ([]Finding, error) {
	if err := c.requirePool("Doctor"); err != nil {
		return nil, err
	}
	late := interval(worry.late)
	checks := []struct {
		name string
		look func(context.Context) ([]Finding, error)
	}{
		{"lock", c.asking("lock", interval(worry.locked))}, {"schema", c.examineSchema}, {"queue", c.asking("queue", late)}, {"halted_channel", c.asking("halted_channel")},
		{"overdue", c.asking("overdue")}, {"worker", c.asking("worker")}, {"xmin", c.asking("xmin", late, worry.transactions)},
		{"autovacuum", c.asking("autovacuum")}, {"dead", c.asking("dead", interval(3*worry.late))}, {"bloat", c.asking("bloat", worry.bloat)},
		{"archive", c.asking("archive", worry.archive)}, {"durability", c.asking("durability")}, {"setting", c.asking("setting")},
		{"connection", c.asking("connection")}, {"sequence", c.asking("sequence")}, {"wraparound", c.asking("wraparound")}, {"privilege", c.asking("privilege")},
		{"clock", func(ctx context.Context) ([]Finding, error) { return c.examineClock(ctx, worry.now) }}, {"listen", c.examineListen},
	}
	var findings []Finding
	var reasons []string
	blind := map[string][]string{} // By reason, the checks that could not look.
	for _, check := range checks {
		found, err := check.look(ctx)
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && ctx.Err() == nil && !strings.HasPrefix(refused.Code, "57P") {
			if blind[refused.Message] == nil {
				reasons = append(reasons, refused.Message)
			}
			blind[refused.Message] = append(blind[refused.Message], check.name)
			continue
		}
		if errors.Is(err, errNotInstalled) {
			return append(findings, found...), nil
		}
		if err != nil {
			return nil, fmt.Errorf("pawl: doctor: %s: %w", check.name, err)
		}
		findings = append(findings, found...)
	}
	for _, reason := range reasons {
		findings = append(findings, Finding{Check: "unseen", Problem: fmt.Sprintf("could not look at %s: %s", strings.Join(blind[reason], ", "), reason),
			Remedy: "see to the findings above; a role that looks at everything has pg_read_all_data and pg_read_all_stats"})
	}
	return findings, nil
}

// asking is a check that is a statement: query/doctor/name.sql, a finding a row.
func (c *Client) asking(name string, args ...any) func(context.Context) ([]Finding, error) {
	return func(ctx context.Context) (findings []Finding, err error) {
		err = c.reading(ctx, doctorPatience, func(c *Client) error {
			if err := c.query(ctx, "select set_config('statement_timeout', $1::text, true)", []any{doctorStatement}, nil); err != nil {
				return err
			}
			return c.query(ctx, sql.Query("doctor/"+name), args, func(s scanner) error {
				f := Finding{Check: name}
				err := s.Scan(&f.Problem, &f.Remedy, &f.Fatal)
				findings = append(findings, f)
				return err
			})
		})
		return findings, err
	}
}

var errNotInstalled = errors.New("not installed")

// examineSchema is what Verify finds of version, indexes, partitions and rights; of the rest that something is wrong; and settings of
// tables that were changed.
func (c *Client) examineSchema(ctx context.Context) (findings []Finding, err error) {
	err = c.reading(ctx, doctorPatience, func(c *Client) error {
		differences, version, _, err := c.compare(ctx)
		switch {
		case err != nil:
			return err
		case version == 0:
			findings = append(findings, c.absent())
			return errNotInstalled
		case version > c.source.Version():
			findings = append(findings, Finding{Check: "schema", Problem: fmt.Sprintf("the schema is at version %d, newer than this binary's %d", version, c.source.Version()),
				Remedy: "fine while a fleet is renewed; then install the newer binary here"})
		}
		for _, d := range differences {
			if d.Kind == "setting" {
				findings = append(findings, c.changedSettings(d)...)
			}
		}
		flaws, whole, err := c.structure(ctx)
		if err != nil {
			return err
		}
		var others []string
		for _, f := range flaws {
			switch f.Check {
			case "schema", "index", "privilege":
				findings = append(findings, f.Finding)
			case "unseen":
			default:
				others = append(others, f.Problem)
			}
		}
		if len(others) > 0 {
			findings = append(findings, Finding{Check: "schema", Problem: some(others), Remedy: "pawl verify", Fatal: true})
		}
		if !whole {
			return nil
		}
		partitions, err := c.partitions(ctx)
		for _, f := range partitions {
			findings = append(findings, f.Finding)
		}
		return err
	})
	return findings, err
}

// changedSettings is about how a table is stored and vacuumed.
func (c *Client) changedSettings(d migrate.Difference) []Finding {
	parse := func(settings string) map[string]string {
		m := map[string]string{}
		for setting := range strings.SplitSeq(settings, ", ") {
			if name, value, ok := strings.Cut(setting, "="); ok {
				m[name] = value
			}
		}
		delete(m, "autovacuum_enabled") // Another check's.
		return m
	}
	want, have := parse(d.Want), parse(d.Have)
	var said, set, reset []string
	for name, value := range want {
		if have[name] != value {
			said = append(said, fmt.Sprintf("%s is %s, not %s", name, cmp.Or(have[name], "not set"), value))
			set = append(set, name+" = "+value)
		}
	}
	for name, value := range have {
		if _, ok := want[name]; !ok {
			said = append(said, fmt.Sprintf("%s is %s, and should not be set", name, value))
			reset = append(reset, name)
		}
	}
	if len(said) == 0 {
		return nil
	}
	slices.Sort(said)
	slices.Sort(set)
	slices.Sort(reset)
	var actions []string
	if len(set) > 0 {
		actions = append(actions, "set ("+strings.Join(set, ", ")+")")
	}
	if len(reset) > 0 {
		actions = append(actions, "reset ("+strings.Join(reset, ", ")+")")
	}
	return []Finding{{Check: "autovacuum", Problem: fmt.Sprintf("table %s is not stored and vacuumed as it should be: %s", d.Name, strings.Join(said, "; ")),
		Remedy: c.into("alter table pawl.%s %s", d.Name, strings.Join(actions, ", "))}}
}

// examineClock compares the clocks. Only this process's is looked at: workers tell no times of their own.
func (c *Client) examineClock(ctx context.Context, now func() time.Time) ([]Finding, error) {
	var there time.Time
	before := now()
	if err := c.row(ctx, "select clock_timestamp()", nil, &there); err != nil {
		return nil, err
	}
	after := now()
	ahead := before.Add(after.Sub(before) / 2).Sub(there).Round(time.Millisecond)
	if ahead.Abs() <= skew+after.Sub(before) {
		return nil, nil
	}
	how := "ahead of"
	if ahead < 0 {
		how = "behind"
	}
	return []Finding{{Check: "clock", Problem: fmt.Sprintf("the clock of this machine is %v %s the database's: a time this program writes down (RunAt, CreatedBefore) means another there",
		ahead.Abs(), how), Remedy: "let both machines keep time: timedatectl set-ntp true"}}, nil
}

// examineListen tries LISTEN as runners and Await use it: on a connection of its own, notified from another.
func (c *Client) examineListen(ctx context.Context) ([]Finding, error) {
	const slow = "runners look once in a PollInterval, and hear of a cancelled job with the next heartbeat"
	which := "the pool's database"
	if c.config.ListenURL != "" {
		which = "Config.ListenURL"
	}
	hearing, cancel := context.WithTimeout(ctx, doctorHearing)
	defer cancel()
	fails := func(err error) ([]Finding, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return []Finding{{Check: "listen", Problem: fmt.Sprintf("LISTEN does not work over %s: %v; %s", which, err, slow),
			Remedy: "set Config.ListenURL to a URL that leads to the server itself, and see whether it admits this role"}}, nil
	}
	session, err := pg.Connect(hearing, c.pool, c.config.ListenURL)
	if err != nil {
		return fails(err)
	}
	defer session.Close(ctx)
	if session.Pooled && c.config.ListenURL == "" {
		return []Finding{{Check: "pooler", Problem: "a pooler is between this client and the server: no LISTEN; " + slow,
			Remedy: "set Config.ListenURL to a URL that leads to the server itself; only runners and Await use it, one connection each"}}, nil
	}
	channel := "pawl doctor " + rand.Text()
	if err := session.Listen(hearing, channel); err != nil {
		return fails(err)
	}
	if err := c.query(ctx, "select pg_notify($1::text, '')", []any{channel}, nil); err != nil {
		return nil, err
	}
	_, err = session.WaitForNotification(hearing)
	switch {
	case err == nil:
		return nil, nil
	case session.Pooled:
		return fails(pg.ErrPooled)
	default:
		return fails(errors.New("a notification of the pool's did not come: it leads to another server, or to another database"))
	}
}
