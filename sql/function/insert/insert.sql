-- insert inserts jobs without constraints, one for each array position, all or none.
--   args             json or null
--   data             bytes or null
--   delays           seconds from now, or null
--   run_ats          a time, or null. A job with neither, or with a time in the past, is ready at once
--   attempts         the number of attempts; null: the queue's
--   opts             json or null
-- Moves: a job row in for each job, and a ticket into ready or scheduled. Returns the ids in the order of the
-- parameters.
-- Index: appends to the primary keys.
-- Survives: the safe mark requires that this transaction has its number before it draws a position or reads the
-- clock (see lanes.go). The first statement ensures that.
create or replace function pawl.insert(
  queues text[], channels text[], priorities smallint[], kinds text[], args text[], data bytea[],
  delays double precision[], run_ats timestamptz[], attempts smallint[], fingerprints text[], opts text[]
) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz;
begin
  perform pg_current_xact_id();
  moment := clock_timestamp();
  return query
  with spec as materialized (
    select nextval('pawl.pos') as id, (random() * 1000000000)::integer as epoch,
           coalesce(u.run_at, moment + u.delay * interval '1 second') as run_at,
           u.queue, u.channel, u.priority, u.kind, u.args, u.data, u.attempts, u.fingerprint, u.opts
    from unnest(insert.queues, insert.channels, insert.priorities, insert.kinds, insert.args, insert.data,
                insert.delays, insert.run_ats, insert.attempts, insert.fingerprints, insert.opts)
           as u (queue, channel, priority, kind, args, data, delay, run_at, attempts, fingerprint, opts)
  ),
  job as (
    insert into pawl.job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data,
                          fingerprint, opts)
    select s.id, moment, s.run_at, s.epoch, s.priority, s.attempts, s.queue, s.channel, s.kind, s.args::jsonb, s.data,
           s.fingerprint, s.opts::jsonb
    from spec s
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select s.id, s.id, s.epoch, s.priority, s.queue, s.channel
    from spec s
    where s.run_at is null or s.run_at <= moment
  ),
  scheduled as (
    insert into pawl.scheduled (run_at, job_id, epoch, queue)
    select s.run_at, s.id, s.epoch, s.queue
    from spec s
    where s.run_at > moment
  )
  select s.id from spec s;
  perform pawl.wake(insert.queues);
end $$;
