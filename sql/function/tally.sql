-- tally: add what a client counted since it last told.
--   client   whose row of each queue it is: nobody else's            queues, inserted, completed, failed   one an array position, no queue twice
-- Moves: the client's rows of pawl.tally. Is the whole of its transaction, whose commit waits for no disk: a count lost in a crash is no harm.
-- Index: tally's primary key; the update is HOT.
create or replace function pawl.tally(client uuid, queues text[], inserted bigint[], completed bigint[], failed bigint[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  now constant bigint := floor(extract(epoch from clock_timestamp()) / 10);
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into pawl.tally as t (client, queue, slot, inserted, completed, failed)
  select tally.client, u.queue, now, pawl.slide('{}', 7, u.inserted), pawl.slide('{}', 7, u.completed), pawl.slide('{}', 7, u.failed)
  from unnest(tally.queues, tally.inserted, tally.completed, tally.failed) as u (queue, inserted, completed, failed)
  on conflict (client, queue) do update set
    slot      = greatest(t.slot, excluded.slot),
    inserted  = pawl.slide(t.inserted, excluded.slot - t.slot, excluded.inserted[1]),
    completed = pawl.slide(t.completed, excluded.slot - t.slot, excluded.completed[1]),
    failed    = pawl.slide(t.failed, excluded.slot - t.slot, excluded.failed[1]);
end $$;
