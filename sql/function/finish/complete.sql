-- complete finishes jobs whose handlers succeeded.
--   ids, epochs   the claimed jobs
--   waited, ran   milliseconds; -1 or null if not known
--   results       json or null
--   worker        name of the worker that ran them
--   keep          ids of jobs to archive even if the queue's retention is zero
--   leases        leases to delete if every one of the jobs is finished here: those whose other results were plain
--                 successes of earlier calls; see end_leases for the others
-- Moves: job rows into archive_chunk, or nowhere; record_followups for constrained jobs.
-- Returns the ids of the finished jobs. A job that is missing is locked by another transaction, or is not live at
-- its epoch.
-- Index: job's primary key.
-- Survives: a completion after a rescue (the epoch is compared where the row is locked); a lock of another
-- transaction (the job is skipped, and the caller calls lock_jobs and this for that job alone); a deadlock of two
-- completions (rows are locked in order of id).
create or replace function pawl.complete(
  ids bigint[], epochs integer[], waited bigint[], ran bigint[], results text[], worker text, keep bigint[],
  leases uuid[]
) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  done  bigint[];
  ended jsonb;
begin
  with pair as materialized (
    select u.id, u.epoch, u.waited, u.ran, u.result
    from unnest(complete.ids, complete.epochs, complete.waited, complete.ran, complete.results)
           as u (id, epoch, waited, ran, result)
    order by u.id
  ),
  mine as materialized (
    select j.ctid
    from pair u,
         lateral (select j.ctid from pawl.job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
  ),
  gone as (
    delete from pawl.job j
    where j.ctid = any (array(select ctid from mine))
    returning j.id, j.epoch, j.created_at, j.run_at, j.priority, j.attempt, j.max_attempts, j.queue, j.channel, j.kind,
              j.args, j.data, j.fingerprint, j.unique_key, j.opts, j.errors, j.checkpoint, j.constrained
  ),
  kept as (
    insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, worker, ids, epochs,
                                    created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel,
                                    kind, args, data, fingerprint, unique_key, opts, errors, checkpoint, result)
    select min(g.id), max(g.id), count(*), max(g.now), max(g.now) + g.retain, 'completed', g.queue, complete.worker,
           array_agg(g.id), array_agg(g.epoch), array_agg(g.created_at), nullif(array_agg(g.run_at), '{null}'),
           nullif(array_agg(g.waited), '{null}'), nullif(array_agg(g.ran), '{null}'), array_agg(g.priority),
           array_agg(least(g.attempt + 1, 32767)::smallint), nullif(array_agg(g.max_attempts), '{null}'),
           array_agg(g.channel), array_agg(g.kind), nullif(array_agg(g.args), '{null}'), nullif(array_agg(g.data), '{null}'),
           nullif(array_agg(g.fingerprint), '{null}'), nullif(array_agg(g.unique_key), '{null}'),
           nullif(array_agg(g.opts), '{null}'), nullif(array_agg(g.errors), '{null}'),
           nullif(array_agg(g.checkpoint), '{null}'), nullif(array_agg(g.result), '{null}')
    from (
      -- The order of this subquery is that of the arrays.
      select g.*, nullif(u.waited, -1) as waited, nullif(u.ran, -1) as ran, r.result, t.now, t.retain,
             -- A job with a large or compressed value is a chunk of its own.
             case when greatest(pg_column_size(g.args), pg_column_size(g.data), pg_column_size(g.opts),
                                pg_column_size(g.errors), pg_column_size(g.checkpoint), pg_column_size(r.result)) > 1000
                    or coalesce(pg_column_compression(g.args), pg_column_compression(g.data),
                                pg_column_compression(g.opts), pg_column_compression(g.errors),
                                pg_column_compression(g.checkpoint)) is not null
                    then g.id end as alone
      from gone g
      join pair u on u.id = g.id
      left join pawl.queue q on q.name = g.queue,
      lateral (select u.result::jsonb as result) r,
      lateral (select clock_timestamp() as now,
                      case when g.id = any (complete.keep) and q.retain_completed <= '0' then interval '1 day'
                           else coalesce(q.retain_completed, interval '1 day') end as retain) t
      where t.retain > '0'
      order by g.id
    ) g
    group by g.queue, g.retain, g.id >> 10, g.alone
  ),
  ended as (
    delete from pawl.lease l
    where l.id = any (complete.leases) and (select count(*) from gone) = cardinality(complete.ids)
  )
  select array_agg(g.id), jsonb_agg(pawl.followup_of(g.id, g.queue, g.channel, g.opts)) filter (where g.constrained)
  into done, ended
  from gone g;
  if ended is not null then
    perform pawl.record_followups(ended, 'completed');
  end if;
  if done is not null then
    perform pawl.wake_awaiting(done);
  end if;
  return query select unnest(done);
end $$;
