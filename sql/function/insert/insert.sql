-- insert inserts jobs without constraints, one for each array position, all or none.
--   args             json or null
--   data             bytes or null
--   delays           seconds from now, or null
--   run_ats          a time, or null. A job with neither, or with a time in the past, is ready at once
--   attempts         the number of attempts; null: the queue's
--   opts             json or null
-- It raises SQLSTATE 22023 for others, and for names of more than 255 bytes.
-- Moves: a job row in for each job, and a ticket into ready or scheduled. Returns the ids in the order of the
-- parameters.
-- Index: appends to the primary keys.
-- Survives: the safe mark requires that this transaction has its number before it draws a position or reads the
-- clock (see lanes.go). The first statement ensures that.
-- Args and data are read by subscript: unnest, and a materialized row, would each write a copy of them to disk.
create or replace function pawl.insert(
  queues text[], channels text[], priorities smallint[], kinds text[], args text[], data bytea[],
  delays double precision[], run_ats timestamptz[], attempts smallint[], fingerprints text[], opts text[]
) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz;
  wrong  text := pawl.validate_columns(insert.queues, insert.kinds, insert.delays, insert.run_ats, insert.attempts,
                                       insert.opts);
  n      bigint;
begin
  if wrong is not null then
    raise exception 'pawl: insert: %', wrong using errcode = '22023';
  end if;
  perform pg_current_xact_id();
  moment := clock_timestamp();
  return query
  with spec as materialized (
    select nextval('pawl.pos') as id, (random() * 1000000000)::integer as epoch,
           coalesce(u.run_at, moment + u.delay * interval '1 second') as run_at,
           u.queue, u.channel, u.priority, u.kind, u.attempts, u.fingerprint, u.opts, u.ord
    from unnest(insert.queues, insert.channels, insert.priorities, insert.kinds, insert.delays, insert.run_ats,
                insert.attempts, insert.fingerprints, insert.opts) with ordinality
           as u (queue, channel, priority, kind, delay, run_at, attempts, fingerprint, opts, ord)
    where octet_length(u.queue) <= 255 and octet_length(u.channel) <= 255 and octet_length(u.kind) <= 255
      and (u.fingerprint is null or octet_length(u.fingerprint) <= 255)
  ),
  job as (
    insert into pawl.job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data,
                          fingerprint, opts)
    select s.id, moment, s.run_at, s.epoch, s.priority, s.attempts, s.queue, s.channel, s.kind,
           insert.args[s.ord]::jsonb, insert.data[s.ord], s.fingerprint, s.opts::jsonb
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
  get diagnostics n = row_count;
  if n <> cardinality(insert.queues) then
    raise exception 'pawl: insert: want as many channels and kinds as queues, and names of up to 255 bytes'
      using errcode = '22023';
  end if;
  perform pawl.wake(insert.queues);
end $$;
