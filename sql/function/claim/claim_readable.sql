-- claim_readable is claim for callers that must not fail because of one row: a claim that has just failed because the
-- database could not compute, encode or send a row, and claims in a caller's transaction. It makes the jobs dead that
-- no client can read (bury_unreadable), and claims the others (claim, or claim_bounded if they are large).
--   parameters as claim
-- Moves: what these functions move.
-- Returns the columns of claim, with finite times. For each job that it made dead, it returns a row with `found`
-- false whose kind is "unprocessable" and whose unique_key is the error.
-- Index: those of these functions. It reads each row twice.
-- Survives: what claim survives.
create or replace function pawl.claim_readable(
  lease uuid, worker bigint, lasting interval, most integer,
  queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (
  queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb,
  data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean,
  permit boolean, created_at timestamptz, run_at timestamptz, fingerprint text, unique_key text, opts jsonb,
  errors jsonb, checkpoint jsonb, now timestamptz
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  until  constant timestamptz := clock_timestamp() + interval '5 seconds';
  buried bigint;
begin
  -- When jobs have left, a claim takes others in their place. These may be unreadable, too.
  for round in 1 .. 20 loop
    return query
    select b.queue, b.lane, b.channel, b.pos, b.id, false, null::integer, 'unprocessable', null::jsonb, null::bytea,
           null::smallint, null::smallint, null::smallint, null::smallint, null::boolean, null::boolean,
           null::timestamptz, null::timestamptz, null::text, b.problem, null::jsonb, null::jsonb, null::jsonb,
           clock_timestamp()
    from pawl.bury_unreadable(
      claim_readable.most, claim_readable.queues, claim_readable.priorities, claim_readable.channels,
      claim_readable.marks, claim_readable.untils, claim_readable.quotas) b;
    get diagnostics buried = row_count;
    exit when buried = 0;
    if clock_timestamp() > until then
      return; -- There may be more of them. What was found must not be lost because the caller loses patience.
    end if;
  end loop;
  begin
    return query
    select c.queue, c.lane, c.channel, c.pos, c.id, c.found, c.epoch, c.kind, c.args, c.data, c.priority, c.attempt,
           c.max_attempts, c.crashes, c.constrained, c.permit, pawl.finite(c.created_at), pawl.finite(c.run_at),
           c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, c.now
    from pawl.claim(
      claim_readable.lease, claim_readable.worker, claim_readable.lasting, claim_readable.most, claim_readable.queues,
      claim_readable.priorities, claim_readable.channels, claim_readable.marks, claim_readable.untils,
      claim_readable.quotas) c;
  exception when sqlstate '54PWL' then
    return query
    select c.queue, c.lane, c.channel, c.pos, c.id, c.found, c.epoch, c.kind, c.args, c.data, c.priority, c.attempt,
           c.max_attempts, c.crashes, c.constrained, c.permit, pawl.finite(c.created_at), pawl.finite(c.run_at),
           c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, c.now
    from pawl.claim_bounded(
      claim_readable.lease, claim_readable.worker, claim_readable.lasting, claim_readable.most, claim_readable.queues,
      claim_readable.priorities, claim_readable.channels, claim_readable.marks, claim_readable.untils,
      claim_readable.quotas) c;
  end;
end $$;
