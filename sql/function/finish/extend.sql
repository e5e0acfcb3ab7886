-- extend extends the lease of claimed jobs until now + lasting. It never shortens a lease.
--   ids, epochs, leases   the claimed jobs, each with its lease
--   split                 id of a new lease for the extended jobs, if they are only a part of the jobs of their
--                         lease
-- It raises SQLSTATE 22023 unless lasting is 0 to 100 years.
-- Moves nothing; a consumer's lease gets a later expiry, or its extended jobs move into the lease `split`, with
-- their permits. The lease of a worker has no expiry and stays as it is.
-- Returns the id and the lease of each extended job. The others are lost.
-- Index: lease's primary key, job's primary key, permit_job_id.
-- Survives: a rescue at the same time (it locks the lease row, and afterwards no epoch matches); two extensions at
-- once (the lease row is locked).
create or replace function pawl.extend(ids bigint[], epochs integer[], leases uuid[], split uuid, lasting interval)
returns table (id bigint, lease uuid)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  until timestamptz;
begin
  if (lasting between '0' and interval '100 years') is not true then
    raise exception 'pawl: extend by %: want a time from 0 to 100 years', coalesce(lasting::text, 'null')
      using errcode = '22023';
  end if;
  until := clock_timestamp() + lasting;
  perform l.id from pawl.lease l where l.id = any (extend.leases) order by l.id for update;
  return query
  with pair as materialized (
    select distinct u.id, u.epoch, u.lease
    from unnest(extend.ids, extend.epochs, extend.leases) as u (id, epoch, lease)
    join pawl.job j on j.id = any (array[u.id]) and j.epoch = u.epoch
    join pawl.lease l on l.id = u.lease and u.id = any (l.jobs)
  ),
  part as materialized (
    -- If all live jobs of a lease are extended, the lease gets the later expiry. Else the extended jobs are split
    -- off.
    select l.id, l.expires_at, l.expires_at is null or not exists (
             select from unnest(l.jobs, l.epochs) as h (id, epoch)
             join pawl.job j on j.id = any (array[h.id]) and j.epoch = h.epoch
             where not exists (select from pair p where p.id = h.id)
           ) as whole
    from pawl.lease l
    where l.id in (select p.lease from pair p)
  ),
  later as (
    update pawl.lease l
    set expires_at = greatest(l.expires_at, until)
    from part p
    where l.id = p.id and p.whole and l.expires_at is not null
  ),
  fewer as (
    update pawl.lease l
    set (jobs, epochs) = (
      select coalesce(array_agg(h.id), '{}'), coalesce(array_agg(h.epoch), '{}')
      from unnest(l.jobs, l.epochs) as h (id, epoch)
      where not exists (select from pair p where p.id = h.id)
    )
    from part p
    where l.id = p.id and not p.whole
  ),
  off as (
    insert into pawl.lease (id, expires_at, jobs, epochs)
    select extend.split, greatest(until, max(t.expires_at)), array_agg(p.id), array_agg(p.epoch)
    from pair p
    join part t on t.id = p.lease
    where not t.whole
    having count(*) > 0
  ),
  permits as (
    update pawl.permit m
    set lease = extend.split
    from pair p
    join part t on t.id = p.lease
    where not t.whole and m.job_id = any (array[p.id]) and m.lease = p.lease
  )
  select p.id, case when t.whole then p.lease else extend.split end
  from pair p
  join part t on t.id = p.lease;
end $$;
