-- overdue: maintenance tasks that are late: rescue, cron, reservations, retention of dead jobs. Every worker and every
-- maintenance process does each of them within seconds.
with lost as (
  select l.id, l.worker_id, coalesce(l.expires_at, w.gone_at, w.seen_at + w.stale_after) as since,
         cardinality(l.jobs) as jobs
  from pawl.lease l
  left join pawl.worker w on w.id = l.worker_id
  where l.jobs <> '{}'
    and clock_timestamp() - case when l.worker_id is null then l.expires_at
                                 else coalesce(w.gone_at, greatest(w.seen_at, pg_postmaster_start_time())
                                                          + w.stale_after) end > interval '1 minute'
)
select format('no worker has rescued %s since %s or later, with up to %s%s',
              case count(*) when 1 then '1 lost lease' else count(*) || ' lost leases' end,
              min(l.since)::timestamptz(0),
              case sum(l.jobs) when 1 then '1 job' else sum(l.jobs) || ' jobs' end,
              coalesce('; of ' || (select string_agg(format('worker %s (%s)', w.id, w.name), ', ' order by w.id)
                                   from pawl.worker w where w.id = any (array_agg(l.worker_id))), '')),
       'run a worker or pawl serve; if one runs, read its log and look for sessions that lock jobs '
       || '(pg_stat_activity, idle in transaction)', true
from lost l
having count(*) > 0
union all
select format('%s been due since %s: %s',
              case count(*) when 1 then '1 cron schedule has' else count(*) || ' cron schedules have' end,
              min(c.next_at)::timestamptz(0), (array_agg(c.name order by c.next_at))[1]),
       'run a worker or pawl serve; if one runs, read its log: it may not know the time zone', true
from pawl.cron c
where not c.paused and c.next_at < clock_timestamp() - interval '1 minute'
having count(*) > 0
union all
select format('no worker has removed %s since %s: %s',
              case count(*) when 1 then '1 expired reservation' else count(*) || ' expired reservations' end,
              min(p.expires_at)::timestamptz(0),
              case count(*) when 1 then '' else 'such as ' end || 'job ' || min(p.job_id)),
       'run a worker or pawl serve', false
from pawl.blocked p
where p.expires_at < clock_timestamp() - interval '1 minute'
having count(*) > 0
union all
select format('no worker has removed dead jobs past their retention since %s', min(d.expires_at)::timestamptz(0)),
       'run a worker or pawl serve', false
from pawl.dead d
where d.expires_at < clock_timestamp() - interval '1 day'
having count(*) > 0
