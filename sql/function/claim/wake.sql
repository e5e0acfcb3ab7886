-- wake: notify the runners asleep on these queues, and nobody if none is.
-- NOTIFY serialises all commits of the server, so it must not ride on every insert. A sleeper holds a shared session lock
-- on its queue's key ('*' for all queues); whoever can take that key alone knows that nobody sleeps.
-- Runs in the transaction of the change and is heard at its commit. The lock is given back at once (alone.sql), so a pooler is no danger.
-- Returns how many queues had a sleeper.
create or replace function pawl.wake(queues text[]) returns integer language plpgsql as $$
declare
  woken integer := 0;
  q     text;
begin
  for q in select distinct u.q from unnest(queues) u (q) loop
    if pawl.lock_is_free(pawl.sleep_key(q)) and pawl.lock_is_free(pawl.sleep_key('*')) then
      continue;
    end if;
    perform pg_notify('pawl.wake', q);
    woken := woken + 1;
  end loop;
  return woken;
end $$;
