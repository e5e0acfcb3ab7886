-- queue: queues with jobs that have been due for long, and why nobody runs them.
--   $1   how long is long
-- As cheap as stats, which does the counting.
with late as (
  select s.queue, s.ready, s.scheduled, s.running, s.estimated, greatest(s.oldest_ready, s.lag) * interval '1 second' as due,
         q.paused, q.max_running, q.rate,
         (select count(*) from pawl.permit p where p.queue = s.queue) as permits
  from pawl.stats(1000) s
  left join pawl.queue q on q.name = s.queue
  where greatest(s.oldest_ready, s.lag) * interval '1 second' > $1::interval
),
seen as (
  select l.*, case when l.queue ~ '^[A-Za-z0-9_.:-]+$' then l.queue else quote_literal(l.queue) end as word,
         format('the oldest due job of queue %s has been so since %s, for %s (%s%s ready, %s scheduled)', l.queue, (clock_timestamp() - l.due)::timestamptz(0),
                date_trunc('second', l.due), case when l.estimated then 'about ' else '' end, l.ready, l.scheduled) as said,
         v.workers, v.busy, v.told
  from late l,
       lateral (
         select count(*) filter (where w.state = 'ready') as workers, coalesce(sum(w.running) filter (where w.state = 'ready'), 0) as busy,
                string_agg(format('%s (%s, %s)', w.id, w.name, w.state), ', ') filter (where w.state <> 'ready') as told
         from pawl.worker w
         where w.gone_at is null and clock_timestamp() < greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
           and (w.queues is null or l.queue = any (w.queues))
       ) v
)
select case w.why
         when 'paused' then s.said || ': the queue is paused'
         when 'limit' then format('%s: its limit of %s at once is used up%s', s.said, s.max_running, coalesce((
           select ' by jobs ' || string_agg(format('%s', p.job_id), ', ' order by p.job_id)
           from (select p.job_id from pawl.permit p where p.queue = s.queue order by p.job_id limit 5) p), ''))
         when 'rate' then format('%s: its rate of %s in %s s lets the next one start in %s', s.said, s.rate ->> 'n', s.rate ->> 'per', date_trunc('second', r.wait))
         when 'unserved' then format('%s: no worker serves the queue%s', s.said, coalesce('; there are ' || s.told, ''))
         when 'idle' then format('%s: %s workers serve the queue, and all are idle', s.said, s.workers)
       end,
       case
         when w.why = 'paused' then format('pawl queue resume %s', s.word)
         when w.why = 'limit' then format('pawl queue set %s with a higher limit; if those jobs do not run any more: pawl verify --repair', s.word)
         when w.why = 'rate' then format('pawl queue set %s with a higher rate', s.word)
         when w.why = 'idle' then 'see their logs, then pawl verify'
         when s.told is not null then 'pawl worker resume ID, or run a worker that has the queue'
         else 'run a worker that has the queue in RunnerConfig.Queues, or that has no such list; or claim from it'
       end,
       w.why in ('unserved', 'idle')
from seen s
left join lateral (
  select greatest(1 - pawl.tokens(s.queue, false, '', s.rate), 0) * (s.rate ->> 'per')::double precision / nullif((s.rate ->> 'n')::double precision, 0)
         * interval '1 second' as wait
  where s.rate is not null
) r on true
cross join lateral (
  select case when s.paused then 'paused' when s.max_running <= s.permits then 'limit' when r.wait > $1::interval then 'rate'
              when s.running > 0 or s.busy > 0 then null when s.workers = 0 then 'unserved' else 'idle' end as why
) w
where w.why is not null
order by s.due desc
