-- count_batch counts the end of one job of a batch, and inserts the batch's callback jobs once their condition
-- holds.
--   batch    id of the batch
--   became   how the job ended: completed, cancelled, dead or deleted
--   by       1; -1 if the job lives again after a retry
-- Moves: the batch row changes; on_finish, on_success and on_death become null when their jobs are inserted.
-- Returns false if another transaction has locked the batch: call it again. True if the batch is past its
-- retention.
-- Index: batch's primary key.
-- Survives: two ends at once (the row is locked before it is counted); a job that is retried and ends again (its
-- callback jobs are inserted once, because their column is null afterwards).
create or replace function pawl.count_batch(batch bigint, became text, by integer) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  now       record;
  callbacks jsonb := '[]';
begin
  perform from pawl.batch b where b.id = count_batch.batch for update skip locked;
  if not found then
    perform from pawl.batch b where b.id = count_batch.batch;
    return not found; -- A batch without a row is past its retention.
  end if;
  update pawl.batch b
  set completed = b.completed + case when became = 'completed' then by else 0 end,
      cancelled = b.cancelled + case when became in ('cancelled', 'deleted') then by else 0 end,
      dead = b.dead + case when became = 'dead' then by else 0 end
  where b.id = count_batch.batch
  returning b.total, b.completed, b.cancelled, b.dead, b.on_finish, b.on_success, b.on_death into now;
  if now.dead > 0 and now.on_death is not null then
    callbacks := callbacks || now.on_death;
  end if;
  if now.completed + now.cancelled + now.dead >= now.total then
    callbacks := callbacks || coalesce(now.on_finish, '[]');
    if now.completed >= now.total then
      callbacks := callbacks || coalesce(now.on_success, '[]');
    end if;
  end if;
  update pawl.batch b
  set on_death = case when by < 0 or now.dead = 0 then b.on_death end,
      on_finish = case when by < 0 or now.completed + now.cancelled + now.dead < now.total then b.on_finish end,
      on_success = case when by < 0 or now.completed < now.total then b.on_success end,
      finished_at = case when now.completed + now.cancelled + now.dead >= now.total then clock_timestamp() end
  where b.id = count_batch.batch;
  if callbacks <> '[]' and by >= 0 then
    perform pawl.insert_constrained(callbacks);
  end if;
  return true;
end $$;
