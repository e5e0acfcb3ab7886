-- wake_awaiting notifies the sessions that await these finished jobs. It sends nothing if no job is awaited. As in
-- wake: a session that awaits a job holds shared locks, so a session that gets such a lock alone knows that no
-- other session awaits. A statement that finishes jobs, however many, takes one lock for that; it takes one more
-- for each slot only while jobs are awaited.
-- It runs in the transaction that finishes the jobs, and the notification is delivered at the commit. The channel is
-- named as that of wake, with ".finished". The payload is ids, separated by commas, at most 300.
create or replace function pawl.wake_awaiting(ids bigint[]) returns void language plpgsql as $$
declare
  awaited bigint[];
begin
  if pawl.lock_is_free(pawl.await_key(null)) then
    return;
  end if;
  select array_agg(u.id) into awaited
  from unnest(ids) u (id)
  join (select s.slot, pawl.lock_is_free(pawl.await_key(s.slot)) as alone
        from (select distinct i.id % 64 as slot from unnest(ids) i (id)) s
        offset 0) l on l.slot = u.id % 64 and not l.alone;
  for i in 0 .. (coalesce(cardinality(awaited), 0) - 1) / 300 loop
    exit when awaited is null;
    perform pg_notify(left((parse_ident('pawl.finished'))[1], 54) || '.finished',
                      array_to_string(awaited[i * 300 + 1 : i * 300 + 300], ','));
  end loop;
end $$;
