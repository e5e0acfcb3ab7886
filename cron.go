package pawl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/internal/cronspec"
	"github.com/pawlhq/pawl/internal/pg"
)

// A Cron is a schedule that is stored in the database. A tick is a time at which the schedule inserts a job.
//
// Every process that calls [Client.Run] or [Client.Maintain] inserts the jobs of due ticks. One transaction inserts
// the job and stores the next tick. Therefore each tick becomes at most one job, and no tick is lost when a process
// dies. docs/cron.md has the rules and limits.
//
// A job's RunAt is its tick plus Delay and Jitter. The job's header "cron" has the cron's name. Its header "tick" has
// the tick in UTC in the format of RFC 3339.
type Cron struct {
	// Name identifies the cron. It has 1 to 255 bytes.
	Name string

	// Spec is the schedule. It has five fields: minute, hour, day of month, month and day of week. Six fields begin with
	// seconds. A macro such as @daily or @every 90s is also valid.
	Spec string

	// Zone names the time zone of Spec, as in the time zone database: "Europe/Berlin". It defaults to UTC.
	Zone string

	// Job is the job that each tick inserts. PutCron encodes its Args and fills in its defaults. RunAt and Reserve must
	// be zero.
	Job JobSpec

	// Jitter delays each job by a random time up to Jitter, at most 365 days.
	Jitter time.Duration

	// CatchUp is the number of missed ticks to insert, from 0 to 1000: 0 inserts none, 1 inserts the latest.
	CatchUp int

	// Version protects a cron from older programs: PutCron does nothing if the stored Version is higher.
	Version int

	// Paused reports whether the cron is paused. PutCron ignores Paused, LastAt and NextAt.
	Paused bool

	// LastAt is the last tick that inserted a job. It is zero if there is none.
	LastAt time.Time

	// NextAt is the next tick.
	NextAt time.Time
}

const (
	maxCatchUp = 1000
	maxJitter  = 365 * 24 * time.Hour

	headerCron = "cron"
	headerTick = "tick"
)

// Next returns the first n ticks after from, in the cron's zone. Next needs no database. The ticks of an @every spec
// are counted from from; those of a stored cron are counted from its last tick. Next returns an error if the spec or
// the zone is invalid. If a tick would be after the year 9999, it returns an error and the ticks before that one.
func (c Cron) Next(from time.Time, n int) ([]time.Time, error) {
	schedule, err := cronspec.ParseSchedule(c.Spec, c.Zone)
	if err != nil {
		return nil, fmt.Errorf("pawl: next ticks of cron %.50q: %w", c.Name, err)
	}
	var ticks []time.Time
	for range n {
		if from, err = schedule.Next(from); err != nil {
			return ticks, fmt.Errorf("pawl: next ticks of cron %.50q: %w", c.Name, err)
		}
		ticks = append(ticks, from)
	}
	return ticks, nil
}

// PutCron stores crons by name, all or none. A cron replaces the stored cron of the same name, unless the stored one
// has a higher Version. It keeps the stored Paused and LastAt. It also keeps NextAt unless Spec or Zone has changed.
// Otherwise its next tick is the first one after the database's current time.
//
// If a cron is invalid, PutCron returns an error that names the field. For a field of Job, the error is an
// [*InvalidError] whose Index is the index of the cron.
func (c *Client) PutCron(ctx context.Context, crons ...Cron) error {
	if len(crons) == 0 {
		return nil
	}
	n := len(crons)
	var (
		names, specs, zones = make([]string, n), make([]string, n), make([]string, n)
		jobs, jitters       = make([]string, n), make([]string, n)
		catchUps, versions  = make([]int32, n), make([]int32, n)
		schedules, nextAts  = make([]cronspec.Schedule, n), make([]time.Time, n)
		seen                = map[string]bool{}
	)
	for i := range crons {
		cron := &crons[i]
		job, schedule, err := c.prepareCron(i, cron)
		if err == nil && seen[cron.Name] {
			err = errors.New("the name is given twice: give each cron a name of its own")
		}
		if err != nil {
			return fmt.Errorf("pawl: put cron %.50q: %w", cron.Name, err)
		}
		seen[cron.Name] = true
		names[i], specs[i], zones[i] = cron.Name, cron.Spec, cmp.Or(cron.Zone, "UTC")
		jobs[i], jitters[i], schedules[i] = job, pg.Interval(cron.Jitter), schedule
		catchUps[i], versions[i] = int32(cron.CatchUp), int32(cron.Version)
	}
	var now time.Time
	if err := c.row(ctx, "select clock_timestamp()", nil, &now); err != nil {
		return fmt.Errorf("pawl: put crons: %w", err)
	}
	for i, schedule := range schedules {
		var err error
		if nextAts[i], err = schedule.Next(now); err != nil {
			return fmt.Errorf("pawl: put cron %q: %w", names[i], err)
		}
	}
	err := c.query(ctx, `select pawl.put_cron($1::text[], $2::text[], $3::text[], $4::text[],
			$5::text[]::interval[], $6::integer[], $7::integer[], $8::timestamptz[])`,
		[]any{names, specs, zones, jobs, jitters, catchUps, versions, nextAts}, nil)
	if err != nil {
		return fmt.Errorf("pawl: put crons: %w", err)
	}
	return nil
}

