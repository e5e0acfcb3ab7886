-- free_permits deletes the permits of jobs whose handlers have ended, and wakes runners that may wait for a permit.
-- A permit belongs to a lease: a permit that the job has with another lease stays.
-- Index: permit_job_id.
create or replace function pawl.free_permits(ids bigint[], leases uuid[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  queues text[];
begin
  with gone as (
    delete from pawl.permit p
    using unnest(free_permits.ids, free_permits.leases) as u (id, lease)
    where p.job_id = any (array[u.id]) and p.lease = u.lease
    returning p.queue
  )
  select array_agg(distinct g.queue) into queues from gone g where g.queue <> '';
  perform pawl.wake(queues);
end $$;
