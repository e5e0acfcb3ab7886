-- worker: do those that live go together?
with live as (
  select w.id, w.name, w.version, w.seen_at
  from pawl.worker w
  where w.gone_at is null and clock_timestamp() < greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
)
select format('workers of %s versions run side by side: %s', count(*), string_agg(v.said, '; ' order by v.version)),
       'fine while a fleet is renewed; then stop the old ones: pawl worker stop ID', false
from (
  select l.version, format('%s (%s workers, such as %s, %s)', l.version, count(*), min(l.id), (array_agg(l.name order by l.id))[1]) as said
  from live l group by l.version
) v
having count(*) > 1
union all
select format('worker %s (%s) has its last heartbeat in the future, at %s: the database''s clock was set back, or another server took over with a slower one. Until then '
              || 'nobody notices that it is gone', w.id, w.name, w.seen_at::timestamptz(0)),
       format('if it is gone: pawl worker release %s', w.id), false
from pawl.worker w
where w.gone_at is null and w.seen_at > clock_timestamp() + interval '5 seconds'
