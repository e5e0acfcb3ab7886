-- checkpoint saves what an attempt of a running job has reached, for the next attempt and for readers.
--   changes   {args, data (base64), value, step, result, percent, message, attempts}. An absent field stays as it
--             is. A null clears args, data or value. attempts are added to max_attempts. A step's result is kept
--             under its name
-- It raises SQLSTATE 22023 for other changes.
-- Moves nothing; the job row changes, and its epoch stays. Returns whether the job is live at this epoch.
-- Index: job's primary key.
-- Survives: a rescue at the same time (the epoch is compared where the row is locked).
create or replace function pawl.checkpoint(id bigint, epoch integer, changes jsonb) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  wrong text := pawl.validate_checkpoint(changes);
begin
  if wrong is not null then
    raise exception 'pawl: store checkpoint of job %: %', checkpoint.id, wrong using errcode = '22023';
  end if;
  update pawl.job j
  set args = case when changes ? 'args' then nullif(changes -> 'args', 'null') else j.args end,
      data = case when changes ? 'data' then decode(changes ->> 'data', 'base64') else j.data end,
      checkpoint = nullif(
        case when changes -> 'value' = 'null' then coalesce(j.checkpoint, '{}') - 'value'
             else coalesce(j.checkpoint, '{}') end
        || case when changes ? 'value' and changes -> 'value' <> 'null'
                then jsonb_build_object('value', changes -> 'value')
                else '{}' end
        || case when changes ? 'step'
                then jsonb_build_object('steps', coalesce(j.checkpoint -> 'steps', '{}')
                                                 || jsonb_build_object(changes ->> 'step', changes -> 'result'))
                else '{}' end
        || case when changes ? 'percent'
                then jsonb_build_object('percent', changes -> 'percent', 'message', changes -> 'message')
                else '{}' end,
        '{}'),
      max_attempts = case
        when changes ? 'attempts' then least(
          coalesce(j.max_attempts, (select q.max_attempts from pawl.queue q where q.name = j.queue), 20)
            + (changes ->> 'attempts')::integer, 32767)
        else j.max_attempts end
  where j.id = checkpoint.id and j.epoch = checkpoint.epoch;
  return found;
end $$;
