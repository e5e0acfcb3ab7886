-- wake_awaiting: notify whoever awaits these jobs, which have finished, and nobody if no job is awaited.
-- As in wake.sql: an awaiting session holds shared locks, and whoever can take one alone knows that nobody does. That costs one look
-- a statement that finishes jobs, however many; only while some are awaited is there one a slot more.
-- Runs in the transaction that finishes them and is heard at its commit. Payload: ids, by comma, as many as fit.
create or replace function pawl.wake_awaiting(ids bigint[]) returns void language plpgsql as $$
declare
  told bigint[];
begin
  if pawl.lock_is_free(pawl.await_key(null)) then
    return;
  end if;
  select array_agg(u.id) into told
  from unnest(ids) u (id)
  join (select s.slot, pawl.lock_is_free(pawl.await_key(s.slot)) as alone
        from (select distinct i.id % 64 as slot from unnest(ids) i (id)) s
        offset 0) l on l.slot = u.id % 64 and not l.alone;
  for i in 0 .. (coalesce(cardinality(told), 0) - 1) / 300 loop
    exit when told is null;
    perform pg_notify('pawl.finished', array_to_string(told[i * 300 + 1 : i * 300 + 300], ','));
  end loop;
end $$;
