-- release returns a claimed job, to run again after `delay` seconds (0: at once, before all others). No attempt is
-- used. It returns false if the job is not claimed at this epoch any more.
create or replace function pawl.release(id bigint, epoch integer, delay double precision default 0) returns boolean
language sql set jit = off as $$
  select pawl.fail(release.id, release.epoch, null, release.delay, 'release') is not null
$$;
