-- prune_mutexes deletes mutexes that are not in use. It also inserts those that channels with follow-ups lack, because
-- run_followups inserts none.
--   most   how many rows to delete at most
-- Returns how many rows were deleted.
-- Index: none for mutex, which is read whole, so the caller spaces its calls by their cost; mutex's primary key.
-- Survives: a transaction that uses a mutex at the same time (locked rows are skipped, and a statement after the lock
-- looks again whether they are in use).
create or replace function pawl.prune_mutexes(most integer) returns bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_mergejoin = off set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  idle tid[];
  gone bigint;
begin
  insert into pawl.mutex (kind, queue, name)
  select distinct 'channel', l.queue, l.channel
  from pawl.followup l
  where l.ordered
    and not exists (select from pawl.mutex m where m.kind = 'channel' and m.queue = l.queue and m.name = l.channel)
  order by 2, 3
  on conflict do nothing;
  idle := array(
    select m.ctid from pawl.mutex m
    where pawl.mutex_is_idle(m.kind, m.queue, m.name)
    limit prune_mutexes.most
    for update skip locked
  );
  delete from pawl.mutex m where m.ctid = any (idle) and pawl.mutex_is_idle(m.kind, m.queue, m.name);
  get diagnostics gone = row_count;
  return gone;
end $$;
