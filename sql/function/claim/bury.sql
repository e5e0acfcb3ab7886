-- bury makes a live job dead because the database cannot read, send or store its row: the reason is unprocessable.
--   id, epoch   the job. The caller has deleted its ticket, or the job is running
--   problem     what the database said. It is kept as the job's last error
-- Moves: the job row to dead. It reads none of the columns that may be broken. A column that cannot even be copied
-- is left out, and then the error says so.
-- Returns whether the job was live at this epoch and its row was not locked.
-- Index: job's primary key.
-- Survives: another transaction that has locked the row (the job is skipped).
create or replace function pawl.bury(id bigint, epoch integer, problem text) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment constant timestamptz := clock_timestamp();
  entry  jsonb := jsonb_build_object('attempt', 0, 'at', moment, 'worker', '',
                                     'error', 'pawl: the job cannot be processed: ' || left(bury.problem, 2000));
  own    record;
  ended  jsonb;
begin
  select j.queue, j.channel, j.constrained, least(j.attempt + 1, 32767)::smallint as attempt,
         coalesce(q.retain_dead, interval '30 days') as retain
  into own
  from pawl.job j
  left join pawl.queue q on q.name = j.queue
  where j.id = bury.id and j.epoch = bury.epoch
  for update of j skip locked;
  if not found then
    return false;
  end if;
  entry := entry || jsonb_build_object('attempt', own.attempt);
  begin
    with over as (
      delete from pawl.job j where j.id = bury.id returning j.*
    ),
    buried as (
      insert into pawl.dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts,
                             crashes, reason, queue, channel, kind, args, data, fingerprint, unique_key, opts, errors,
                             checkpoint)
      select o.id, o.epoch, moment, moment + own.retain, o.created_at, o.run_at, o.priority, own.attempt,
             o.max_attempts, o.crashes, 'unprocessable', o.queue, o.channel, o.kind, o.args, o.data, o.fingerprint,
             o.unique_key, o.opts,
             case when jsonb_typeof(o.errors) = 'array'
                  then case when jsonb_array_length(o.errors) >= 10 then o.errors - 0 else o.errors end
                  else '[]' end || entry,
             o.checkpoint
      from over o
      where own.retain > '0'
    )
    select pawl.followup_of(o.id, o.queue, o.channel, o.opts) into ended from over o where o.constrained;
  exception when others then
    with over as (
      delete from pawl.job j where j.id = bury.id
      returning j.id, j.epoch, j.created_at, j.run_at, j.priority, j.max_attempts, j.crashes, j.queue, j.channel, j.kind
    )
    insert into pawl.dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts,
                           crashes, reason, queue, channel, kind, errors)
    select o.id, o.epoch, moment, moment + own.retain, o.created_at, o.run_at, o.priority, own.attempt,
           o.max_attempts, o.crashes, 'unprocessable', o.queue, o.channel, o.kind, jsonb_build_array(
             entry || jsonb_build_object('error', (entry ->> 'error')
               || '; its args, data, options, errors and checkpoint cannot be copied: ' || left(sqlerrm, 500)))
    from over o
    where own.retain > '0';
    -- What the options said is lost. A batch then counts the job as missing, and repair counts it as deleted.
    ended := jsonb_build_object(
      'id', bury.id, 'queue', own.queue, 'channel', own.channel, 'batch', null,
      'ordered', exists (select from pawl.ordered_job t where t.job_id = bury.id));
  end;
  if own.constrained then
    perform pawl.record_followups(jsonb_build_array(ended), 'dead');
  end if;
  perform pawl.wake_awaiting(array[bury.id]);
  return true;
end $$;
