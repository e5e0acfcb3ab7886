-- fail: a claimed job's attempt failed; it comes again after `delay` seconds, if null by its backoff, until its attempts are used up.
-- outcome: retry, or snooze (no attempt used), release (given back, no attempt used), cancel, dead whatever attempts are left. Returns what became of the job (ready, scheduled, cancelled, dead), null if
-- it is not held by this claim any more.
create or replace function pawl.fail(id bigint, epoch integer, error text, delay double precision default null, outcome text default 'retry') returns text
language plpgsql as $$
declare
  what text;
begin
  if outcome is null or outcome <> all ('{retry,cancel,dead,snooze,release}') then
    raise exception 'pawl: there is no outcome %; want retry, cancel, dead, snooze or release', outcome using errcode = '22023';
  end if;
  perform pawl.lock_jobs(array[fail.id], array[fail.epoch]);
  select f.became into what
  from pawl.fail(array[fail.id], array[fail.epoch], array[fail.outcome], array[case when fail.outcome in ('retry', 'snooze', 'release') then fail.delay end], array[null::text],
                 array[case when fail.error is not null then jsonb_build_object('error', fail.error)::text end],
                 array[null::bigint], array[null::bigint], null) f;
  perform pawl.return_permit(fail.id, what is not null);
  return what;
end $$;
