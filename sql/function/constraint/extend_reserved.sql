-- extend_reserved extends reservations until now + lasting, all or none. It never shortens a reservation. It raises
-- the error of commit_reserved if a job is not reserved any more, and SQLSTATE 22023 unless lasting is 0 to 100 years.
-- Index: primary keys.
-- Survives: an expiry at the same time (the job row is locked first).
create or replace function pawl.extend_reserved(ids bigint[], lasting interval) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  one bigint;
begin
  if (extend_reserved.lasting between '0' and interval '100 years') is not true then
    raise exception 'pawl: extend reserved by %: want a time from 0 to 100 years',
      coalesce(extend_reserved.lasting::text, 'null') using errcode = '22023';
  end if;
  for one in select u.id from unnest(ids) as u (id) group by u.id order by u.id loop
    perform from pawl.job j where j.id = one for update;
    update pawl.blocked p set expires_at = greatest(p.expires_at, clock_timestamp() + lasting)
    where p.job_id = one and p.expires_at > clock_timestamp();
    if not found then
      raise exception 'pawl: job % is not reserved: its reservation expired, or it was committed before', one
        using errcode = 'PW001';
    end if;
  end loop;
end $$;
