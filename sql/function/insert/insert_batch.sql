-- insert_batch inserts the row of a batch, in the transaction that has inserted its jobs. A batch without jobs is
-- finished, and its callback jobs are inserted.
--   id                                drawn from pos
--   total                             the number of jobs that have this batch in their opts
--   on_finish, on_success, on_death   callback jobs, as insert_constrained takes them, or null
create or replace function pawl.insert_batch(
  id bigint, total integer, on_finish jsonb, on_success jsonb, on_death jsonb
) returns void
language plpgsql as $$
begin
  insert into pawl.batch (id, total, on_finish, on_success, on_death)
  values (insert_batch.id, insert_batch.total, insert_batch.on_finish, insert_batch.on_success, insert_batch.on_death);
  if total = 0 then
    perform pawl.count_batch(insert_batch.id, 'none', 0);
  end if;
end $$;
