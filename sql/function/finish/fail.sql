-- fail records the end of attempts that did not succeed.
--   ids, epochs   the claimed jobs
--   outcomes      retry: a failed attempt                     snooze: run again later; no attempt is used release:
--                 returned; no attempt is used       cancel: finished, cancelled dead, unprocessable: finished,
--                 dead, even if attempts are left
--   delays        seconds until the job may run again; null: the backoff of the job, else that of `backoffs`, else
--                 the queue's
--   backoffs      the kind's {base, max, growth, power, jitter}, in seconds, or null
--   errors        {error, stack} to keep with the job, or null
--   waited, ran   milliseconds; -1 or null if not known
--   worker        name of the worker that ran them
-- Moves: either the job row changes, its epoch increases by one and a ticket goes to scheduled or ready; or the job
-- row goes to archive_chunk or dead.
-- Returns the id of each job and what it became: ready, scheduled, cancelled or dead. A job that is missing is
-- locked by another transaction, or is not live at its epoch.
-- Index: job's primary key.
-- Survives: what complete survives. A position is drawn after the row lock, which gave this transaction its number:
-- the safe mark requires that.
create or replace function pawl.fail(
  ids bigint[], epochs integer[], outcomes text[], delays double precision[], backoffs text[], errors text[],
  waited bigint[], ran bigint[], worker text
) returns table (id bigint, became text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  done      bigint[];
  states    text[];
  cancelled jsonb;
  dead      jsonb;
begin
  with pair as materialized (
    select u.id, u.epoch, u.outcome, u.delay, u.backoff::jsonb as backoff, u.error::jsonb as error, u.waited, u.ran
    from unnest(fail.ids, fail.epochs, fail.outcomes, fail.delays, fail.backoffs, fail.errors, fail.waited, fail.ran)
           as u (id, epoch, outcome, delay, backoff, error, waited, ran)
    order by u.id
  ),
  mine as materialized (
    select u.id, u.epoch, u.outcome, u.waited, u.ran, j.queue, j.channel, j.priority, a.attempt,
           case when u.outcome in ('retry', 'snooze') then 0 else j.crashes end as crashes,
           case when u.outcome = 'cancel' then 'cancelled'
                when u.outcome in ('dead', 'unprocessable')
                  or u.outcome = 'retry' and a.attempt >= coalesce(j.max_attempts, q.max_attempts, 20) then 'dead'
                when coalesce(u.delay, d.seconds) > 0 then 'scheduled'
                else 'ready' end as became,
           clock_timestamp() + coalesce(u.delay, d.seconds) * interval '1 second' as run_at,
           case when u.error is null then j.errors
                else case when jsonb_typeof(j.errors) = 'array'
                           then case when jsonb_array_length(j.errors) >= 10 then j.errors - 0 else j.errors end
                           else '[]' end
                     || (jsonb_build_object('attempt', a.attempt, 'at', clock_timestamp(), 'worker', fail.worker)
                         || u.error)
                end as errors
    from pair u
    cross join lateral (select j.* from pawl.job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
    cross join lateral (
      select least(j.attempt + case when u.outcome in ('snooze', 'release') then 0 else 1 end, 32767)::smallint
               as attempt
    ) a
    left join pawl.queue q on q.name = j.queue
    left join lateral (
      select pawl.backoff(coalesce(j.opts -> 'backoff', u.backoff, q.backoff), a.attempt) as seconds
      where u.outcome = 'retry' and u.delay is null
    ) d on true
  ),
  back as (
    update pawl.job j
    set epoch = pawl.next_epoch(j.epoch), attempt = m.attempt, crashes = m.crashes, errors = m.errors,
        pos = case when m.became = 'ready' then nextval('pawl.pos') end,
        run_at = case when m.outcome = 'release' and m.became = 'ready' then j.run_at else m.run_at end
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.became in ('ready', 'scheduled')
    returning j.id, j.epoch, j.pos, j.run_at, j.queue, j.channel, j.priority, j.crashes, m.became, m.outcome
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, pawl.lane_priority(b.priority, b.crashes, b.outcome = 'release'), b.queue, b.channel
    from back b
    where b.became = 'ready'
  ),
  scheduled as (
    insert into pawl.scheduled (run_at, job_id, epoch, queue)
    select b.run_at, b.id, b.epoch, b.queue
    from back b
    where b.became = 'scheduled'
  ),
  over as (
    delete from pawl.job j
    using mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.became in ('cancelled', 'dead')
    returning j.*, m.became, m.outcome, m.attempt as used, m.errors as all_errors, m.waited, m.ran
  ),
  kept as (
    insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, worker, ids, epochs,
                                    created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel,
                                    kind, args, data, fingerprint, unique_key, opts, errors, checkpoint)
    select o.id, o.id, 1, t.now, t.now + t.retain, 'cancelled', o.queue, fail.worker, array[o.id], array[o.epoch],
           array[o.created_at], nullif(array[o.run_at], '{null}'), nullif(array[o.waited], '{-1}'),
           nullif(array[o.ran], '{-1}'), array[o.priority], array[o.used], nullif(array[o.max_attempts], '{null}'),
           array[o.channel], array[o.kind], nullif(array[o.args], '{null}'), nullif(array[o.data], '{null}'),
           nullif(array[o.fingerprint], '{null}'), nullif(array[o.unique_key], '{null}'),
           nullif(array[o.opts], '{null}'), nullif(array[o.all_errors], '{null}'), nullif(array[o.checkpoint], '{null}')
    from over o
    left join pawl.queue q on q.name = o.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_cancelled, interval '1 day') as retain) t
    where o.became = 'cancelled' and t.retain > '0'
  ),
  buried as (
    insert into pawl.dead (id, epoch, finished_at, expires_at, created_at, run_at, waited_ms, ran_ms, priority,
                           attempt, max_attempts, crashes, reason, queue, channel, kind, worker, args, data,
                           fingerprint, unique_key, opts, errors, checkpoint)
    select o.id, o.epoch, t.now, t.now + t.retain, o.created_at, o.run_at, nullif(o.waited, -1), nullif(o.ran, -1),
           o.priority, o.used, o.max_attempts, o.crashes,
           case o.outcome when 'retry' then 'attempts' when 'dead' then 'handler' else o.outcome end,
           o.queue, o.channel, o.kind, fail.worker, o.args, o.data, o.fingerprint, o.unique_key, o.opts, o.all_errors,
           o.checkpoint
    from over o
    left join pawl.queue q on q.name = o.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_dead, interval '30 days') as retain) t
    where o.became = 'dead' and t.retain > '0'
  )
  select array_agg(m.id), array_agg(m.became),
         (select jsonb_agg(pawl.followup_of(o.id, o.queue, o.channel, o.opts)) from over o
          where o.constrained and o.became = 'cancelled'),
         (select jsonb_agg(pawl.followup_of(o.id, o.queue, o.channel, o.opts)) from over o
          where o.constrained and o.became = 'dead')
  into done, states, cancelled, dead
  from mine m;
  if cancelled is not null then
    perform pawl.record_followups(cancelled, 'cancelled');
  end if;
  if dead is not null then
    perform pawl.record_followups(dead, 'dead');
  end if;
  if outcomes && '{retry,snooze,release}' then
    perform pawl.wake(array(
      select distinct j.queue from unnest(ids) u (id) join pawl.job j on j.id = any (array[u.id])
    ));
  end if;
  if states && '{cancelled,dead}' then
    perform pawl.wake_awaiting(array(
      select u.id from unnest(done, states) as u (id, became) where u.became in ('cancelled', 'dead')
    ));
  end if;
  return query select u.id, u.became from unnest(done, states) as u (id, became);
end $$;
