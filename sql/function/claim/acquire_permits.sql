-- acquire_permits: permits of named limits for a running job, all or none.
--   keys sorted     most   how many may have each
-- Returns whether it has them now. Waits for others at the same keys, whose transactions are as short as this one.
-- Index: permit's primary key.
-- Survives: two at once (the keys' locks are taken, sorted, in a statement before anything is counted).
create or replace function pawl.acquire_permits(keys text[], most integer, job bigint, lease uuid) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  taken boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended('pawl.limit  ' || k.key, 0))
  from (select u.key from unnest(acquire_permits.keys) as u (key) order by u.key collate "C") k;
  select bool_or((select count(*) from pawl.permit p where p.queue = '' and p.channel = u.key and p.job_id <> acquire_permits.job) >= acquire_permits.most)
  into taken
  from unnest(acquire_permits.keys) as u (key);
  if taken then
    return false;
  end if;
  insert into pawl.permit (queue, channel, job_id, lease)
  select '', u.key, acquire_permits.job, acquire_permits.lease from unnest(acquire_permits.keys) as u (key)
  on conflict do nothing;
  return true;
end $$;
