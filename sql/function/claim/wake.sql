-- wake notifies the runners that wait for jobs of these queues. It sends nothing if none waits.
-- NOTIFY serialises all commits of the server, so not every insert can send one. A session that waits holds a
-- shared lock on the key of its queue ('*' for all queues), so a session that gets such a lock alone knows that no
-- other session waits.
-- It runs in the transaction of the change, and the notification is delivered at the commit. The lock is released
-- at once (see lock_is_free), so it is safe behind a pooler.
-- The notification channel is the schema's plain name, cut to 54 bytes because a channel's name has at most 63, and
-- ".wake". The payload is the queue.
-- Returns how many queues had a waiting session.
create or replace function pawl.wake(queues text[]) returns integer language plpgsql as $$
declare
  woken integer := 0;
  q     text;
begin
  for q in select distinct u.q from unnest(queues) u (q) loop
    if pawl.lock_is_free(pawl.sleep_key(q)) and pawl.lock_is_free(pawl.sleep_key('*')) then
      continue;
    end if;
    perform pg_notify(left((parse_ident('pawl.wake'))[1], 54) || '.wake', q);
    woken := woken + 1;
  end loop;
  return woken;
end $$;
