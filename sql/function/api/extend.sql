-- extend extends the lease of a claimed job until now + lasting. It never shortens a lease.
--   lease   as claim returned it, also if the job was extended before
-- Returns false if the job is not claimed at this epoch any more.
-- A job that was claimed with others gets a lease of its own. The id of that lease is computed from the job, so
-- that the next call finds it.
create or replace function pawl.extend(id bigint, epoch integer, lease uuid, lasting interval) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  own constant uuid := md5(concat_ws(' ', extend.lease, extend.id, extend.epoch))::uuid;
begin
  if lasting is null or lasting <= '0' then
    raise exception 'pawl: extend by %: want a positive time; to return a job call release',
      coalesce(lasting::text, 'null') using errcode = '22023';
  end if;
  perform from pawl.lease l where l.id = extend.lease for update;
  perform from pawl.lease l where l.id = own;
  perform from pawl.extend(
    array[extend.id], array[extend.epoch], array[case when found then own else extend.lease end], own, extend.lasting);
  return found;
end $$;
