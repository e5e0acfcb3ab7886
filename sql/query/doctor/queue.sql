-- queue: queues whose oldest due job has waited for long, and why no worker runs it.
--   $1   how long is long
-- As cheap as queue_stats, which counts the jobs.
with late as (
  select s.queue, s.ready, s.scheduled, s.running, s.estimated,
         greatest(s.oldest_ready, s.lag) * interval '1 second' as waited, q.paused, q.max_running, q.rate,
         (select count(*) from pawl.permit p where p.queue = s.queue) as permits
  from pawl.queue_stats(1000) s
  left join pawl.queue q on q.name = s.queue
  where greatest(s.oldest_ready, s.lag) * interval '1 second' > $1::interval
),
seen as (
  select l.*, w.word,
         format('queue %s: its oldest due job has waited since %s, for %s (%s%s ready, %s scheduled)',
                w.word, (clock_timestamp() - l.waited)::timestamptz(0), date_trunc('second', l.waited),
                case when l.estimated then 'about ' else '' end, l.ready, l.scheduled) as problem,
         v.workers, v.busy, v.not_ready, v.suspended
  from late l,
       lateral ( -- The queue's name, quoted for a shell.
         select case when l.queue ~ '^[A-Za-z0-9_.:-]+$' then l.queue
                     else '''' || replace(l.queue, '''', format('''%s''''', chr(92))) || '''' end as word
       ) w,
       lateral (
         select count(*) filter (where w.state = 'ready') as workers,
                coalesce(sum(w.running) filter (where w.state = 'ready'), 0) as busy,
                string_agg(format('worker %s (%s) is %s', w.id, w.name, w.state), ', ' order by w.id)
                  filter (where w.state <> 'ready') as not_ready,
                string_agg(w.id::text, ' ' order by w.id) filter (where w.state = 'suspended') as suspended
         from pawl.worker w
         where w.gone_at is null
           and clock_timestamp() < greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
           and (w.queues is null or l.queue = any (w.queues))
       ) v
)
select case w.why
         when 'paused' then s.problem || ': the queue is paused'
         when 'limit' then format('%s: its limit of %s running jobs is used up%s', s.problem, s.max_running, coalesce((
           select ' by ' || string_agg(format('job %s', p.job_id), ', ' order by p.job_id)
           from (select p.job_id from pawl.permit p where p.queue = s.queue order by p.job_id limit 5) p), ''))
         when 'rate' then format('%s: with its rate of %s jobs in %s s the next job starts in %s',
                                 s.problem, s.rate ->> 'n', s.rate ->> 'per', date_trunc('second', r.wait))
         when 'unserved' then format('%s: no worker serves it%s', s.problem, coalesce('; ' || s.not_ready, ''))
         when 'idle' then format('%s: %s, and no job runs', s.problem,
                                 case s.workers when 1 then '1 worker serves it'
                                                else s.workers || ' workers serve it' end)
       end,
       case
         when w.why = 'paused' then format('pawl queue resume %s', s.word)
         when w.why = 'limit' then format('pawl queue set %s --max-running %s; if those jobs are not running: '
                                          || 'pawl verify --repair', s.word, greatest(2 * s.max_running, 1))
         when w.why = 'rate' then format('pawl queue set %s --rate none, or a higher rate', s.word)
         when w.why = 'idle' then 'read the logs of its workers, then run pawl verify'
         when s.suspended is not null then format('pawl worker resume %s', s.suspended)
         else format('run a worker with the queue in RunnerConfig.Queues, or without such a list; '
                     || 'or run pawl consume %s -- PROGRAM', s.word)
       end,
       w.why in ('unserved', 'idle')
from seen s
left join lateral (
  select greatest(1 - pawl.available_tokens(s.queue, false, '', s.rate), 0)
         * (s.rate ->> 'per')::double precision / nullif((s.rate ->> 'n')::double precision, 0)
         * interval '1 second' as wait
  where s.rate is not null
) r on true
cross join lateral (
  select case when s.paused then 'paused' when s.max_running <= s.permits then 'limit'
              when r.wait > $1::interval then 'rate' when s.running > 0 or s.busy > 0 then null
              when s.workers = 0 then 'unserved' else 'idle' end as why
) w
where w.why is not null
order by s.waited desc
