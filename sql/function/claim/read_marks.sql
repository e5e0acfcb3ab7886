-- read_marks returns what a runner needs to advance its safe marks (the reasoning is in lanes.go): for each lane
-- the lowest position above its safe mark, and for each queue the earliest scheduled time above its floor. Both are
-- read without locks, so that tickets that another transaction has locked count. It also returns the snapshot of
-- these reads, as the numbers of its oldest running and its next transaction.
--   needs, needs_at   read the lane or queue only if no running transaction is below this number; 0: always. While
--                     such a transaction runs, no mark can advance, and the scan would read every ticket that died
--                     since
-- Moves nothing. Returns one row with ord 0 for the snapshot, a row for each lane, and a row for each queue, in the
-- order of the parameters.
-- Index: the primary keys of ready and scheduled.
create or replace function pawl.read_marks(
  queues text[], priorities integer[], channels text[], safes bigint[], needs bigint[],
  scheduled text[], floors timestamptz[], needs_at bigint[]
) returns table (ord bigint, low_pos bigint, low_at timestamptz, oldest bigint, next bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  with snap as materialized (
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next
  )
  select 0::bigint, null::bigint, null::timestamptz, n.oldest, n.next
  from snap n
  union all
  select u.ord, r.pos, null, null, null
  from unnest(read_marks.queues, read_marks.priorities, read_marks.channels, read_marks.safes, read_marks.needs)
         with ordinality as u (queue, priority, channel, safe, need, ord)
  left join lateral (
    select t.pos from pawl.ready t
    where u.need <= (select n.oldest from snap n)
      and t.queue = u.queue and t.priority = u.priority and t.channel = u.channel and t.pos > u.safe
    order by t.pos limit 1
  ) r on true
  union all
  select cardinality(read_marks.queues) + u.ord, null, s.run_at, null, null
  from unnest(read_marks.scheduled, read_marks.floors, read_marks.needs_at)
         with ordinality as u (queue, floor, need, ord)
  left join lateral (
    select s.run_at from pawl.scheduled s
    where u.need <= (select n.oldest from snap n)
      and s.queue = u.queue and s.run_at > u.floor
    order by s.run_at limit 1
  ) s on true;
end $$;
