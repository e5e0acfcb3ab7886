-- add_mutexes inserts mutexes that are missing. It locks those that it inserts, and waits only if another transaction
-- is inserting the same.
-- Index: mutex's primary key.
create or replace function pawl.add_mutexes(kind text, queues text[], names text[]) returns void
language sql as $$
  insert into pawl.mutex (kind, queue, name)
  select distinct add_mutexes.kind, u.queue collate "C", u.name collate "C"
  from unnest(add_mutexes.queues, add_mutexes.names) as u (queue, name)
  order by 2, 3
  on conflict do nothing
$$;
