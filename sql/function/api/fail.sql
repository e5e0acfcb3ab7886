-- fail records that the attempt of a claimed job failed. The job runs again after `delay` seconds, or after its
-- backoff if delay is null, until its attempts are used up.
--   outcome   retry; snooze and release: run again, no attempt used; cancel; dead: dead, even if attempts are left
-- Returns what the job became: ready, scheduled, cancelled or dead; null if the job is not claimed at this epoch
-- any more.
create or replace function pawl.fail(
  id bigint, epoch integer, error text, delay double precision default null, outcome text default 'retry'
) returns text
language plpgsql set jit = off as $$
declare
  state text;
begin
  if outcome is null or outcome <> all ('{retry,cancel,dead,snooze,release}') then
    raise exception 'pawl: there is no outcome %; want retry, cancel, dead, snooze or release', outcome
      using errcode = '22023';
  end if;
  perform pawl.lock_jobs(array[fail.id], array[fail.epoch]);
  select f.became into state
  from pawl.fail(array[fail.id], array[fail.epoch], array[fail.outcome],
                 array[case when fail.outcome in ('retry', 'snooze', 'release') then fail.delay end],
                 array[null::text],
                 array[case when fail.error is not null then jsonb_build_object('error', fail.error)::text end],
                 array[null::bigint], array[null::bigint], null) f;
  perform pawl.return_permit(fail.id, state is not null);
  return state;
end $$;
