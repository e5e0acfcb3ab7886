-- lock_waiting keeps a job that is not running from starting before this transaction ends.
-- Moves nothing. Returns whether the job has a ticket; false if it runs or is gone.
-- Index: primary keys.
-- Survives: a claim at the same time (this waits for it); a promotion or an unblock (they skip the locked job).
create or replace function pawl.lock_waiting(id bigint) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  job record;
begin
  select j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at into job
  from pawl.job j where j.id = lock_waiting.id for key share;
  if not found then
    return false;
  end if;
  perform from pawl.ready t
  where t.queue = job.queue and t.priority = any (array[job.priority, -32768, -32769])
    and t.channel = job.channel and t.pos = job.pos
  for key share;
  return found
    or exists (select from pawl.scheduled s
               where s.queue = job.queue and s.run_at = job.run_at and s.job_id = lock_waiting.id)
    or exists (select from pawl.blocked p where p.job_id = lock_waiting.id);
end $$;
