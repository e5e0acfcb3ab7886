-- worker: live workers of different versions, heartbeats in the future, stuck handlers, and work that fails.
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
union all
select format('worker %s (%s) has %s stuck handlers, which did not return after their contexts had ended: %s. Each keeps '
              || 'its place among the worker''s jobs, unless its kind lets it be replaced',
              w.id, w.name, cardinality(w.stuck), k.kinds),
       'read the stacks in the worker''s log, let these handlers end with their contexts, and restart the worker',
       false
from pawl.worker w,
     lateral (
       select string_agg(format('%s of kind %s', k.n, k.kind), ', ' order by k.n desc, k.kind) as kinds
       from (select s.kind, count(*) as n from unnest(w.stuck) as s (kind) group by s.kind
             order by n desc, s.kind limit 5) k
     ) k
where w.gone_at is null and w.stuck is not null
union all
select format('worker %s (%s) is alive, but %s', w.id, w.name, w.problem),
       'mend the cause that the error names; the worker tries again by itself', true
from pawl.worker w
where w.gone_at is null and w.problem is not null
