-- insert_batch inserts the row of a batch. After it, the same transaction inserts the batch's jobs with
-- insert_constrained, which counts them, and calls close_batch.
--   id                                drawn from pos
--   on_finish, on_success, on_death   callback jobs, as insert_constrained takes them, or null
-- It raises SQLSTATE 22023 for callbacks that could not be inserted when the batch ends: see validate_callbacks.
create or replace function pawl.insert_batch(id bigint, on_finish jsonb, on_success jsonb, on_death jsonb)
returns void language plpgsql as $$
declare
  wrong text := coalesce(
    case when insert_batch.id is null or insert_batch.id not between 1 and coalesce(pg_sequence_last_value('pawl.pos'), 0)
         then 'want an id drawn from pos' end,
    'on_finish: ' || pawl.validate_callbacks(insert_batch.id, insert_batch.on_finish),
    'on_success: ' || pawl.validate_callbacks(insert_batch.id, insert_batch.on_success),
    'on_death: ' || pawl.validate_callbacks(insert_batch.id, insert_batch.on_death));
begin
  if wrong is not null then
    raise exception 'pawl: insert batch %: %', coalesce(insert_batch.id::text, 'null'), wrong using errcode = '22023';
  end if;
  insert into pawl.batch (id, total, on_finish, on_success, on_death)
  values (insert_batch.id, 0, insert_batch.on_finish, insert_batch.on_success, insert_batch.on_death);
end $$;