// prepareCron checks a cron and returns its job as JSON and its schedule. index is the cron's in PutCron.
func (c *Client) prepareCron(index int, cron *Cron) (job string, schedule cronspec.Schedule, err error) {
	if err := cron.check(); err != nil {
		return "", schedule, err
	}
	if schedule, err = cronspec.ParseSchedule(cron.Spec, cron.Zone); err != nil {
		return "", schedule, err
	}
	r, err := c.prepare(index, &cron.Job)
	switch {
	case err != nil:
		return "", schedule, err
	case cron.Job.Reserve != 0:
		return "", schedule, &InvalidError{
			Index: index, Field: "Reserve", Reason: "is set; the jobs of a cron cannot be reserved: leave it zero",
		}
	case r.runAt != nil:
		return "", schedule, &InvalidError{
			Index: index, Field: "RunAt", Reason: "is set; the jobs of a cron are due at its ticks: use Delay for later",
		}
	}
	stored, err := r.cronJob()
	if err != nil {
		return "", schedule, err
	}
	b, err := json.Marshal(stored)
	return string(b), schedule, err
}

func (c *Cron) check() error {
	switch {
	case c.Name == "" || len(c.Name) > maxName:
		return fmt.Errorf("the name has %d bytes: want 1 to %d", len(c.Name), maxName)
	case !utf8.ValidString(c.Name):
		return errors.New("the name is not valid UTF-8")
	case strings.ContainsRune(c.Name, 0):
		return errors.New("the name contains a zero byte, which PostgreSQL's text cannot hold")
	case c.Jitter < 0 || c.Jitter > maxJitter:
		return fmt.Errorf("field Jitter is %v: want 0 to %v", c.Jitter, maxJitter)
	case c.CatchUp < 0 || c.CatchUp > maxCatchUp:
		return fmt.Errorf("field CatchUp is %d: want 0 to %d", c.CatchUp, maxCatchUp)
	case c.Version < 0 || c.Version > math.MaxInt32:
		return fmt.Errorf("field Version is %d: want 0 to %d", c.Version, math.MaxInt32)
	}
	return nil
}

