-- commit_reserved ends the reservation of jobs, so that they may run, all or none. If a job is not reserved (its
-- reservation expired, it was committed before, or it was never reserved), it raises SQLSTATE PW001 and changes
-- nothing.
-- Moves: blocked tickets lose their expiry, and go to ready or scheduled if their jobs wait for nothing else.
-- Survives: an expiry of the reservation at the same time. The job row is locked first; if the expiry was faster,
-- the ticket is gone and the function raises the error.
create or replace function pawl.commit_reserved(ids bigint[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  one bigint;
begin
  perform pg_current_xact_id();
  for one in select u.id from unnest(ids) as u (id) group by u.id order by u.id loop
    perform from pawl.job j where j.id = one for update;
    update pawl.blocked p set expires_at = null where p.job_id = one and p.expires_at > clock_timestamp();
    if not found then
      raise exception 'pawl: job % is not reserved: its reservation expired, or it was committed before', one
        using errcode = 'PW001';
    end if;
    perform pawl.unblock(one);
  end loop;
end $$;
