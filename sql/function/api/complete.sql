-- complete: a claimed job succeeded. False: it is not held by this claim any more; roll back what it did.
create or replace function pawl.complete(id bigint, epoch integer, result jsonb default null) returns boolean
language plpgsql as $$
begin
  perform pawl.lock_jobs(array[complete.id], array[complete.epoch]);
  perform from pawl.complete(array[complete.id], array[complete.epoch], array[null::bigint], array[null::bigint], array[complete.result::text], null, '{}', '{}');
  return pawl.return_permit(complete.id, found);
end $$;
