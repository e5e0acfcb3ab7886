package pawlimport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
)

// A pgBossSchedule is a row of pg-boss's schedules with the defaults of its queue. Times are in seconds.
type pgBossSchedule struct {
	Name, Key, Kind, Cron string
	Timezone              *string
	Data                  *string
	Options               json.RawMessage
	RetryLimit            int
	RetryDelay            int64
	RetryBackoff          bool
	RetryDelayMax         *int64
}

// name returns the name of the cron that the schedule becomes.
func (s *pgBossSchedule) name() string {
	if s.Key == "" {
		return s.Name
	}
	return s.Name + "/" + s.Key
}

// pgBossSchedules turns schedules into crons if Options.Schedules is set. Each schedule has a transaction that puts the
// cron and deletes the schedule. A tick in that very minute may be lost; no tick runs twice.
func pgBossSchedules(ctx context.Context, r *run) error {
	schedules, err := r.readPgBossSchedules(ctx)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	if len(schedules) > 0 && r.options.Schedules {
		crons, err := r.in(r.client).Crons(ctx)
		if err != nil {
			return err
		}
		for _, cron := range crons {
			taken[cron.Name] = true
		}
	}
	for _, s := range schedules {
		remark := func(format string, args ...any) {
			r.report.Remarks = append(r.report.Remarks,
				fmt.Sprintf("schedule %s (%s): ", s.name(), s.Cron)+fmt.Sprintf(format, args...))
		}
		switch {
		case !r.options.Schedules:
			remark("left; to import it, set Options.Schedules (--schedules)")
		case s.Kind != "cron":
			remark("left: a cron has no recurrence rule")
		case r.target != nil:
			remark("left: no transaction spans two databases; put a cron and then unschedule it")
		case taken[s.name()]:
			remark("left: there is a cron of that name")
		default:
			if err := r.movePgBossSchedule(ctx, s, remark); err != nil {
				return fmt.Errorf("schedule %s: %w", s.name(), err)
			}
		}
	}
	return nil
}

// readPgBossSchedules returns the schedules of the chosen queues and kinds.
func (r *run) readPgBossSchedules(ctx context.Context) (schedules []*pgBossSchedule, err error) {
	kind := "'cron'"
	if r.report.Version >= 41 {
		kind = "s.kind"
	}
	rows, err := all[string](ctx, r.pool, r.source.in(`select json_build_object('Name', s.name, 'Key', s.key,
			'Kind', `+kind+`, 'Cron', s.cron, 'Timezone', s.timezone, 'Data', s.data::text, 'Options', s.options,
			'RetryLimit', q.retry_limit, 'RetryDelay', q.retry_delay, 'RetryBackoff', q.retry_backoff,
			'RetryDelayMax', q.retry_delay_max)::text
		from source.schedule s join source.queue q on q.name = s.name order by s.name, s.key`))
	if err != nil {
		return nil, err
	}
	for _, text := range rows {
		s := &pgBossSchedule{}
		if err := json.Unmarshal([]byte(text), s); err != nil {
			return nil, err
		}
		chosen := func(names []string) bool { return len(names) == 0 || slices.Contains(names, s.Name) }
		if chosen(r.options.Queues) && chosen(r.options.Kinds) {
			schedules = append(schedules, s)
		}
	}
	return schedules, nil
}

// movePgBossSchedule puts a schedule's cron and deletes the schedule. It remarks on what the cron does not have, or on
// why the schedule is left.
func (r *run) movePgBossSchedule(ctx context.Context, s *pgBossSchedule, remark func(string, ...any)) error {
	cron, lost, err := r.pgBossCron(s)
	if err == nil {
		err = r.check(&cron.Job)
	}
	if err == nil {
		_, err = cron.Next(time.Now(), 1)
	}
	if err != nil {
		remark("left: %v", err)
		return nil
	}
	if !r.options.DryRun {
		moved := false
		err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
			gone, err := all[bool](ctx, tx, r.source.in(`delete from source.schedule
				where name = $1::text and key = $2::text and cron = $3::text returning true`), s.Name, s.Key, s.Cron)
			if moved = err == nil && len(gone) == 1; !moved {
				return err
			}
			return r.client.With(tx).PutCron(ctx, cron)
		})
		if err != nil {
			return err
		}
		if !moved {
			remark("it was deleted or changed during the import")
			return nil
		}
	}
	r.report.Crons = append(r.report.Crons, cron.Name)
	if len(lost) > 0 {
		remark("imported without %s", strings.Join(lost, ", "))
	}
	return nil
}

// pgBossCron returns a schedule as a cron, and the names of the schedule's options that the cron does not have.
func (r *run) pgBossCron(s *pgBossSchedule) (cron pawl.Cron, lost []string, err error) {
	var o struct {
		Priority      int64
		RetryLimit    *int
		RetryDelay    *int64
		RetryBackoff  *bool
		RetryDelayMax *int64
		Missed        string
	}
	said := map[string]json.RawMessage{}
	if len(s.Options) > 0 && !bytes.Equal(s.Options, []byte("null")) {
		if err := json.Unmarshal(s.Options, &said); err != nil {
			return cron, nil, err
		}
		if err := json.Unmarshal(s.Options, &o); err != nil {
			return cron, nil, err
		}
	}
	for option := range said {
		switch option {
		case "tz", "key", "kind", "priority", "retryLimit", "retryDelay", "retryBackoff", "retryDelayMax", "missed":
		default:
			lost = append(lost, option)
		}
	}
	slices.Sort(lost)
	if o.RetryLimit != nil {
		s.RetryLimit = *o.RetryLimit
	}
	if o.RetryDelay != nil {
		s.RetryDelay = *o.RetryDelay
	}
	if o.RetryBackoff != nil {
		s.RetryBackoff = *o.RetryBackoff
	}
	if o.RetryDelayMax != nil {
		s.RetryDelayMax = o.RetryDelayMax
	}
	cron = pawl.Cron{Name: s.name(), Spec: s.Cron, Job: pawl.JobSpec{
		Args:  pawl.Raw(rename(r.options.RenameKinds, s.Name), nil),
		Queue: rename(r.options.RenameQueues, s.Name), Priority: pgBossPriority(o.Priority),
		MaxAttempts: min(s.RetryLimit, 32766) + 1, Backoff: pgBossBackoff(s.RetryDelay, s.RetryBackoff, s.RetryDelayMax),
	}}
	if s.Data != nil {
		cron.Job.Args = pawl.Raw(rename(r.options.RenameKinds, s.Name), []byte(*s.Data))
	}
	if s.Timezone != nil {
		cron.Zone = *s.Timezone
	}
	if o.Missed == "once" {
		cron.CatchUp = 1
	}
	if r.options.Backoff != (pawl.Backoff{}) {
		cron.Job.Backoff = r.options.Backoff
	}
	return cron, lost, nil
}
