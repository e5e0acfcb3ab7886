-- bury_unreadable makes the jobs dead that no client can read, among those that a claim would take. A claim calls it
-- after the database failed to compute, encode or send a row.
--   parameters as claim
-- Moves: tickets of unreadable jobs out of ready, and their rows to dead (bury). Only a job whose own row fails is
-- moved. It locks the tickets until the transaction ends, so that a claim in the same transaction takes these. It reads
-- no more jobs than claim_bounded would claim.
-- Returns these jobs, where their tickets were, and why they are unreadable.
-- Index: ready's primary key, from each mark; job's primary key.
-- Survives: other claims at the same time (skip locked).
create or replace function pawl.bury_unreadable(
  most integer, queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (id bigint, queue text, lane integer, channel text, pos bigint, problem text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  ids bigint[];
  bad record;
  it  record;
begin
  ids := array(
    select s.job_id
    from (
      select t.job_id, t.epoch, row_number() over w as n,
             sum(pawl.expanded_size(j.args, j.data, j.checkpoint)) over w as bytes
      from (
        select u.ord, t.pos, t.job_id, t.epoch
        from unnest(bury_unreadable.queues, bury_unreadable.priorities, bury_unreadable.channels, bury_unreadable.marks,
                    bury_unreadable.untils, bury_unreadable.quotas)
               with ordinality as u (queue, priority, channel, mark, until, quota, ord),
             lateral (
               select t.pos, t.job_id, t.epoch
               from pawl.ready t
               where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel
                 and t.pos > u.mark and t.pos <= u.until
               order by t.pos
               limit u.quota
               for update skip locked
             ) t
        limit bury_unreadable.most
      ) t
      left join pawl.job j on j.id = t.job_id and j.epoch = t.epoch
      window w as (order by t.ord, t.pos)
    ) s
    where s.n = 1 or s.bytes <= 268435456
  );
  for bad in select f.id, f.problem from pawl.find_unreadable(ids, 16) f loop
    select t.queue, t.priority, t.channel, t.pos, t.epoch into it
    from pawl.job j
    join lateral (
      select t.*
      from pawl.ready t
      where t.queue = j.queue and t.priority = any (array[j.priority, -32768, -32769]) and t.channel = j.channel
        and t.pos = coalesce(j.pos, j.id) and t.job_id = j.id and t.epoch = j.epoch
      for update skip locked
    ) t on true
    where j.id = bad.id;
    continue when not found or not pawl.bury(bad.id, it.epoch, bad.problem);
    delete from pawl.ready t
    where t.queue = it.queue and t.priority = it.priority and t.channel = it.channel and t.pos = it.pos;
    return query select bad.id, it.queue, it.priority, it.channel, it.pos, bad.problem;
  end loop;
end $$;
