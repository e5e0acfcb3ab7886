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
  select l.*, w.word,
         format('queue %s: its oldest due job has waited since %s, for %s (%s%s ready, %s scheduled)', w.word, (clock_timestamp() - l.due)::timestamptz(0),
                date_trunc('second', l.due), case when l.estimated then 'about ' else '' end, l.ready, l.scheduled) as said,
         v.workers, v.busy, v.told, v.suspended
  from late l,
       lateral (select case when l.queue ~ '^[A-Za-z0-9_.:-]+$' then l.queue else '''' || replace(l.queue, '''', '''\''''') || '''' end as word) w, -- For a shell.
       lateral (
         select count(*) filter (where w.state = 'ready') as workers, coalesce(sum(w.running) filter (where w.state = 'ready'), 0) as busy,
                string_agg(format('worker %s (%s) is %s', w.id, w.name, w.state), ', ' order by w.id) filter (where w.state <> 'ready') as told,
                string_agg(w.id::text, ' ' order by w.id) filter (where w.state = 'suspended') as suspended
         from pawl.worker w
         where w.gone_at is null and clock_timestamp() < greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
           and (w.queues is null or l.queue = any (w.queues))
       ) v
)
select case w.why
         when 'paused' then s.said || ': the queue is paused'
         when 'limit' then format('%s: its limit of %s at once is used up%s', s.said, s.max_running, coalesce((
           select ' by ' || string_agg(format('job %s', p.job_id), ', ' order by p.job_id)
           from (select p.job_id from pawl.permit p where p.queue = s.queue order by p.job_id limit 5) p), ''))
         when 'rate' then format('%s: its rate of %s in %s s lets the next one start in %s', s.said, s.rate ->> 'n', s.rate ->> 'per', date_trunc('second', r.wait))
         when 'unserved' then format('%s: no worker serves it%s', s.said, coalesce('; ' || s.told, ''))
         when 'idle' then format('%s: %s, and nothing runs', s.said, case s.workers when 1 then '1 worker serves it' else s.workers || ' workers serve it' end)
       end,
       case
         when w.why = 'paused' then format('pawl queue resume %s', s.word)
         when w.why = 'limit' then format('pawl queue set %s --max-running %s; if those jobs do not run any more: pawl verify --repair', s.word, greatest(2 * s.max_running, 1))
         when w.why = 'rate' then format('pawl queue set %s --rate none, or a higher rate', s.word)
         when w.why = 'idle' then 'see their logs, then pawl verify'
         when s.suspended is not null then format('pawl worker resume %s', s.suspended)
         else format('run a worker that has the queue in RunnerConfig.Queues, or has no such list; or pawl consume %s -- PROGRAM', s.word)
       end,
       w.why in ('unserved', 'idle')
from seen s
left join lateral (
  select greatest(1 - pawl.available_tokens(s.queue, false, '', s.rate), 0) * (s.rate ->> 'per')::double precision / nullif((s.rate ->> 'n')::double precision, 0)
         * interval '1 second' as wait
  where s.rate is not null
) r on true
cross join lateral (
  select case when s.paused then 'paused' when s.max_running <= s.permits then 'limit' when r.wait > $1::interval then 'rate'
              when s.running > 0 or s.busy > 0 then null when s.workers = 0 then 'unserved' else 'idle' end as why
) w
where w.why is not null
order by s.due desc
