-- release: give a claimed job back, to run again after `delay` seconds (0: at once, and next), no attempt used. False: not held any more.
create or replace function pawl.release(id bigint, epoch integer, delay double precision default 0) returns boolean
language sql as $$
  select pawl.fail(release.id, release.epoch, null, release.delay, 'release') is not null
$$;
