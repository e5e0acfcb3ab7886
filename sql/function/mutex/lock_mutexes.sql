-- lock_mutexes locks mutexes until the end of the transaction, in a fixed order. It waits for transactions that have
-- locked one of them.
--   kind            channel, limit, semaphore or duty
--   queues, names   as in the table, in any order; a mutex may occur twice
-- Moves: rows of mutex in, if they are missing.
-- Index: mutex's primary key.
-- Survives: two calls at once with the same mutexes (they lock them in the same order, new ones too: an insert that
-- conflicts locks the row that is there, and changes nothing); a deletion by prune_mutexes (the insert is tried
-- again).
create or replace function pawl.lock_mutexes(kind text, queues text[], names text[]) returns void
language sql as $$
  insert into pawl.mutex as m (kind, queue, name)
  select distinct lock_mutexes.kind, u.queue collate "C", u.name collate "C"
  from unnest(lock_mutexes.queues, lock_mutexes.names) as u (queue, name)
  order by 2, 3
  on conflict (kind, queue, name) do update set name = m.name where false
$$;
