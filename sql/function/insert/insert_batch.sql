-- insert_batch: a batch's row, in the transaction that has inserted its jobs; of no jobs it is finished, and what follows is inserted.
--   id, total                         drawn from pos; how many jobs say in their opts that they are of it
--   on_finish, on_success, on_death   what follows, as insert_constrained takes it, or null
create or replace function pawl.insert_batch(id bigint, total integer, on_finish jsonb, on_success jsonb, on_death jsonb) returns void
language plpgsql as $$
begin
  insert into pawl.batch (id, total, on_finish, on_success, on_death)
  values (insert_batch.id, insert_batch.total, insert_batch.on_finish, insert_batch.on_success, insert_batch.on_death);
  if total = 0 then
    perform pawl.count_batch(insert_batch.id, 'none', 0);
  end if;
end $$;
