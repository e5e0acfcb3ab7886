-- end_leases deletes leases whose results are all stored, of which some were not plain successes.
--   leases   ids of leases; one that still has a live job stays, and its jobs are rescued with it
-- Moves: lease rows away.
-- Index: lease's primary key; job's primary key, once for each job of a lease.
-- Survives: a caller that counted wrong (only the rows say whether a live job of the lease is left).
create or replace function pawl.end_leases(leases uuid[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
begin
  delete from pawl.lease l
  where l.id = any (leases)
    and not exists (
      select
      from unnest(l.jobs, l.epochs) as u (id, epoch),
           lateral (select from pawl.job j where j.id = u.id and j.epoch = u.epoch) j
    );
end $$;
