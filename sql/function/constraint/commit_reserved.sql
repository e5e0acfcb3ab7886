-- commit_reserved: the second phase of a reservation: the jobs may run.
-- All or none: an id that is not reserved any more (it expired, was committed or never was) is an error, SQLSTATE PW001.
-- Moves: blocked tickets lose their expiry, and are issued if nothing else is waited for.
-- Survives: the expiry at work (the job row is locked; afterwards it is gone, an error).
create or replace function pawl.commit_reserved(ids bigint[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  one bigint;
begin
  perform pg_current_xact_id();
  for one in select u.id from unnest(ids) as u (id) group by u.id order by u.id loop
    perform from pawl.job j where j.id = one for update;
    update pawl.blocked p set expires_at = null where p.job_id = one and p.expires_at > clock_timestamp();
    if not found then
      raise exception 'pawl: job % is not reserved: its reservation expired, or it was committed before', one using errcode = 'PW001';
    end if;
    perform pawl.unblock(one);
  end loop;
end $$;
