-- count_batch: note the end of one of a batch's jobs (or, with `by` -1, that it lives again), and insert the jobs that follow.
-- False: the batch is locked by somebody, ask again.
-- Survives: two ends at once (the row is locked before it is counted); a job that is retried and ends again (what follows is
-- inserted once, then forgotten).
create or replace function pawl.count_batch(batch bigint, became text, by integer) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  now    record;
  follow jsonb := '[]';
begin
  perform from pawl.batch b where b.id = count_batch.batch for update skip locked;
  if not found then
    perform from pawl.batch b where b.id = count_batch.batch;
    return not found; -- Past its retention.
  end if;
  update pawl.batch b
  set completed = b.completed + case when became = 'completed' then by else 0 end,
      cancelled = b.cancelled + case when became in ('cancelled', 'deleted') then by else 0 end,
      dead = b.dead + case when became = 'dead' then by else 0 end
  where b.id = count_batch.batch
  returning b.total, b.completed, b.cancelled, b.dead, b.on_finish, b.on_success, b.on_death into now;
  if now.dead > 0 and now.on_death is not null then
    follow := follow || now.on_death;
  end if;
  if now.completed + now.cancelled + now.dead >= now.total then
    follow := follow || coalesce(now.on_finish, '[]');
    if now.completed >= now.total then
      follow := follow || coalesce(now.on_success, '[]');
    end if;
  end if;
  update pawl.batch b
  set on_death = case when now.dead > 0 then null else b.on_death end,
      on_finish = case when now.completed + now.cancelled + now.dead >= now.total then null else b.on_finish end,
      on_success = case when now.completed >= now.total then null else b.on_success end,
      finished_at = case when now.completed + now.cancelled + now.dead >= now.total then clock_timestamp() end
  where b.id = count_batch.batch;
  if follow <> '[]' then
    perform pawl.insert_constrained(follow);
  end if;
  return true;
end $$;
