package pawl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/internal/cronspec"
)

// Cron is a schedule kept in the database: each tick of it becomes one job, by whichever process sees first that it is due (every
// Run and Tend looks). The job is inserted in the transaction that moves the schedule on, so a tick is never inserted twice and none is lost
// with a process. Rules and limits: docs/cron.md.
//
// The job's RunAt is the tick (with Delay and Jitter added), and its headers say "cron", the name, and "tick", the time in UTC as in
// RFC 3339.
type Cron struct {
	Name    string        // At most 255 bytes.
	Spec    string        // Five fields, six with seconds first, @daily and the like, or @every 90s.
	Zone    string        // As in the time zone database: "Europe/Berlin". If zero, UTC.
	Job     JobSpec       // Args are marshalled and defaults applied by PutCron. RunAt must be zero.
	Jitter  time.Duration // Each job is due at random within so much after its tick.
	CatchUp int           // Missed ticks to insert: 0 none, 1 the latest, n at most n; up to 1,000.
	Version int           // PutCron of a lower Version changes nothing.
	Paused  bool          // Read only, as are the next two.
	LastAt  time.Time     // The last tick that became a job; zero: none yet.
	NextAt  time.Time
}

const (
	maxCatchUp = 1000

	// A tick is missed when it is found later than this, or than cronStutter if a later one is due too.
	cronGrace   = time.Minute
	cronStutter = 10 * time.Second

	headerCron = "cron"
	headerTick = "tick"
)

// Next are the first n ticks after from, in the cron's zone. An @every spec counts from `from`; a cron in the database, from its last tick.
func (c Cron) Next(from time.Time, n int) ([]time.Time, error) {
	t, err := readCron(c.Spec, c.Zone)
	if err != nil {
		return nil, fmt.Errorf("pawl: cron %q: %w", c.Name, err)
	}
	var ticks []time.Time
	for range n {
		if from = t.spec.Next(from, t.zone); from.IsZero() {
			return ticks, fmt.Errorf("pawl: cron %q: no tick is known after the year 9999", c.Name)
		}
		ticks = append(ticks, from)
	}
	return ticks, nil
}

// timetable is when a cron ticks.
type timetable struct {
	spec *cronspec.Spec
	zone *time.Location
}

func readCron(spec, zone string) (t timetable, err error) {
	if t.spec, err = cronspec.Parse(spec); err != nil {
		return t, err
	}
	if zone == "Local" {
		return t, errors.New(`zone "Local" differs from machine to machine; want a name like Europe/Berlin`)
	}
	if t.zone, err = time.LoadLocation(zone); err != nil {
		return t, fmt.Errorf("%w (a machine without a time zone database needs the import of time/tzdata)", err)
	}
	return t, nil
}

// after is the first tick after a moment.
func (t timetable) after(moment time.Time) (time.Time, error) {
	next := t.spec.Next(moment, t.zone)
	if next.IsZero() {
		return next, fmt.Errorf("no tick is known after %v", moment)
	}
	return next, nil
}

// due are the ticks to insert at a moment, oldest first, and the one to wait for then. The tick that was waited for counts even if
// the spec has it no more: the zone's rules may have changed, or somebody moved it.
func (t timetable) due(waited, last, moment time.Time, catchUp int) (ticks []time.Time, next time.Time, err error) {
	most := max(catchUp, int(cronStutter/time.Second)+1)
	ticks = t.spec.Last(waited, moment, most, t.zone)
	if len(ticks) < most {
		ticks = append([]time.Time{waited}, ticks...)
	}
	if next, err = t.after(ticks[len(ticks)-1]); err != nil {
		return nil, next, err
	}
	kept := ticks[:0]
	for i, tick := range ticks {
		late, later := moment.Sub(tick), len(ticks)-1-i
		switch {
		case !last.IsZero() && !tick.After(last) && !last.After(moment): // Inserted before the spec was changed.
		case later < catchUp, late <= cronStutter, later == 0 && late <= cronGrace:
			kept = append(kept, tick)
		}
	}
	return kept, next, nil
}

