-- worker: live workers of different versions, and heartbeats in the future.
with live as (
  select w.id, w.name, w.version, w.seen_at
  from pawl.worker w
  where w.gone_at is null and clock_timestamp() < greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
)
select format('workers of %s versions run side by side: %s', count(*), string_agg(v.workers, '; ' order by v.version)),
       'expected during a rolling upgrade; after it, stop the old workers: pawl worker stop ID', false
from (
  select l.version,
         format('%s (%s, such as worker %s, %s)', l.version,
                case count(*) when 1 then '1 worker' else count(*) || ' workers' end,
                min(l.id), (array_agg(l.name order by l.id))[1]) as workers
  from live l group by l.version
) v
having count(*) > 1
union all
select format('worker %s (%s) has its last heartbeat in the future, at %s: the database''s clock was set back, or a '
              || 'server with a slower clock has taken over. Until then a lost worker is not noticed',
              w.id, w.name, w.seen_at::timestamptz(0)),
       format('if the worker is gone: pawl worker release %s', w.id), false
from pawl.worker w
where w.gone_at is null and w.seen_at > clock_timestamp() + interval '5 seconds'
