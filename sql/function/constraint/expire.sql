-- expire deletes reserved jobs whose reservation has expired, and unique keys that were kept beyond the end of
-- their jobs and have expired. It deletes at most `most` of each.
-- Returns how many jobs were deleted.
-- Index: blocked_expires_at, unique_key_keep_until, job's primary key.
-- Survives: a commit or an extension of the reservation at the same time (the job row is locked, and the expiry is
-- read again under the lock); two calls at once (skip locked).
create or replace function pawl.expire(most integer) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  past   bigint[]; -- jobs whose reservation has expired
  gone   bigint;
begin
  delete from pawl.unique_key h
  where h.ctid = any (array(
    select k.ctid from pawl.unique_key k where not k.live and k.keep_until < moment limit most for update skip locked
  ));
  past := array(
    select j.id
    from (select p.job_id from pawl.blocked p where p.expires_at < moment order by p.expires_at limit most) p,
         lateral (select j.id from pawl.job j where j.id = p.job_id for update skip locked) j
  );
  if cardinality(past) = 0 then
    return 0;
  end if;
  -- Read again under the lock: a reservation may have been committed or extended meanwhile.
  past := array(
    select u.id from unnest(past) as u (id)
    where exists (select from pawl.blocked p where p.job_id = u.id and p.expires_at < moment)
  );
  select count(*) into gone from pawl.remove(past, array_fill(null::integer, array[cardinality(past)]), false);
  return gone;
end $$;
