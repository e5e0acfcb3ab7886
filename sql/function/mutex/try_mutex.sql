-- try_mutex locks a mutex until the end of the transaction, unless another transaction has locked it. It returns
-- whether this transaction has the mutex now.
-- Moves: the row in, if it is missing. Only then it waits, for another transaction that is inserting it.
-- Index: mutex's primary key.
create or replace function pawl.try_mutex(kind text, queue text, name text) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  perform from pawl.mutex m
  where m.kind = try_mutex.kind and m.queue = try_mutex.queue and m.name = try_mutex.name
  for no key update skip locked;
  if found then
    return true;
  end if;
  insert into pawl.mutex (kind, queue, name) values (try_mutex.kind, try_mutex.queue, try_mutex.name)
  on conflict do nothing;
  return found;
end $$;
