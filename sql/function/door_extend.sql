-- extend: keep a claimed job until now + lasting; never shortens. lease: as claim gave it. False: not held any more.
create or replace function pawl.extend(id bigint, epoch integer, lease uuid, lasting interval) returns boolean
language plpgsql as $$
begin
  perform from pawl.extend(array[extend.id], array[extend.epoch], array[extend.lease], gen_random_uuid(), extend.lasting);
  return found;
end $$;
