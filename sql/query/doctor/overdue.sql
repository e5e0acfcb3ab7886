-- overdue: chores nobody has done: rescue, cron, reservations, the end of dead jobs. Each is seen to by every worker and tender within seconds.
with held as (
  select l.id, l.worker_id, coalesce(l.expires_at, w.gone_at, w.seen_at + w.stale_after) as since, cardinality(l.jobs) as jobs
  from pawl.lease l
  left join pawl.worker w on w.id = l.worker_id
  where l.jobs <> '{}'
    and clock_timestamp() - case when l.worker_id is null then l.expires_at
                                 else coalesce(w.gone_at, greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after) end > interval '1 minute'
)
select format('%s leases are lost since %s or later, with up to %s jobs%s, and nobody has rescued them', count(*), min(h.since)::timestamptz(0), sum(h.jobs),
              coalesce(', of workers ' || (select string_agg(format('%s (%s)', w.id, w.name), ', ') from pawl.worker w where w.id = any (array_agg(h.worker_id))), '')),
       'run a worker, or pawl serve; if one runs, see its log, and who has jobs locked (pg_stat_activity, idle in transaction)', true
from held h
having count(*) > 0
union all
select format('%s schedules have been due since %s: %s', count(*), min(c.next_at)::timestamptz(0), (array_agg(c.name order by c.next_at))[1]),
       'run a worker, or pawl serve; if one runs, see its log: it may not know the time zone', true
from pawl.cron c
where not c.paused and c.next_at < clock_timestamp() - interval '1 minute'
having count(*) > 0
union all
select format('%s reservations are past their time since %s, such as of job %s, and nobody has taken them away', count(*), min(p.expires_at)::timestamptz(0),
              min(p.job_id)),
       'run a worker, or pawl serve', false
from pawl.blocked p
where p.expires_at < clock_timestamp() - interval '1 minute'
having count(*) > 0
union all
select format('dead jobs are kept since %s beyond their retention: nobody takes them away', min(d.expires_at)::timestamptz(0)), 'run a worker, or pawl serve', false
from pawl.dead d
where d.expires_at < clock_timestamp() - interval '1 day'
having count(*) > 0
