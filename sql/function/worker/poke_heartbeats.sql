-- poke_heartbeats: have every worker make its heartbeat now, because it will learn something by it: a job of its was cancelled, it was suspended.
-- The payload is empty, as no queue's name is. Heard at the commit; unheard, the news comes with the next heartbeat.
create or replace function pawl.poke_heartbeats() returns void language sql as $$
  select pg_notify('pawl.wake', '')
$$;