// Crons returns all crons, sorted by name. If the job of a cron cannot be decoded, its Job is empty and the error is
// logged: a newer binary may have put it.
func (c *Client) Crons(ctx context.Context) ([]Cron, error) {
	var crons []Cron
	err := c.query(ctx, `select name, spec, zone, job::text, extract(epoch from jitter)::double precision,
			catch_up, version, paused, case when isfinite(last_at) then last_at end,
			greatest('0001-01-01 00:00:00+00', least('9999-12-31 00:00:00+00', next_at))
		from pawl.cron order by name`, nil, func(s scanner) error {
		cron, err := c.scanCron(s)
		crons = append(crons, cron)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: list crons: %w", err)
	}
	return crons, nil
}

// scanCron reads a row of the statement of Crons.
func (c *Client) scanCron(s scanner) (cron Cron, err error) {
	var job string
	var jitter float64
	var last *time.Time
	if err := s.Scan(&cron.Name, &cron.Spec, &cron.Zone, &job, &jitter,
		&cron.CatchUp, &cron.Version, &cron.Paused, &last, &cron.NextAt); err != nil {
		return cron, err
	}
	// The database keeps microseconds, which a float of seconds only holds after rounding.
	cron.Jitter, cron.LastAt = seconds(jitter).Round(time.Microsecond), valueOrZero(last)
	var j cronJob
	if err = json.Unmarshal([]byte(job), &j); err == nil {
		decoded := JobInfo{Kind: j.Kind, Args: j.Args}
		err = c.decode(&decoded)
		j.Args = decoded.Args
	}
	if err != nil {
		c.config.Logger.Warn("pawl: list crons: the job of a cron cannot be decoded", "cron", cron.Name, "error", err)
		return cron, nil
	}
	cron.Job = j.spec()
	return cron, nil
}

// PauseCron stops a cron until [Client.ResumeCron]. Jobs that it has inserted stay. Ticks during the pause do not
// count as missed: CatchUp does not insert them. PauseCron returns [ErrNotFound] if there is no cron of this name.
func (c *Client) PauseCron(ctx context.Context, name string) error {
	return c.cronRow(ctx, "pause", name,
		"update pawl.cron set paused = true where name = $1::text returning true", new(bool))
}

// ResumeCron resumes a paused cron. Its next tick is the first one after the database's current time. If the cron is
// not paused, ResumeCron does nothing. ResumeCron returns [ErrNotFound] if there is no cron of this name.
func (c *Client) ResumeCron(ctx context.Context, name string) error {
	for {
		resumed, err := c.resumeCron(ctx, name)
		if err != nil || resumed {
			return err
		}
	}
}

// resumeCron resumes a cron. It returns false if another client changed the cron meanwhile.
func (c *Client) resumeCron(ctx context.Context, name string) (resumed bool, err error) {
	var spec, zone string
	var paused bool
	var now time.Time
	err = c.cronRow(ctx, "resume", name,
		"select spec, zone, paused, clock_timestamp() from pawl.cron where name = $1::text", &spec, &zone, &paused, &now)
	if err != nil || !paused {
		return true, err
	}
	schedule, err := cronspec.ParseSchedule(spec, zone)
	var next time.Time
	if err == nil {
		next, err = schedule.Next(now)
	}
	if err == nil {
		err = c.row(ctx, `update pawl.cron set paused = false, next_at = $4::timestamptz
			where name = $1::text and spec = $2::text and zone = $3::text and paused returning true`,
			[]any{name, spec, zone, next}, &resumed)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("pawl: resume cron %.50q: %w", name, err)
	}
	return true, nil
}

// DeleteCron deletes a cron. Jobs that it inserted stay. DeleteCron returns [ErrNotFound] if there is no cron of this
// name.
func (c *Client) DeleteCron(ctx context.Context, name string) error {
	return c.cronRow(ctx, "delete", name, "delete from pawl.cron where name = $1::text returning true", new(bool))
}

// RunCron inserts a cron's job now, even if the cron is paused. It does not change NextAt or LastAt. The job's header
// "tick" has the database's current time. RunCron returns [ErrNotFound] if there is no cron of this name.
func (c *Client) RunCron(ctx context.Context, name string) (InsertResult, error) {
	var job string
	var now time.Time
	err := c.cronRow(ctx, "run", name,
		"select job::text, clock_timestamp() from pawl.cron where name = $1::text", &job, &now)
	if err != nil {
		return InsertResult{}, err
	}
	var j cronJob
	var r insertRow
	var results []InsertResult
	if err = json.Unmarshal([]byte(job), &j); err == nil {
		r, err = j.row(name, now, nil)
	}
	if err == nil {
		results, err = c.insertResolved(ctx, []insertRow{r})
	}
	if err != nil {
		return InsertResult{}, fmt.Errorf("pawl: run cron %.50q: %w", name, err)
	}
	return results[0], nil
}

// cronRow runs a statement about one cron, whose name is $1.
func (c *Client) cronRow(ctx context.Context, verb, name, text string, dest ...any) error {
	if err := c.row(ctx, text, []any{name}, dest...); err != nil {
		return fmt.Errorf("pawl: %s cron %.50q: %w", verb, name, err)
	}
	return nil
}

// A takenCron is a cron that is due and that this process has locked to tick.
type takenCron struct {
	name, spec, zone string
	job              string // JSON of a cronJob.
	jitter           float64
	catchUp          int
	last             *time.Time // The last tick that became a job; nil if none did.
	expected         time.Time  // The tick that was due.
	now              time.Time  // The database's time.
}

// errCannotRead is the error of a cron that this binary cannot read.
var errCannotRead = errors.New("unreadable")

// jobs returns the rows to insert for the due ticks, the last of these ticks, and the next tick. If there are no
// rows, last is nil: the tick was missed. Its error is errCannotRead if the cron's spec, zone or job cannot be read;
// a newer binary may have put it.
func (t *takenCron) jobs() (rows []insertRow, last *time.Time, next time.Time, err error) {
	schedule, err := cronspec.ParseSchedule(t.spec, t.zone)
	var job cronJob
	if err == nil {
		err = json.Unmarshal([]byte(t.job), &job)
	}
	if err != nil {
		return nil, nil, next, fmt.Errorf("%w: %w", errCannotRead, err)
	}
	ticks, next, err := schedule.Due(t.expected, valueOrZero(t.last), t.now, t.catchUp)
	if err != nil {
		return nil, nil, next, err
	}
	for i := range ticks {
		runAt := ticks[i].Add(job.delay() + time.Duration(rand.Float64()*t.jitter*float64(time.Second)))
		row, err := job.row(t.name, ticks[i], &runAt)
		if err != nil {
			return nil, nil, next, err
		}
		rows, last = append(rows, row), &ticks[i]
	}
	return rows, last, next, nil
}
