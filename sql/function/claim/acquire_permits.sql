-- acquire_permits gets permits of named limits for a running job, all or none.
--   keys         names of the limits, at most 1,000 of 1 to 255 bytes
--   most         how many jobs may have a permit of each
--   job, lease   the running job, and the lease that has it
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
  if cardinality(acquire_permits.keys) > 1000 or array_position(acquire_permits.keys, null) is not null
     or exists (select from unnest(acquire_permits.keys) as k (key)
                where octet_length(k.key) not between 1 and 255) then
    raise exception 'pawl: acquire permits: want up to 1,000 keys of 1 to 255 bytes' using errcode = '22023';
  end if;
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
  -- A permit belongs to a lease, and goes with it. Without that it would stay.
  insert into pawl.permit (queue, channel, job_id, lease)
  select '', u.key, acquire_permits.job, l.id
  from pawl.lease l, unnest(acquire_permits.keys) as u (key)
  where l.id = acquire_permits.lease and acquire_permits.job = any (l.jobs)
  on conflict do nothing;
  return exists (select from pawl.lease l where l.id = acquire_permits.lease and acquire_permits.job = any (l.jobs));
end $$;
