-- acquire_permits gets permits of named limits for a running job, all or none.
--   keys   names of the limits, sorted
--   most   how many jobs may have a permit of each
-- Returns whether the job has the permits now. It waits for other calls with the same keys, whose transactions are
-- as short.
-- Index: permit's primary key.
-- Survives: two calls at once (the mutexes of the keys are locked, sorted, in a statement before the permits are
-- counted).
create or replace function pawl.acquire_permits(keys text[], most integer, job bigint, lease uuid) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  taken boolean;
begin
  perform pawl.lock_mutexes('semaphore', array_fill(''::text, array[cardinality(acquire_permits.keys)]),
                            acquire_permits.keys);
  select bool_or((
           select count(*) from pawl.permit p
           where p.queue = '' and p.channel = u.key and p.job_id <> acquire_permits.job
         ) >= acquire_permits.most)
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