// cronJob is a JobSpec as stored, resolved.
type cronJob struct {
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args,omitempty"`
	Data        []byte            `json:"data,omitempty"`
	Queue       string            `json:"queue"`
	Channel     string            `json:"channel,omitempty"`
	Priority    int16             `json:"priority,omitempty"`
	Delay       float64           `json:"delay,omitempty"` // Seconds.
	MaxAttempts *int16            `json:"max_attempts,omitempty"`
	Backoff     *storedBackoff    `json:"backoff,omitempty"`
	Fingerprint *string           `json:"fingerprint,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Constraints *constraintSpec   `json:"constraints,omitempty"`
	Global      bool              `json:"global,omitempty"`
	UntilStart  bool              `json:"until_start,omitempty"`
}

func (r insertRow) cronJob() (cronJob, error) {
	j := cronJob{
		Kind: r.kind, Data: r.data, Queue: r.queue, Channel: r.channel, Priority: r.priority, MaxAttempts: r.attempts, Fingerprint: r.fingerprint,
		Constraints: r.constraints,
	}
	if r.args != nil {
		j.Args = json.RawMessage(*r.args)
	}
	if r.delay != nil {
		j.Delay = *r.delay
	}
	if r.opts != nil {
		var o jobOptions
		if err := json.Unmarshal([]byte(*r.opts), &o); err != nil {
			return j, err
		}
		j.Backoff, j.Headers, j.Global, j.UntilStart = o.Backoff, o.Headers, o.Global, o.UntilStart
	}
	return j, nil
}

func (j cronJob) delay() time.Duration {
	return time.Duration(math.Round(j.Delay * float64(time.Second)))
}

// row is the job of one tick.
func (j cronJob) row(name string, tick time.Time, runAt *time.Time) (insertRow, error) {
	r := insertRow{
		queue: j.Queue, channel: j.Channel, kind: j.Kind, priority: j.Priority, data: j.Data, runAt: runAt, attempts: j.MaxAttempts, fingerprint: j.Fingerprint,
	}
	if j.Args != nil {
		s := string(j.Args)
		r.args = &s
	}
	o := jobOptions{Backoff: j.Backoff, Headers: maps.Clone(j.Headers), Global: j.Global, UntilStart: j.UntilStart}
	if j.Constraints != nil {
		t := *j.Constraints // Each row completes its own.
		r.constraints, o.Ordered = &t, t.Ordered
	}
	if o.Headers == nil {
		o.Headers = map[string]string{}
	}
	o.Headers[headerCron], o.Headers[headerTick] = name, tick.UTC().Format(time.RFC3339)
	b, err := json.Marshal(o)
	s := string(b)
	r.opts = &s
	return r, err
}

func (j cronJob) spec() JobSpec {
	s := JobSpec{
		Args: Raw(j.Kind, j.Args), Data: j.Data, Queue: j.Queue, Channel: j.Channel, Priority: int(j.Priority), Delay: j.delay(), Headers: j.Headers,
	}
	if j.MaxAttempts != nil {
		s.MaxAttempts = int(*j.MaxAttempts)
	}
	if j.Backoff != nil {
		s.Backoff = j.Backoff.backoff()
	}
	if j.Fingerprint != nil {
		s.Fingerprint = *j.Fingerprint
	}
	if t := j.Constraints; t != nil {
		s.Ordered, s.Unique = t.Ordered, Unique{
			Key: t.Key, Period: seconds(t.Period), Global: j.Global, UntilStart: j.UntilStart, Replace: t.Replace, Reschedule: t.Reschedule,
		}
		s.Attempt, s.Errors = t.Attempt, t.Errors
		for _, after := range t.After {
			ids := map[string]*[]ID{"ok": &s.AfterOK, "any": &s.AfterAny, "not_ok": &s.AfterNotOK}[after.On]
			*ids, s.KeepWaiting = append(*ids, after.ID), s.KeepWaiting || after.KeepWaiting
		}
	}
	return s
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// PutCron makes crons or changes them, by name, all or none. What is there with a higher Version stays as it is. Kept are the pause, the
// last tick, and the next one too unless Spec or Zone changed: then it is the first from the database's now on.
func (c *Client) PutCron(ctx context.Context, crons ...Cron) error {
	if len(crons) == 0 {
		return nil
	}
	n := len(crons)
	var (
		names, specs, zones = make([]string, n), make([]string, n), make([]string, n)
		jobs, jitters       = make([]string, n), make([]string, n)
		catchUps, versions  = make([]int32, n), make([]int32, n)
		timetables, nextAts = make([]timetable, n), make([]time.Time, n)
		seen                = map[string]bool{}
	)
	for i, cron := range crons {
		fail := func(err error) error { return fmt.Errorf("pawl: PutCron %.50q: %w", cron.Name, err) }
		if err := checkCronName(cron.Name); err != nil {
			return fail(err)
		}
		if seen[cron.Name] {
			return fail(errors.New("given twice"))
		}
		seen[cron.Name] = true
		zone := cmp.Or(cron.Zone, "UTC")
		var err error
		if timetables[i], err = readCron(cron.Spec, zone); err != nil {
			return fail(err)
		}
		if cron.Jitter < 0 || cron.Jitter > maxJitter {
			return fail(fmt.Errorf("Jitter is %v; want 0 to %v", cron.Jitter, maxJitter))
		}
		if cron.CatchUp < 0 || cron.CatchUp > maxCatchUp {
			return fail(fmt.Errorf("CatchUp is %d; want 0 to %d", cron.CatchUp, maxCatchUp))
		}
		if cron.Version < 0 || cron.Version > math.MaxInt32 {
			return fail(fmt.Errorf("Version is %d; want 0 to %d", cron.Version, math.MaxInt32))
		}
		r, err := c.prepare(i, &cron.Job)
		if err == nil && cron.Job.Reserve != 0 {
			err = &InvalidError{Index: i, Field: "Reserve", Reason: "is set; nobody would commit a cron's jobs"}
		}
		if err == nil && r.runAt != nil {
			err = &InvalidError{Index: i, Field: "RunAt", Reason: "is set; a cron's jobs are due at its ticks, or Delay later"}
		}
		if err != nil {
			return fail(err)
		}
		j, err := r.cronJob()
		if err != nil {
			return fail(err)
		}
		b, err := json.Marshal(j)
		if err != nil {
			return fail(err)
		}
		names[i], specs[i], zones[i], jobs[i], jitters[i] = cron.Name, cron.Spec, zone, string(b), interval(cron.Jitter)
		catchUps[i], versions[i] = int32(cron.CatchUp), int32(cron.Version)
	}
	var now time.Time
	if err := c.row(ctx, "select clock_timestamp()", nil, &now); err != nil {
		return fmt.Errorf("pawl: PutCron: %w", err)
	}
	for i := range crons {
		var err error
		if nextAts[i], err = timetables[i].after(now); err != nil {
			return fmt.Errorf("pawl: PutCron %q: %w", names[i], err)
		}
	}
	err := c.query(ctx, `select pawl.put_cron($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]::interval[], $6::integer[], $7::integer[],
		$8::timestamptz[])`, []any{names, specs, zones, jobs, jitters, catchUps, versions, nextAts}, nil)
	if err != nil {
		return fmt.Errorf("pawl: PutCron: %w", err)
	}
	return nil
}

const maxJitter = 365 * 24 * time.Hour

func checkCronName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a cron's name has 1 to %d bytes, this one has %d", maxName, len(name))
	case !utf8.ValidString(name):
		return errors.New("the name is not valid UTF-8")
	case strings.ContainsRune(name, 0):
		return errors.New("the name contains a zero byte, which PostgreSQL's text cannot")
	}
	return nil
}

// Crons are all crons by name.
func (c *Client) Crons(ctx context.Context) ([]Cron, error) {
	var crons []Cron
	err := c.query(ctx, `select name, spec, zone, job::text, extract(epoch from jitter)::double precision, catch_up, version, paused, last_at, next_at
		from pawl.cron order by name`, nil, func(s scanner) error {
		var cron Cron
		var job string
		var jitter float64
		var last *time.Time
		err := s.Scan(&cron.Name, &cron.Spec, &cron.Zone, &job, &jitter, &cron.CatchUp, &cron.Version, &cron.Paused, &last, &cron.NextAt)
		if err != nil {
			return err
		}
		var j cronJob
		if err := json.Unmarshal([]byte(job), &j); err != nil {
			return fmt.Errorf("job of cron %q: %w", cron.Name, err)
		}
		plain := JobInfo{Kind: j.Kind, Args: j.Args}
		if err := c.decode(&plain); err != nil {
			return fmt.Errorf("args of cron %q: %w", cron.Name, err)
		}
		j.Args = plain.Args
		cron.Job, cron.Jitter = j.spec(), time.Duration(math.Round(jitter*1e6))*time.Microsecond
		if last != nil {
			cron.LastAt = *last
		}
		crons = append(crons, cron)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: Crons: %w", err)
	}
	return crons, nil
}

// oneCron finds what one statement about a cron is about.
func (c *Client) oneCron(ctx context.Context, verb, name, text string, args []any, dest ...any) error {
	err := c.row(ctx, text, append([]any{name}, args...), dest...)
	if err != nil {
		return fmt.Errorf("pawl: %s %.50q: %w", verb, name, err)
	}
	return nil
}

// PauseCron stops a cron's ticks; jobs already inserted go on. Ticks that come while it is paused are not missed: there are none.
func (c *Client) PauseCron(ctx context.Context, name string) error {
	return c.oneCron(ctx, "PauseCron", name, "update pawl.cron set paused = true where name = $1::text returning true", nil, new(bool))
}

// ResumeCron ends a pause; the next tick is the first from the database's now on.
func (c *Client) ResumeCron(ctx context.Context, name string) error {
	for {
		var spec, zone string
		var paused, done bool
		var now time.Time
		err := c.oneCron(ctx, "ResumeCron", name, "select spec, zone, paused, clock_timestamp() from pawl.cron where name = $1::text", nil,
			&spec, &zone, &paused, &now)
		if err != nil || !paused {
			return err
		}
		t, err := readCron(spec, zone)
		var next time.Time
		if err == nil {
			next, err = t.after(now)
		}
		if err != nil {
			return fmt.Errorf("pawl: ResumeCron %q: %w", name, err)
		}
		err = c.row(ctx, `update pawl.cron set paused = false, next_at = $4::timestamptz
			where name = $1::text and spec = $2::text and zone = $3::text and paused returning true`, []any{name, spec, zone, next}, &done)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrNotFound): // If it is, somebody changed the cron meanwhile.
			return fmt.Errorf("pawl: ResumeCron %q: %w", name, err)
		}
	}
}

// DeleteCron removes a cron. Jobs it inserted stay.
func (c *Client) DeleteCron(ctx context.Context, name string) error {
	return c.oneCron(ctx, "DeleteCron", name, "delete from pawl.cron where name = $1::text returning true", nil, new(bool))
}

// RunCron inserts a cron's job now, also while it is paused, and leaves its schedule and LastAt as they are. The job's tick header is the database's now.
func (c *Client) RunCron(ctx context.Context, name string) (InsertResult, error) {
	var job string
	var now time.Time
	err := c.oneCron(ctx, "RunCron", name, "select job::text, clock_timestamp() from pawl.cron where name = $1::text", nil, &job, &now)
	if err != nil {
		return InsertResult{}, err
	}
	var j cronJob
	err = json.Unmarshal([]byte(job), &j)
	var r insertRow
	if err == nil {
		r, err = j.row(name, now, nil)
	}
	if err == nil {
		if j.Delay > 0 {
			r.delay = &j.Delay
		}
		var results []InsertResult
		if results, err = c.insertResolved(ctx, []insertRow{r}); err == nil {
			return results[0], nil
		}
	}
	return InsertResult{}, fmt.Errorf("pawl: RunCron %q: %w", name, err)
}
