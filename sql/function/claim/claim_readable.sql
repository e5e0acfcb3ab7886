-- claim_readable is claim for callers that cannot read the result of a claim, because the database fails to send or
-- compute one of its rows. It makes the jobs dead that no client can read, and claims the others.
--   parameters as claim
-- Moves: what claim moves; tickets of unreadable jobs out of ready, and their rows to dead (bury).
-- Returns the columns of claim, with finite times. For each job that it made dead, it returns a row with `found`
-- false whose kind is "unprocessable" and whose unique_key is the error.
-- It claims in a subtransaction, and reads each row of the result there as the server would send it. If that fails,
-- it tries the tickets one by one. Only a job whose own row fails is made dead. If no job is at fault, the error is
-- raised again.
-- Index: those of claim and bury.
-- Survives: other claims at the same time (skip locked). A job that another transaction has locked stays for a later
-- claim.
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
  large   boolean := false; -- the jobs do not fit into one claim
  buried  bigint;
  problem text;
  it      record;
begin
  for round in 1 .. 20 loop
    begin
      return query
      with c as materialized (
        select * from pawl.claim(
          claim_readable.lease, claim_readable.worker, claim_readable.lasting, claim_readable.most,
          claim_readable.queues, claim_readable.priorities, claim_readable.channels, claim_readable.marks,
          claim_readable.untils, claim_readable.quotas)
        where not large
        union all
        select * from pawl.claim_bounded(
          claim_readable.lease, claim_readable.worker, claim_readable.lasting, claim_readable.most,
          claim_readable.queues, claim_readable.priorities, claim_readable.channels, claim_readable.marks,
          claim_readable.untils, claim_readable.quotas)
        where large
      )
      select c.queue, c.lane, c.channel, c.pos, c.id, c.found, c.epoch, c.kind, c.args, c.data, c.priority, c.attempt,
             c.max_attempts, c.crashes, c.constrained, c.permit, pawl.finite(c.created_at), pawl.finite(c.run_at),
             c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, c.now
      from c
      -- It is computed before the first row is returned.
      where (select count(pawl.sent_size(c.args, c.data, c.opts, c.errors, c.checkpoint)) from c) >= 0;
      return;
    exception when others then
      if sqlstate = '54PWL' and not large then
        large := true;
        continue;
      elsif sqlstate !~ '^(22|54|0A|XX)' and sqlstate <> '53200' then
        raise;
      end if;
      buried := 0;
      for it in
        select t.queue, t.priority, t.channel, t.pos, t.job_id, t.epoch
        from unnest(claim_readable.queues, claim_readable.priorities, claim_readable.channels, claim_readable.marks,
                    claim_readable.untils, claim_readable.quotas) as u (queue, priority, channel, mark, until, quota),
             lateral (
               select t.*
               from pawl.ready t
               where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel
                 and t.pos > u.mark and t.pos <= u.until
               order by t.pos
               limit u.quota
             ) t
        limit claim_readable.most
      loop
        problem := pawl.unreadable(it.job_id, it.epoch);
        continue when problem is null;
        perform from pawl.ready t
        where t.queue = it.queue and t.priority = it.priority and t.channel = it.channel and t.pos = it.pos
        for update skip locked;
        continue when not found or not pawl.bury(it.job_id, it.epoch, problem);
        delete from pawl.ready t
        where t.queue = it.queue and t.priority = it.priority and t.channel = it.channel and t.pos = it.pos;
        buried := buried + 1;
        return query
        select it.queue, it.priority, it.channel, it.pos, it.job_id, false, it.epoch, 'unprocessable', null::jsonb,
               null::bytea, null::smallint, null::smallint, null::smallint, null::smallint, null::boolean,
               null::boolean, null::timestamptz, null::timestamptz, null::text, problem, null::jsonb, null::jsonb,
               null::jsonb, clock_timestamp();
      end loop;
      if buried = 0 then
        raise;
      end if;
    end;
  end loop;
end $$;
