-- complete completes a claimed job. It returns false if the job is not claimed at this epoch any more: roll back
-- the job's work.
create or replace function pawl.complete(id bigint, epoch integer, result jsonb default null) returns boolean
language plpgsql set jit = off as $$
begin
  perform pawl.lock_jobs(array[complete.id], array[complete.epoch]);
  perform from pawl.complete(
    array[complete.id], array[complete.epoch], array[null::bigint], array[null::bigint], array[complete.result::text],
    null, '{}', '{}');
  return pawl.return_permit(complete.id, found);
end $$;
