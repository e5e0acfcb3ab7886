-- poke_heartbeats asks every worker to send its heartbeat now, because the reply has news: a job was cancelled, or
-- a worker was suspended. The notification is delivered at the commit. A worker that misses it learns the news with
-- its next heartbeat. The channel is that of wake; the payload is empty, and no queue has an empty name.
create or replace function pawl.poke_heartbeats() returns void language sql as $$
  select pg_notify(left((parse_ident('pawl.wake'))[1], 54) || '.wake', '')
$$;
