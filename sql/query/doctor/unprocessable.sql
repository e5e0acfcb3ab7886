-- unprocessable: queues whose jobs died lately because the database or the handler could not read them.
-- It looks at the 1,000 dead jobs that are kept the longest, through dead_expires_at, so that it is as cheap as the
-- other checks.
select format('queue %s: %s job%s died as unprocessable in the last 7 days, such as job %s; the last one %s ago',
              u.queue, u.n, case when u.n > 1 then 's' end, u.id, date_trunc('second', clock_timestamp() - u.at)),
       format('read its error: pawl dead show %s; fix the cause, such as a changed type, a missing key of the codec or '
              'a broken disk; then retry the jobs, or purge them', u.id), false
from (
  select d.queue, count(*) as n, max(d.id) as id, max(d.finished_at) as at
  from (select d.* from pawl.dead d order by d.expires_at desc limit 1000) d
  where d.reason = 'unprocessable' and isfinite(d.finished_at)
    and d.finished_at > clock_timestamp() - interval '7 days'
  group by d.queue
) u
order by u.n desc, u.queue
limit 20
